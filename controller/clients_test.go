package controller_test

import (
	"bufio"
	"crypto/sha1"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"cloudlet/bus"
)

// raw sends a request byte for byte as a client of its time did. The head's lines end as
// in this source; Content-Length is added where the head says nothing of the body's end.
// TOKEN stands for alice's.
func (s *transcript) raw(title, head, body string) {
	c, t := s.c, s.c.t
	t.Helper()
	head = strings.TrimSpace(head)
	fmt.Fprintf(&s.out, "# %s\n> %s\n", title, strings.ReplaceAll(head, "\n", "\n> "))
	if body != "" {
		fmt.Fprintf(&s.out, "> %q\n", printable(body))
	}
	if !strings.Contains(head, "Content-Length:") && !strings.Contains(head, "chunked") && body != "" {
		head += fmt.Sprintf("\nContent-Length: %d", len(body))
	}
	if strings.Contains(head, "chunked") {
		body = fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	}
	head = strings.ReplaceAll(strings.ReplaceAll(head, "TOKEN", c.tokens[alice]), "\n", "\r\n") + "\r\n\r\n"

	conn, err := net.Dial("tcp", strings.TrimPrefix(c.ctl.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	method, _, _ := strings.Cut(head, " ")
	exchange := func(text string) *http.Response {
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatalf("%s: %v", title, err)
		}
		resp, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			t.Fatalf("%s: %v", title, err)
		}
		return resp
	}
	var resp *http.Response
	if strings.Contains(head, "Expect: 100-continue") {
		if resp = exchange(head); resp.StatusCode == http.StatusContinue {
			resp = exchange(body)
		}
	} else {
		resp = exchange(head + body)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s: %v", title, err)
	}
	s.answer(reply{resp.StatusCode, resp.Header, string(text)})
}

// printable leaves the archive out of a form.
func printable(body string) string {
	from, to := strings.Index(body, "PK\x03\x04"), strings.LastIndex(body, "PK\x05\x06")
	if from < 0 || to < from {
		return body
	}
	return body[:from] + "ZIP" + body[to+22:]
}

// uploaded writes down which files the app has then.
func (s *transcript) uploaded() {
	s.c.t.Helper()
	fmt.Fprintf(&s.out, "%s\n", s.c.files(alice, "hello"))
}

func sum(text string) string { return fmt.Sprintf("%x", sha1.Sum([]byte(text))) }

// formOf joins parts as clients that write forms by hand do: each with its header.
func formOf(boundary, end string, parts ...string) string {
	var b strings.Builder
	for i := 0; i+1 < len(parts); i += 2 {
		fmt.Fprintf(&b, "--%s\r\n%s\r\n\r\n%s\r\n", boundary, strings.ReplaceAll(parts[i], "\n", "\r\n"), parts[i+1])
	}
	return b.String() + "--" + boundary + "--" + end
}

// clientCloud is where the clients of these tests find what they expect.
func clientCloud(t *testing.T) (*cloud, *transcript, string) {
	c := start(t, nil)
	c.health(1, func(bus.StatusOf) *bus.StatusReply { return &bus.StatusReply{Instances: &[]bus.CrashedInstance{}} })
	c.stager()
	c.dea("dea-1", 4096)
	if err := c.id.SetPassword(t.Context(), alice, "secret"); err != nil {
		t.Fatal(err)
	}
	c.tokens[alice] = c.token("secret")
	g := newGateway(t)
	c.volatile(g.URL, "GATEWAY")
	c.offer(g, redis)
	return c, &transcript{c: c}, pack(t, "app.js", "hello")
}

// token logs alice in.
func (c *cloud) token(password string) string {
	c.t.Helper()
	body := c.ok("", "POST", "/users/"+alice+"/tokens", `{"password":"`+password+`"}`)
	return strings.TrimSuffix(strings.TrimPrefix(body, `{"token":"`), `"}`)
}

