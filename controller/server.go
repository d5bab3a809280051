package controller

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"cloudlet/controller/api"
	"cloudlet/internal/identity"
	"cloudlet/store"
)

// maxBody bounds a JSON body. Lists of resources are the longest.
const maxBody = 16 << 20

// maxForm bounds a multipart form that is looked into for its _method.
const maxForm = 64 << 10

func (c *Controller) routes() http.Handler {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.HTTPErrorHandler = c.answerError
	e.IPExtractor = identity.Address
	e.JSONSerializer = serializer{}
	e.Pre(escapedPath, methodOverride, noOptions)
	e.Use(c.observe, middleware.RecoverWithConfig(middleware.RecoverConfig{DisableStackAll: true}), c.resolveCaller, c.requireHTTPS, attribute)

	get := func(path string, h echo.HandlerFunc) { e.Match([]string{http.MethodGet, http.MethodHead}, path, h) }
	get("/", welcome)
	get("/openapi.json", openapi)
	get("/info", c.info)
	get("/info/runtimes", c.infoRuntimes)
	get("/info/services", c.infoServices)

	get("/users", c.listUsers)
	e.POST("/users", c.addUser)
	e.POST(loginRoute, c.login)
	get("/users/*", c.getUser)
	e.PUT("/users/*", c.setPassword)
	e.DELETE("/users/*", c.deleteUser)
	e.DELETE("/tokens", c.logout)
	get("/quotas/:email", c.getQuota)
	e.PUT("/quotas/:email", c.setQuota)
	e.DELETE("/quotas/:email", c.resetQuota)
	get("/invitations", c.listInvitations)
	e.POST("/invitations", c.invite)
	e.DELETE("/invitations/:id", c.withdraw)

	get("/apps", c.listApps)
	e.POST("/apps", c.createApp)
	get("/apps/:name", c.getApp)
	e.PUT("/apps/:name", c.updateApp)
	e.DELETE("/apps/:name", c.deleteApp)
	get("/apps/:name/instances", c.instances)
	get("/apps/:name/stats", c.stats)
	get("/apps/:name/crashes", c.crashes)
	get("/apps/:name/update", c.updateState)
	e.PUT("/apps/:name/update", c.replaceInstances)
	get("/apps/:name/instances/:id/files", c.files)
	get("/apps/:name/instances/:id/files/*", c.files)
	get("/apps/:name/instances/:id/exec", c.exec)
	get("/apps/:name/staging_log", c.stagingLog)
	get("/apps/:name/logs", c.logLines)
	get("/apps/:name/events", c.appEvents)
	get("/events", c.events)

	e.POST("/resources", c.matchResources)
	e.Match([]string{http.MethodPut, http.MethodPost}, "/apps/:name/application", c.upload)
	get("/apps/:name/application", c.download)

	get("/services", c.listServices)
	e.POST("/services", c.addService)
	get("/services/:alias", c.getService)
	e.DELETE("/services/:alias", c.deleteService)
	e.Match([]string{http.MethodPost, http.MethodDelete}, "/services/:label/tokens", serviceTokens)
	c.routeServices(e, get)

	get("/staging/app/:id", c.basicAuth(stagingUser, c.stagingPackage))
	e.POST("/staging/droplet/:id/:upload", c.basicAuth(stagingUser, c.stagingDroplet))
	get("/staged_droplets/:id/:hash", c.stagedDroplet)
	get("/metrics", c.metrics)
	get("/bulk/apps", c.basicAuth(bulkUser, c.bulkApps))
	get("/bulk/counts", c.basicAuth(bulkUser, c.bulkCounts))
	return e
}

