package uaa

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"cloudlet/internal/identity"
	"cloudlet/store"
)

// maxBody bounds a form or a JSON body.
const maxBody = 64 << 10

func (u *UAA) routes() http.Handler {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.HTTPErrorHandler = u.answerError
	e.IPExtractor = identity.Address
	e.JSONSerializer = serializer{}
	e.Pre(middleware.RemoveTrailingSlash())
	e.Use(middleware.RecoverWithConfig(middleware.RecoverConfig{DisableStackAll: true}), u.observe, uncached)

	get := func(path string, h echo.HandlerFunc) { e.Match([]string{http.MethodGet, http.MethodHead}, path, h) }
	get("/", u.login)
	get("/login", u.login)
	get("/login_info", u.login)
	get("/info", u.login)

	get("/oauth/authorize", useOfGet)
	e.POST("/oauth/authorize", u.authorize)
	e.POST("/oauth/token", u.token)
	get("/token_key", u.tokenKey)
	get("/check_token", u.checkToken)
	e.POST("/check_token", u.checkToken)
	e.Match([]string{http.MethodGet, http.MethodHead, http.MethodPost}, "/userinfo", u.userInfo)
	e.POST("/password/score", score)

	for _, users := range []string{"/Users", "/User"} {
		get(users, u.listUsers)
		e.POST(users, u.addUser)
		get(users+"/:id", u.getUser)
		e.PUT(users+"/:id", u.putUser)
		e.DELETE(users+"/:id", u.deleteUser)
		e.PUT(users+"/:id/password", u.changePassword)
	}
	return e
}

// serializer writes JSON under the UAA's content type.
type serializer struct{ echo.DefaultJSONSerializer }

func (s serializer) Serialize(e echo.Context, v any, indent string) error {
	e.Response().Header().Set("Content-Type", "application/json;charset=UTF-8")
	return s.DefaultJSONSerializer.Serialize(e, v, indent)
}

func (u *UAA) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(e echo.Context) error {
		u.count.requests.Add(1)
		return next(e)
	}
}

// uncached keeps tokens and accounts out of caches.
func uncached(next echo.HandlerFunc) echo.HandlerFunc {
	return func(e echo.Context) error {
		h := e.Response().Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Pragma", "no-cache")
		return next(e)
	}
}

// fault is an answer that refuses a request.
type fault struct {
	Status  int    `json:"-"`
	Scheme  string `json:"-"` // of WWW-Authenticate; empty for none
	Code    string `json:"error"`
	Text    string `json:"error_description"`
	Message string `json:"message,omitempty"` // the text once more, as SCIM calls it
}

func (f *fault) Error() string { return f.Code + ": " + f.Text }

// because is the fault with another text.
func (f *fault) because(format string, args ...any) *fault {
	g := *f
	g.Text = fmt.Sprintf(format, args...)
	if strings.Contains(g.Code, "scim_") {
		g.Message = g.Text
	}
	return &g
}

var (
	invalidRequest    = &fault{Status: http.StatusBadRequest, Code: "invalid_request"}
	invalidClient     = &fault{Status: http.StatusBadRequest, Code: "invalid_client"}
	invalidScope      = &fault{Status: http.StatusBadRequest, Code: "invalid_scope"}
	invalidGrant      = &fault{Status: http.StatusBadRequest, Code: "invalid_grant"}
	unknownGrant      = &fault{Status: http.StatusBadRequest, Code: "unsupported_grant_type"}
	unknownResponse   = &fault{Status: http.StatusBadRequest, Code: "unsupported_response_type"}
	badToken          = &fault{Status: http.StatusBadRequest, Code: "invalid_token", Text: "The token is invalid, expired or revoked"}
	badCredentials    = &fault{Status: http.StatusUnauthorized, Scheme: `Bearer realm="oauth"`, Code: "unauthorized", Text: "Bad credentials"}
	badClient         = &fault{Status: http.StatusUnauthorized, Scheme: `Basic realm="UAA/client"`, Code: "unauthorized", Text: "Bad credentials"}
	noToken           = &fault{Status: http.StatusUnauthorized, Scheme: `Bearer realm="UAA/oauth"`, Code: "unauthorized", Text: "Full authentication is required to access this resource"}
	wrongToken        = &fault{Status: http.StatusUnauthorized, Scheme: `Bearer realm="UAA/oauth"`, Code: "invalid_token", Text: badToken.Text}
	insufficientScope = &fault{Status: http.StatusForbidden, Code: "insufficient_scope"}
	accessDenied      = &fault{Status: http.StatusForbidden, Code: "access_denied"}
	badUser           = &fault{Status: http.StatusBadRequest, Code: "invalid_scim_resource"}
	noUser            = &fault{Status: http.StatusNotFound, Code: "scim_resource_not_found"}
	userExists        = &fault{Status: http.StatusConflict, Code: "scim_resource_already_exists"}
	userChanged       = &fault{Status: http.StatusPreconditionFailed, Code: "scim_resource_constraint_failed"}
	unavailable       = &fault{Status: http.StatusServiceUnavailable, Code: "temporarily_unavailable"}
	serverError       = &fault{Status: http.StatusInternalServerError, Code: "server_error", Text: "Something went wrong; the log of the cloud tells what"}
)