// vmc 0.3: rest-client, every component of a path escaped, whole documents sent back.
func TestGoldenClientVMC(t *testing.T) {
	t.Parallel()
	_, s, zipped := clientCloud(t)
	const headers = "\nAccept: application/json\nAccept-Encoding: gzip, deflate\nUser-Agent: Ruby\nContent-Type: application/json\nHost: api.localhost"
	const auth = "\nAuthorization: TOKEN" + headers
	s.raw("login, with a token of long ago", "POST /users/alice%40example.com/tokens HTTP/1.1\nAuthorization: 04085b08492200"+headers, `{"password":"secret"}`)
	s.raw("info", "GET /info HTTP/1.1"+auth, "")
	s.raw("no such app", "GET /apps/hello HTTP/1.1"+auth, "")
	s.raw("create", "POST /apps HTTP/1.1"+auth, `{"name":"hello","staging":{"framework":"node","runtime":null},"uris":["hello.localhost"],"instances":1,"resources":{"memory":64}}`)
	s.raw("resources, by paths of its own", "POST /resources HTTP/1.1"+auth, `[{"fn":"/tmp/.vmc_hello_files/app.js","size":5,"sha1":"`+sum("hello")+`"}]`)
	const boundary = "349832898984244898448024464570528145"
	s.raw("upload", "POST /apps/hello/application HTTP/1.1\nAuthorization: TOKEN\nAccept: */*; q=0.5, application/xml\nAccept-Encoding: gzip, deflate\nContent-Type: multipart/form-data; boundary="+boundary+"\nHost: api.localhost",
		formOf(boundary, "\r\n", `Content-Disposition: form-data; name="_method"`, "put",
			"Content-Disposition: form-data; name=\"application\"; filename=\"hello.zip\"\nContent-Type: application/octet-stream", zipped,
			`Content-Disposition: form-data; name="resources"`, "[]"))
	s.uploaded()
	s.raw("upload of 0.3.12 with nothing to send", "POST /apps/hello/application HTTP/1.1\nAuthorization: TOKEN\nAccept: */*; q=0.5, application/xml\nContent-Type: application/x-www-form-urlencoded\nHost: api.localhost",
		"_method=put&resources=%5B%7B%22fn%22%3A%22app.js%22%2C%22size%22%3A5%2C%22sha1%22%3A%22"+sum("hello")+"%22%7D%5D")
	s.uploaded()
	s.raw("start", "PUT /apps/hello HTTP/1.1"+auth, `{"name":"hello","staging":{"model":"node","stack":"node"},"uris":["hello.localhost"],"instances":1,"runningInstances":0,"resources":{"memory":64,"disk":2048,"fds":256},"state":"STARTED","services":[],"version":"4e8a0c61a415a14217f445e31758f928f38bc669-0","env":[],"meta":{"debug":null,"console":null,"version":1,"created":1345678901},"debug":null,"console":false}`)
	s.raw("poll", "GET /apps/hello HTTP/1.1"+auth, "")
	s.raw("crashes", "GET /apps/hello/crashes HTTP/1.1"+auth, "")
	s.raw("system services", "GET /info/services HTTP/1.1"+auth, "")
	s.raw("create a service", "POST /services HTTP/1.1"+auth, addRedis)
	s.raw("services", "GET /services HTTP/1.1"+auth, "")
	s.raw("delete a service", "DELETE /services/cache HTTP/1.1\nAuthorization: TOKEN\nAccept: */*; q=0.5, application/xml\nHost: api.localhost", "")
	s.raw("delete", "DELETE /apps/hello HTTP/1.1\nAuthorization: TOKEN\nAccept: */*; q=0.5, application/xml\nHost: api.localhost", "")
	s.raw("user", "GET /users/alice%40example.com HTTP/1.1"+auth, "")
	s.compare()
}