// routeServices are the routes below /services/v1, and those of brokers.
func (c *Controller) routeServices(e *echo.Echo, get func(string, echo.HandlerFunc)) {
	const v1 = "/services/v1"
	get(v1+"/offerings", c.listOfferings)
	e.POST(v1+"/offerings", c.registerOffering)
	for _, offering := range []string{v1 + "/offerings/:label", v1 + "/offerings/:label/:provider"} {
		get(offering, c.getOffering)
		e.DELETE(offering, c.deleteOffering)
		get(offering+"/handles", c.listHandles)
		e.POST(offering+"/handles/:id", c.updateHandle)
	}
	get("/proxied_services/v1/offerings", c.proxiedOfferings("proxied_services"))
	get("/brokered_services/v1/offerings", c.proxiedOfferings("brokered_services"))
	get("/brokered_services/poc/offerings", c.proxiedOfferings("brokered_services"))

	e.POST(v1+"/configurations", c.configure)
	e.DELETE(v1+"/configurations/:alias", c.deleteService)
	e.POST(v1+"/bindings", c.bindApp)
	e.POST(v1+"/bindings/external", c.bindExternal)
	e.DELETE(v1+"/bindings/:token", c.unbindToken)
	e.POST(v1+"/binding_tokens", c.addBindingToken)
	get(v1+"/binding_tokens/:token", c.getBindingToken)
	e.DELETE(v1+"/binding_tokens/:token", c.deleteBindingToken)

	const instance = v1 + "/configurations/:id"
	get(instance+"/snapshots", c.lifecycle(nil))
	e.POST(instance+"/snapshots", c.lifecycle(nil))
	get(instance+"/snapshots/:sid", c.lifecycle(nil))
	e.Match([]string{http.MethodPut, http.MethodDelete}, instance+"/snapshots/:sid", c.lifecycle(nil))
	e.POST(instance+"/snapshots/:sid/name", c.lifecycle(snapshotName))
	get(instance+"/serialized/url/snapshots/:sid", c.lifecycle(nil))
	e.POST(instance+"/serialized/url/snapshots/:sid", c.lifecycle(nil))
	e.PUT(instance+"/serialized/url", c.lifecycle(serializedURL))
	e.Match([]string{http.MethodPut, http.MethodPost}, instance+"/serialized/data", c.importData)
	get(instance+"/jobs/:job_id", c.lifecycle(nil))
}

// serializer writes JSON as v1 did: without a newline at its end, and with no character
// escaped for the sake of HTML.
type serializer struct{ echo.DefaultJSONSerializer }

func (serializer) Serialize(e echo.Context, v any, _ string) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	return write(e, e.Response().Status, jsonType, bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}

// Content types as v1 wrote them.
const (
	jsonType = "application/json; charset=utf-8"
	htmlType = "text/html; charset=utf-8"
)

func write(e echo.Context, status int, kind string, body []byte) error {
	h := e.Response().Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	e.Response().WriteHeader(status)
	_, err := e.Response().Write(body)
	return err
}

func welcome(e echo.Context) error {
	return write(e, http.StatusOK, htmlType, []byte("Welcome to VMware's Cloud Application Platform\n"))
}

// noOptions answers OPTIONS as v1 did: there is no such route.
func noOptions(next echo.HandlerFunc) echo.HandlerFunc {
	return func(e echo.Context) error {
		if e.Request().Method == http.MethodOptions {
			return echo.ErrNotFound
		}
		return next(e)
	}
}

// escapedPath routes on the path as it was sent, so that %2F and %40 stay inside their
// segment whichever way a client escapes, and tolerates trailing slashes.
func escapedPath(next echo.HandlerFunc) echo.HandlerFunc {
	return func(e echo.Context) error {
		u := e.Request().URL
		u.RawPath = u.EscapedPath()
		if len(u.RawPath) > 1 {
			u.RawPath = "/" + strings.Trim(u.RawPath, "/")
		}
		return next(e)
	}
}