// faults maps what the packages below report to what a client is told. A cause that is
// not listed is a server_error: logged here, hidden there.
var faults = []struct {
	cause error
	fault *fault
}{
	{identity.ErrWrongPassword, badCredentials},
	{identity.ErrToken, wrongToken},
	{identity.ErrBadEmail, badUser.because("userName is not an e-mail address")},
	{identity.ErrNoPassword, badUser.because("The password is missing or longer than 512 bytes")},
	{store.ErrNoUser, noUser.because("There is no such user")},
	{store.ErrUserTaken, userExists.because("Username already in use")},
}

func (u *UAA) faultOf(e echo.Context, err error) *fault {
	var f *fault
	var tooMany identity.ErrTooMany
	var version identity.ErrVersion
	var echoed *echo.HTTPError
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &tooMany):
		e.Response().Header().Set("Retry-After", fmt.Sprint(int(tooMany.Wait.Seconds())+1))
		return badCredentials.because("%s", tooMany.Error())
	case errors.As(err, &version):
		return userChanged.because("%s", version.Error())
	case errors.As(err, &echoed) && echoed.Code < http.StatusInternalServerError:
		text := http.StatusText(echoed.Code)
		return &fault{Status: echoed.Code, Code: strings.ToLower(strings.ReplaceAll(text, " ", "_")), Text: text}
	}
	for _, f := range faults {
		if errors.Is(err, f.cause) {
			return f.fault
		}
	}
	if e.Request().Context().Err() == nil {
		u.log.Error("request failed", "method", e.Request().Method, "path", e.Request().URL.Path, "err", err)
	}
	return serverError
}

// answerError is the only place that turns errors into answers.
func (u *UAA) answerError(err error, e echo.Context) {
	if e.Response().Committed {
		return
	}
	f := u.faultOf(e, err)
	if f.Scheme != "" {
		e.Response().Header().Set("WWW-Authenticate", fmt.Sprintf(`%s, error=%q, error_description=%q`, f.Scheme, f.Code, f.Text))
	}
	e.JSON(f.Status, f) //nolint:errcheck // the client went away
}

// readBody reads a body that is bounded.
func readBody(r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return nil, invalidRequest.because("The body ended early")
	}
	if len(body) > maxBody {
		return nil, invalidRequest.because("The body is larger than %d KiB", maxBody>>10)
	}
	return body, nil
}

// form are the parameters of a request: those that may stand in the address, and those
// of the body. Secrets are looked for in the body alone, since addresses are logged.
type form struct{ query, body url.Values }

func readForm(r *http.Request) (form, error) {
	body, err := readBody(r)
	if err != nil {
		return form{}, err
	}
	query, err1 := url.ParseQuery(r.URL.RawQuery)
	values, err2 := url.ParseQuery(string(body))
	if err1 != nil || err2 != nil {
		return form{}, invalidRequest.because("The parameters are not form encoded")
	}
	for name := range values {
		if len(values[name]) > 1 {
			return form{}, invalidRequest.because("The parameter %.40q is given twice", name)
		}
	}
	return form{query, values}, nil
}

// public is a parameter that is no secret.
func (f form) public(name string) string {
	if v, ok := f.body[name]; ok {
		return v[0]
	}
	return f.query.Get(name)
}

// secret is a parameter of the body.
func (f form) secret(name string) string { return f.body.Get(name) }

// decode reads a JSON body, whatever its Content-Type says.
func decode[T any](r *http.Request) (v T, err error) {
	body, err := readBody(r)
	if err != nil {
		return v, err
	}
	if err := json.Unmarshal(body, &v); err != nil {
		return v, invalidRequest.because("The body is not the JSON that is expected here")
	}
	return v, nil
}

// bearer is who sent a token.
type bearer struct {
	identity.Claims
	user store.User // nobody for a client
}

// isUser tells a user's token from a client's own.
func (b bearer) isUser() bool { return b.Email != "" }

// bearer reads the token of a request, which has to have a scope, and makes its holder
// the author of what changes. That it is also meant for the scope's audience follows,
// since tokens are made so.
func (u *UAA) bearer(e echo.Context, scope string) (b bearer, err error) {
	scheme, token, found := strings.Cut(e.Request().Header.Get("Authorization"), " ")
	if !found || !strings.EqualFold(scheme, "bearer") {
		return b, noToken
	}
	if b.Claims, b.user, err = u.id.Verify(strings.TrimSpace(token), "", time.Now()); err != nil {
		return b, err
	}
	author := store.Author{Actor: b.Email, Address: e.RealIP()}
	if !b.isUser() {
		author.Actor = b.ClientID
	}
	e.SetRequest(e.Request().WithContext(store.WithAuthor(e.Request().Context(), author)))
	if !b.has(scope) {
		return b, insufficientScope.because("Insufficient scope for this resource: it needs %s", scope)
	}
	return b, nil
}

func (b bearer) has(scope string) bool { return slices.Contains(b.Scope, scope) }