// cfoundry: follows the 302 with a GET that still has the body, writes parts with lengths.
func TestGoldenClientCfoundry(t *testing.T) {
	t.Parallel()
	_, s, zipped := clientCloud(t)
	const headers = "\nAuthorization: TOKEN\nContent-Type: application/json\nAccept: application/json\nHost: api.localhost"
	const app = `{"name":"hello","instances":1,"staging":{"model":"node","stack":"node"},"resources":{"memory":64},"uris":["hello.localhost"],"env":[],"services":[],"state":"STOPPED"}`
	s.raw("create", "POST /apps HTTP/1.1"+headers, app)
	s.raw("follow", "GET /apps/hello HTTP/1.1"+headers, app)
	const boundary = "-----------RubyMultipartPost"
	s.raw("upload", "POST /apps/hello/application HTTP/1.1\nAuthorization: TOKEN\nContent-Type: multipart/form-data; boundary="+boundary+"\nAccept: */*\nHost: api.localhost",
		formOf(boundary, "\r\n\r\n", `Content-Disposition: form-data; name="_method"`, "put",
			fmt.Sprintf("Content-Disposition: form-data; name=\"application\"; filename=\"hello.zip\"\nContent-Length: %d\nContent-Type: application/zip\nContent-Transfer-Encoding: binary", len(zipped)), zipped,
			`Content-Disposition: form-data; name="resources"`, `[{"fn":"app.js","size":5,"sha1":"`+sum("hello")+`"}]`))
	s.uploaded()
	s.raw("services", "GET /services/v1/offerings HTTP/1.1\nContent-Length: 0"+headers, "")
	s.raw("create a service", "POST /services HTTP/1.1"+headers, `{"name":"cache","type":"key-value","vendor":"redis","version":"2.2","tier":"free"}`)
	s.raw("update without meta", "PUT /apps/hello HTTP/1.1"+headers, strings.Replace(app, `"services":[]`, `"services":["cache"]`, 1))
	s.raw("read", "GET /apps/hello HTTP/1.1\nContent-Length: 0"+headers, "")
	s.raw("a service that is not there", "GET /services/none HTTP/1.1\nContent-Length: 0"+headers, "")
	s.raw("delete", "DELETE /apps/hello HTTP/1.1\nContent-Length: 0"+headers, "")
	s.compare()
}