// methodOverride lets a POST stand for another verb: by header, or by a _method field
// in its form. An upload is routed as either verb and finds the field among its parts.
func methodOverride(next echo.HandlerFunc) echo.HandlerFunc {
	return func(e echo.Context) error {
		r := e.Request()
		if r.Method != http.MethodPost {
			return next(e)
		}
		method := r.Header.Get("X-HTTP-Method-Override")
		if method == "" && !streamed(r.URL.RawPath) {
			var err error
			if method, err = formMethod(r); err != nil {
				return err
			}
		}
		switch strings.ToUpper(method) {
		case http.MethodPut, http.MethodDelete:
			r.Method = strings.ToUpper(method)
		}
		return next(e)
	}
}

// streamed tells that a path takes bits: these are read once, as they come.
func streamed(path string) bool {
	s := strings.Split(path, "/")
	return len(s) == 4 && s[1] == "apps" && s[3] == "application" || len(s) > 1 && s[1] == "staging"
}

// formMethod reads the _method field of a form and leaves the body as it was.
func formMethod(r *http.Request) (string, error) {
	kind, boundary := formKind(r.Header.Get("Content-Type"))
	parts := kind == multipartForm
	if !parts && kind != urlForm {
		return "", nil
	}
	if parts && (r.ContentLength < 0 || r.ContentLength > maxForm) {
		return "", nil // it carries a file, which is its handler's to read
	}
	body, err := readBody(r)
	if err != nil {
		return "", err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if parts {
		form, err := multipart.NewReader(bytes.NewReader(body), boundary).ReadForm(maxForm)
		if err != nil {
			return "", nil
		}
		defer form.RemoveAll() //nolint:errcheck // it was in memory
		return url.Values(form.Value).Get("_method"), nil
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return "", nil // JSON that an old client labels as a form
	}
	return form.Get("_method"), nil
}

// caller is who a request acts for.
type caller struct {
	real *store.User // who sent the token
	user *store.User // whom it acts as: the same, or the target of Proxy-User
}

const callerKey = "caller"

// resolveCaller finds who calls. A bad token is no error: the request is anonymous.
func (c *Controller) resolveCaller(next echo.HandlerFunc) echo.HandlerFunc {
	return func(e echo.Context) error {
		who := caller{}
		if u, ok := c.id.Caller(e.Request().Header.Get("Authorization"), time.Now()); ok {
			who = caller{real: &u, user: &u}
		}
		if target := strings.TrimSpace(e.Request().Header.Get("Proxy-User")); target != "" {
			u, err := c.proxied(who, target)
			if err != nil {
				return err
			}
			who.user = u
		}
		e.Set(callerKey, who)
		return next(e)
	}
}

func (c *Controller) proxied(who caller, email string) (*store.User, error) {
	if who.real == nil || !who.real.Admin {
		return nil, api.Forbidden.Because("only an administrator may act for another user")
	}
	var u store.User
	err := c.st.View(func(tx *store.Tx) (err error) {
		u, err = tx.User(email)
		return err
	})
	return &u, err
}

// requireHTTPS refuses known callers who did not come over TLS, where the operator wants
// that, and logins, which carry a password.
func (c *Controller) requireHTTPS(next echo.HandlerFunc) echo.HandlerFunc {
	return func(e echo.Context) error {
		if c.cfg.HTTPS == "" || secure(e.Request()) {
			return next(e)
		}
		admin := who(e).real != nil && who(e).real.Admin
		if e.Path() == loginRoute {
			admin = admin || c.isAdmin(param(e, "email"))
		}
		if admin || c.cfg.HTTPS == HTTPSForAll && (who(e).real != nil || e.Path() == loginRoute) {
			return api.HTTPSRequired.Because("use https:// in the target")
		}
		return next(e)
	}
}

const loginRoute = "/users/:email/tokens"

func (c *Controller) isAdmin(email string) bool {
	admin := false
	err := c.st.View(func(tx *store.Tx) error {
		u, err := tx.User(email)
		admin = u.Admin
		return err
	})
	return err == nil && admin
}

// secure tells that a request came over TLS, by what routers have said of it.
func secure(r *http.Request) bool {
	for _, h := range []string{"X-Forwarded-Proto", "X-Forwarded_Proto"} {
		if strings.HasPrefix(strings.ToLower(r.Header.Get(h)), "https") {
			return true
		}
	}
	return r.TLS != nil
}

// baseURL is the API's address as the client knows it. HTTP/1.0 needs no Host.
func (c *Controller) baseURL(r *http.Request) string {
	scheme, host := "http://", r.Host
	if secure(r) {
		scheme = "https://"
	}
	if host == "" {
		host = "api." + c.cfg.Domain
	}
	return scheme + host
}

func who(e echo.Context) caller { return e.Get(callerKey).(caller) }

// user is the effective user, or the fault for anonymous callers.
func user(e echo.Context) (*store.User, error) {
	if u := who(e).user; u != nil {
		return u, nil
	}
	return nil, api.Forbidden.Because("log in first: vmc login")
}

// admin is the effective user, who has to be an administrator.
func admin(e echo.Context) (*store.User, error) {
	u, err := user(e)
	if err == nil && !u.Admin {
		err = api.Forbidden.Because("only an administrator may do this")
	}
	return u, err
}

// Users of HTTP Basic, each with the controller's random password.
const (
	stagingUser = "staging"
	bulkUser    = "bulk_api"
)

func (c *Controller) basicAuth(name string, next echo.HandlerFunc) echo.HandlerFunc {
	return func(e echo.Context) error {
		user, password, _ := e.Request().BasicAuth()
		if user != name || subtle.ConstantTimeCompare([]byte(password), []byte(c.password)) != 1 {
			e.Response().Header().Set("WWW-Authenticate", `Basic realm="Application"`)
			return e.String(http.StatusUnauthorized, "HTTP Basic: Access denied.\n")
		}
		return next(e)
	}
}

// param is a path parameter, decoded.
func param(e echo.Context, name string) string {
	raw := e.Param(name)
	if s, err := url.PathUnescape(raw); err == nil {
		return s
	}
	return raw
}

func readBody(r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return nil, api.BadRequest.Because("the body ended early: %v", err)
	}
	if len(body) > maxBody {
		readOn(r.Body, maxBody)
		return nil, api.BadRequest.Because("the body is larger than %d MiB", maxBody>>20)
	}
	return body, nil
}

