package router

import (
	"bytes"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"strings"
)

// page is what a person sees where a program gets v1's line of text.
type page struct {
	Status int
	Title  string
	Host   string
	Say    string
	Try    string
}

var pageTemplate = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.Status}} {{.Title}}</title>
<style>
:root { color-scheme: light dark }
body { font: 1.05rem/1.6 system-ui, sans-serif; max-width: 36rem; margin: 18vh auto 0; padding: 0 1.5rem }
h1 { font-size: 1.6rem; line-height: 1.25 }
small { opacity: .7 }
</style>
</head>
<body>
<h1>{{.Title}}</h1>
<p><strong>{{.Host}}</strong> {{.Say}}</p>
<p>{{.Try}}</p>
<p><small>{{.Status}}</small></p>
</body>
</html>
`))

func (x *exchange) unknownRoute() {
	x.stats.badRequests.Add(1)
	x.answer(http.StatusNotFound, "unknown_route", "VCAP ROUTER: 404 - DESTINATION NOT FOUND\r\n", &page{
		Title: "No app lives here",
		Say:   "is not the address of a running app.",
		Try:   "Check the spelling. If the app is yours, vmc apps tells its address and whether it runs.",
	})
}

func (x *exchange) badGateway() {
	x.stats.badGateways.Add(1)
	x.answer(http.StatusBadGateway, "endpoint_failure",
		"502 Bad Gateway: Registered endpoint failed to handle the request.\n", &page{
			Title: "The app did not answer",
			Say:   "is known, but the app behind it gave no answer.",
			Try:   "It may be starting again: reload in a moment. If the app is yours, vmc logs and vmc crashes tell more.",
		})
}

func (x *exchange) badHost() {
	x.stats.badRequests.Add(1)
	x.answer(http.StatusBadRequest, "invalid_host", "400 Bad Request: The Host header is missing or is no host name.\n", nil)
}

func (x *exchange) badUpgrade() {
	x.stats.badRequests.Add(1)
	x.answer(http.StatusBadRequest, "", "400 Bad Request: The Upgrade header names no protocol.\n", nil)
}

func (x *exchange) refuseConnect() {
	x.stats.badRequests.Add(1)
	h := x.w.Header()
	h.Set("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE")
	h.Set("Connection", "close") // whatever follows was meant for somebody else
	x.answer(http.StatusMethodNotAllowed, "", "405 Method Not Allowed: This is no forward proxy.\n", nil)
}

// answer is the router's own: text for programs, and the page, where there is one, for
// clients that accept HTML.
func (x *exchange) answer(status int, cause, text string, p *page) {
	h := x.w.Header()
	if cause != "" {
		h.Set("X-Cf-RouterError", cause)
	}
	contentType, body := "text/plain; charset=utf-8", text
	if p != nil && acceptsHTML(x.req) {
		p.Status, p.Host = status, x.host
		var b bytes.Buffer
		if err := pageTemplate.Execute(&b, p); err == nil {
			contentType, body = "text/html; charset=utf-8", b.String()
		}
	}
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", fmt.Sprint(len(body)))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store") // the next request may find the app
	x.w.WriteHeader(status)
	io.WriteString(x.w, body) //nolint:errcheck // a client that has gone misses nothing
}

func acceptsHTML(req *http.Request) bool {
	for _, accept := range req.Header["Accept"] {
		if strings.Contains(accept, "text/html") {
			return true
		}
	}
	return false
}