// The Java client: raw paths, typed text parts in chunks, SHA-1 in capitals, no meta.
func TestGoldenClientJava(t *testing.T) {
	t.Parallel()
	_, s, zipped := clientCloud(t)
	const headers = "\nAccept: application/json, */*\nAuthorization: TOKEN\nContent-Type: application/json\nUser-Agent: Java/1.6.0_31\nHost: api.localhost\nConnection: keep-alive"
	const app = `{"name":"hello","staging":{"model":"node","stack":"node"},"uris":["hello.localhost"],"instances":1,"resources":{"memory":64},"state":"STOPPED","services":[],"env":[],"debug":null}`
	s.raw("login", "POST /users/alice@example.com/tokens HTTP/1.1\nAccept: application/json\nContent-Type: application/json\nHost: api.localhost", `{"password":"secret"}`)
	s.raw("create", "POST /apps HTTP/1.1"+headers, app)
	s.raw("resources", "POST /resources HTTP/1.1"+headers, `[{"size":5,"sha1":"`+strings.ToUpper(sum("hello"))+`","fn":"app.js"}]`)
	resources := `[{"fn":"app.js","size":5,"sha1":"` + strings.ToUpper(sum("hello")) + `"}]`
	typed := "\nContent-Type: application/json;charset=UTF-8"
	const boundary = "gL8Iz-1Rx_eQ0w"
	parts := func(method bool) string {
		all := []string{`Content-Disposition: form-data; name="_method"` + typed, "put"}
		if !method {
			all = nil
		}
		return formOf(boundary, "\r\n", append(all, "Content-Disposition: form-data; name=\"application\"; filename=\"hello.zip\"\nContent-Type: application/octet-stream", zipped,
			`Content-Disposition: form-data; name="resources"`+typed, resources)...)
	}
	s.raw("upload of 0.8", "POST /apps/hello/application HTTP/1.1\nAccept: */*\nAuthorization: TOKEN\nContent-Type: multipart/form-data;boundary="+boundary+"\nTransfer-Encoding: chunked\nHost: api.localhost", parts(true))
	s.uploaded()
	s.raw("upload of 0.7, a true PUT", "PUT /apps/hello/application HTTP/1.1\nAccept: */*\nAuthorization: TOKEN\nContent-Type: multipart/form-data;boundary="+boundary+"\nHost: api.localhost", parts(false))
	s.uploaded()
	s.raw("resources that are known now", "POST /resources HTTP/1.1"+headers, resources)
	s.raw("start", "PUT /apps/hello HTTP/1.1"+headers, strings.Replace(app, "STOPPED", "STARTED", 1))
	s.raw("read", "GET /apps/hello HTTP/1.1"+headers, "")
	s.raw("create a service, all members", "POST /services HTTP/1.1"+headers, `{"meta":null,"name":"cache","type":"key-value","vendor":"redis","version":"2.2","tier":"free","label":null,"plan":null,"provider":null,"options":null}`)
	s.raw("service", "GET /services/cache HTTP/1.1"+headers, "")
	s.raw("bind", "PUT /apps/hello HTTP/1.1"+headers, strings.Replace(strings.Replace(app, "STOPPED", "STARTED", 1), `"services":[]`, `"services":["cache"]`, 1))
	s.raw("rename: nothing happens", "PUT /apps/hello HTTP/1.1"+headers, `{"name":"other"}`)
	s.raw("not renamed", "GET /apps/other HTTP/1.1"+headers, "")
	s.raw("the whole app with its version as a text, debug off as false", "PUT /apps/hello HTTP/1.1"+headers, `{"instances":1.0,"resources":{"memory":"64"},"debug":false,"meta":{"version":"4"}}`)
	s.compare()
}

// vmcjs: a boundary that is a number, the file last, a form without a last line's end.
func TestGoldenClientVmcjs(t *testing.T) {
	t.Parallel()
	_, s, zipped := clientCloud(t)
	const headers = "\naccept: application/json\ncontent-type: application/json\nAUTHORIZATION: TOKEN\nHost: api.localhost:8080\nConnection: close"
	s.raw("login", "POST /users/alice@example.com/tokens HTTP/1.1\naccept: application/json\ncontent-type: application/json\nHost: api.localhost:8080\nConnection: close", `{"password":"secret"}`)
	s.raw("create", "POST /apps HTTP/1.1"+headers, `{"resources":{"memory":64},"instances":1,"name":"hello","staging":{"framework":"node","runtime":null},"uris":["hello.localhost"]}`)
	const boundary = "0.6327711024042219"
	body := "--" + boundary + "\r\nContent-Disposition: form-data; name=\"resources\"\r\n\r\n[]\r\n--" + boundary + "\r\nContent-Disposition: form-data; name=\"_method\"\r\n\r\nput\r\n--" +
		boundary + "\r\nContent-Disposition: form-data; name=\"application\"; filename=\"/tmp/hello.zip\"\r\nContent-Type: application/zip\r\n\r\n" + zipped + "\r\n--" + boundary + "--"
	s.raw("upload", "POST /apps/hello/application HTTP/1.1\nContent-Type: multipart/form-data; boundary="+boundary+"\nAccept-Encoding: gzip, deflate\nAccept: */*; q=0.5, application/xml\nAUTHORIZATION: TOKEN\nHost: api.localhost:8080\nConnection: close", body)
	s.uploaded()
	s.raw("map, with the target's port", "PUT /apps/hello HTTP/1.1"+headers, `{"name":"hello","staging":{"model":"node","stack":"node"},"uris":["hello.localhost","http://www.localhost:8080"],"instances":1,"runningInstances":0,"resources":{"memory":64,"disk":2048,"fds":256},"state":"STOPPED","services":[],"version":"x-0","env":[],"meta":{"debug":null,"console":null,"version":1,"created":1345678901}}`)
	s.raw("read", "GET /apps/hello HTTP/1.1"+headers, "")
	s.raw("delete", "DELETE /apps/hello HTTP/1.1\ncontent-length: 0\nAUTHORIZATION: TOKEN\nHost: api.localhost:8080\nConnection: close", "")
	s.raw("register with a slash", "POST /users/ HTTP/1.1"+headers, `{"email":"dave@example.com","password":"x"}`)
	s.compare()
}