// readOn reads a part of what is too long anyway: a client that still writes when the
// connection closes would not get to see the answer.
func readOn(body io.Reader, n int64) {
	io.Copy(io.Discard, io.LimitReader(body, n)) //nolint:errcheck // the answer is no better for it
}

// decode reads a JSON body, whatever its Content-Type says.
func decode[T any](e echo.Context) (v T, err error) {
	body, err := readBody(e.Request())
	if err != nil {
		return v, err
	}
	return parse[T](body)
}

// decodeOptional is decode for a body that may be missing.
func decodeOptional[T any](e echo.Context) (v T, err error) {
	body, err := readBody(e.Request())
	if err != nil || len(bytes.TrimSpace(body)) == 0 {
		return v, err
	}
	return parse[T](body)
}

func parse[T any](body []byte) (v T, err error) {
	if err := json.Unmarshal(body, &v); err != nil {
		return v, api.BadRequest.Because("the body is not the JSON that is expected here: %v", err)
	}
	return v, nil
}

// blank is v1's empty answer: one space. Some clients take nothing else for it.
func blank(e echo.Context) error { return blankWith(e, http.StatusOK) }

// blankWith says of the space what the client wants to hear, as v1's framework did.
func blankWith(e echo.Context, status int) error {
	kind := htmlType
	if strings.HasPrefix(e.Request().Header.Get("Accept"), "application/json") {
		kind = jsonType
	}
	return write(e, status, kind, []byte(" "))
}