// The smaller ones: PHP labels JSON as a form and waits for 100, Python labels it not at
// all, .NET names all files as resources, the Ruby gem takes nothing but one space.
func TestGoldenClientOthers(t *testing.T) {
	t.Parallel()
	c, s, zipped := clientCloud(t)
	const php = "\nHost: api.localhost\nAccept: */*\nAUTHORIZATION: TOKEN"
	s.raw("PHP: login", "POST /users/alice@example.com/tokens HTTP/1.1\nHost: api.localhost\nAccept: */*\nContent-Type: application/x-www-form-urlencoded", `{"password":"secret"}`)
	s.raw("PHP: create", "POST /apps HTTP/1.1"+php+"\nContent-Type: application/x-www-form-urlencoded\nExpect: 100-continue", `{"staging":{"framework":"node"},"name":"hello","instances":1,"resources":{"memory":64}}`)
	s.raw("PHP: a PUT in chunks", "PUT /apps/hello HTTP/1.1"+php+"\nTransfer-Encoding: chunked\nExpect: 100-continue", `{"instances":"2"}`)
	s.raw("PHP: expecting what is refused", "PUT /apps/none HTTP/1.1"+php+"\nTransfer-Encoding: chunked\nExpect: 100-continue", `{"instances":2}`)
	s.raw("PHP: delete", "DELETE /apps/hello HTTP/1.1"+php, "")

	const python = "\nHost: api.localhost\nAccept-Encoding: identity, deflate, compress, gzip\nAccept: */*\nUser-Agent: python-requests/0.14.0"
	s.raw("Python: login", "POST /users/alice%40example.com/tokens HTTP/1.1"+python, `{"password": "secret"}`)
	s.raw("Python: create", "POST /apps/ HTTP/1.1\nAuthorization: TOKEN"+python, `{"name": "hello", "staging": {"framework": "node"}, "uris": ["hello.localhost"], "instances": 1}`)
	s.raw("Python: apps", "GET /apps/ HTTP/1.1\nAuthorization: TOKEN"+python, "")
	c.ok(alice, "POST", "/services", addRedis)
	s.raw("Python: services have no member that it does not know", "GET /services/ HTTP/1.1\nAuthorization: TOKEN"+python, "")
	s.raw("Python: delete a service", "DELETE /services/cache HTTP/1.1\nAuthorization: TOKEN\nContent-Length: 0"+python, "")

	const dotnet = "\nAUTHORIZATION: TOKEN\nAccept: application/json, application/xml, text/json, text/x-json, text/javascript, text/xml\nUser-Agent: RestSharp/104.1.0.0\nHost: api.localhost\nAccept-Encoding: gzip, deflate"
	const boundary = "-----------------------------28947758029299"
	disposition := "Content-Disposition: form-data; name=\"application\"; filename=\"tmp4D1A.tmp\"\nContent-Type: application/octet-stream"
	s.raw(".NET: upload with all files as resources", "PUT /apps/hello/application HTTP/1.1"+dotnet+"\nContent-Type: multipart/form-data; boundary="+boundary+"\nExpect: 100-continue",
		formOf(boundary, "\r\n", `Content-Disposition: form-data; name="resources"`, `[{"size":5,"sha1":"`+sum("hello")+`","fn":"app.js"},{"size":3,"sha1":"`+sum("lib")+`","fn":"lib/a.js"}]`,
			disposition, pack(t, "app.js", "hello", "lib/a.js", "lib")))
	s.uploaded()
	s.raw(".NET: upload with null for resources", "PUT /apps/hello/application HTTP/1.1"+dotnet+"\nContent-Type: multipart/form-data; boundary="+boundary,
		formOf(boundary, "\r\n", `Content-Disposition: form-data; name="resources"`, "null", disposition, zipped))
	s.uploaded()
	s.raw(".NET: whole app", "PUT /apps/hello HTTP/1.1"+dotnet+"\nContent-Type: application/json", `{"name":"hello","staging":{"model":"node","stack":"node"},"uris":["hello.localhost"],"instances":1,"runningInstances":null,"resources":{"memory":256,"disk":2048,"fds":256},"state":"STARTED","services":[],"version":"x-0","env":[],"meta":{"version":1,"created":1345678901},"User":null,"IsStarted":true}`)

	const gem = "\nUser-Agent: cloudfoundry-client-0.1.0\nAuthorization: TOKEN\nHost: api.localhost"
	const post = "-----------RubyMultipartPost"
	s.raw("gem: upload, no blank before the boundary", "PUT /apps/hello/application HTTP/1.1"+gem+"\nContent-Type: multipart/form-data;boundary="+post+"\nAccept: */*",
		formOf(post, "\r\n\r\n", fmt.Sprintf("Content-Disposition: form-data; name=\"application\"; filename=\"app.zip\"\nContent-Length: %d\nContent-Type: application/zip\nContent-Transfer-Encoding: binary", len(zipped)), zipped,
			`Content-Disposition: form-data; name="resources"`, "[]"))
	s.uploaded()
	s.raw("gem: stop, for JSON", "PUT /apps/hello HTTP/1.1"+gem+"\nContent-Type: application/json\nAccept: application/json", `{"state":"STOPPED","services":null,"env":null,"meta":null,"uris":null,"staging":null}`)
	s.raw("gem: no framework", "POST /apps HTTP/1.1"+gem+"\nContent-Type: application/json\nAccept: application/json", `{"name":"newapp","instances":1}`)
	s.raw("gem: delete", "DELETE /apps/hello HTTP/1.1"+gem+"\nAccept: */*", "")

	s.raw("HTTP/1.0 names no host", "POST /apps HTTP/1.0\nAuthorization: TOKEN", `{"name":"hello","staging":{"framework":"node"}}`)
	s.raw("an odd boundary, odd names", "PUT /apps/hello/application HTTP/1.1\nHost: x\nAuthorization: TOKEN\nContent-Type: Multipart/Form-Data; Boundary=a/b=c?",
		formOf("a/b=c?", "", "content-disposition: form-data; filename=C:\\tmp\\a b.zip; name=application", zipped, "Content-Disposition: form-data; name='x", "y", "Content-Disposition: form-data; name=resources", " \n"))
	s.uploaded()
	s.raw("a stale token beside the right password", "POST /users/alice%40example.com/tokens HTTP/1.1\nHost: x\nAuthorization: bearer a.b.c", `{"password":"secret"}`)
	s.raw("behind TLS, as the old router says it", "POST /apps HTTP/1.1\nHost: api.localhost\nX-Forwarded_Proto: https\nAuthorization: TOKEN", `{"name":"tls","staging":{"framework":"node"}}`)
	s.raw("OPTIONS is no verb of v1", "OPTIONS /apps HTTP/1.1\nHost: api.localhost\nAuthorization: TOKEN", "")
	s.raw("nowhere, for JSON", "GET /nowhere HTTP/1.1\nHost: api.localhost\nAccept: application/json", "")
	s.compare()
}