// faults maps what the packages below report to what a client is told. A cause that is
// not listed is a SystemError: logged here, hidden there.
var faults = []struct {
	cause error
	fault *api.Fault
}{
	{errSlow, api.BadRequest.Because("the body ended early: %v", errSlow)},
	{store.ErrNoApp, api.AppNotFound.Because("you have no application of this name; `vmc apps` lists yours")},
	{store.ErrNoUser, api.UserNotFound.Because("there is no user of this name; `vmc users` lists all")},
	{store.ErrNameTaken, api.AppInvalid.Because("you have an application of this name already")},
	{store.ErrUserTaken, api.BadRequest.Because("there is a user of this name already")},
	{store.ErrNoInvitation, api.BadRequest.Because("there is no such invitation any more")},
	{store.ErrInvitations, api.BadRequest.Because("too many invitations are open; withdraw some, or let them expire")},
	{store.ErrNoBlob, api.AppNotFound},
	{store.ErrNoOffering, api.ServiceNotFound.Because("there is no such service here; `vmc services` lists those that there are")},
	{store.ErrNoService, api.ServiceNotFound.Because("you have no service of this name; `vmc services` lists yours")},
	{store.ErrNoBinding, api.BindingNotFound.Because("there is no such binding")},
	{store.ErrNoToken, api.TokenNotFound.Because("there is no such binding token")},
	{identity.ErrInvitation, api.Forbidden.Because("registration needs an invitation here, and this one does not hold; ask the administrator for one")},
	{identity.ErrBadEmail, api.BadRequest.Because("this is no e-mail address")},
	{context.Canceled, api.SystemError.Because("Cloudlet is stopping; repeat the command when it is back")},
	{identity.ErrNoPassword, api.BadRequest.Because("the password is missing or longer than 512 bytes")},
	{identity.ErrWrongPassword, api.Forbidden.Because("wrong e-mail or password")},
}

// faultOf is the fault for an error; nil for a route that does not exist.
func (c *Controller) faultOf(err error) *api.Fault {
	var fault *api.Fault
	var taken store.ErrURITaken
	var tooMany identity.ErrTooMany
	switch {
	case errors.As(err, &fault):
		return fault
	case errors.As(err, &taken):
		return api.URITaken.With(taken.URI).Because("another user has this URL; choose another one")
	case errors.As(err, &tooMany):
		return api.Forbidden.Because("%s", tooMany.Error())
	}
	for _, f := range faults {
		if errors.Is(err, f.cause) {
			return f.fault
		}
	}
	return nil
}

// invalidKey is the member under which a services route says what is wrong with a body.
func invalidKey(route string) string {
	if strings.HasPrefix(route, "/services/v1/") {
		return "errors"
	}
	return "description"
}

// answerError is the only place that turns errors into answers.
func (c *Controller) answerError(err error, e echo.Context) {
	if e.Response().Committed {
		return
	}
	var unknown *echo.HTTPError
	var bad invalid
	if errors.As(err, &bad) {
		e.JSON(http.StatusBadRequest, map[string]string{invalidKey(e.Path()): string(bad)}) //nolint:errcheck // likewise
		return
	}
	fault := c.faultOf(err)
	switch {
	case fault != nil:
	case errors.As(err, &unknown) && (unknown.Code == http.StatusNotFound || unknown.Code == http.StatusMethodNotAllowed):
		blankWith(e, http.StatusNotFound) //nolint:errcheck // the client went away
		return
	default:
		c.log.Error("request failed", "method", e.Request().Method, "path", e.Request().URL.Path, "err", err)
		fault = api.SystemError
	}
	var tooMany identity.ErrTooMany
	if errors.As(err, &tooMany) {
		e.Response().Header().Set("Retry-After", fmt.Sprint(int(tooMany.Wait.Seconds())+1))
	}
	e.JSON(fault.Status, fault) //nolint:errcheck // the client went away
}
