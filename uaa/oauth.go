package uaa

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"cloudlet/internal/identity"
	"cloudlet/store"
)

// useOfGet tells browsers that there are no pages here.
func useOfGet(echo.Context) error {
	return invalidRequest.because("There is no login page here: send the credentials in a POST")
}

// authorize is the implicit grant for programs that hold the user's credentials: the
// token comes in the fragment of a redirect that nobody is to follow.
func (u *UAA) authorize(e echo.Context) error {
	f, err := readForm(e.Request())
	if err != nil {
		return err
	}
	c, ok := u.clients[f.public("client_id")]
	if !ok || !c.may(grantImplicit) {
		return invalidClient.because("No client with requested id: %.80q", f.public("client_id"))
	}
	redirect, err := u.redirect(c, f.public("redirect_uri"))
	if err != nil {
		return err
	}
	if f.public("response_type") != "token" {
		return unknownResponse.because("The response_type has to be token")
	}
	name, password, err := credentials(f)
	if err != nil {
		return err
	}
	now := time.Now()
	user, err := u.authenticateUser(e, name, password, now)
	if err != nil {
		return err
	}
	scopes, err := narrow(c.forUser(user), f.public("scope"))
	if err != nil {
		return err
	}
	t, err := u.issue(identity.Grant{Client: c.id, User: &user, Scope: scopes, Life: c.life}, now)
	if err != nil {
		return err
	}
	e.Response().Header().Set("Location", redirect+"#"+t.fragment(f.public("state")))
	return e.NoContent(http.StatusFound)
}

// redirect checks where a client wants to be sent. It is a convention of theirs, not a
// place that exists.
func (u *UAA) redirect(c client, uri string) (string, error) {
	path := "/redirect/" + c.id
	if uri == "" {
		return "https://uaa.cloudfoundry.com" + path, nil
	}
	r, err := url.Parse(uri)
	ours := err == nil && (r.Host == "uaa.cloudfoundry.com" || r.Hostname() == "uaa."+u.cfg.Domain)
	if !ours || (r.Scheme != "http" && r.Scheme != "https") || uri != r.Scheme+"://"+r.Host+path {
		return "", invalidRequest.because("Invalid redirect: %.200q does not match one of the registered values", uri)
	}
	return uri, nil
}

// credentials reads both forms in which they are sent.
func credentials(f form) (name, password string, err error) {
	if raw := f.secret("credentials"); strings.HasPrefix(raw, "{") {
		var c struct{ Username, Password string }
		if err := json.Unmarshal([]byte(raw), &c); err != nil {
			return "", "", invalidRequest.because("The credentials are not JSON with username and password")
		}
		return c.Username, c.Password, nil
	}
	if f.public("source") == "credentials" && f.secret("username") != "" {
		return f.secret("username"), f.secret("password"), nil
	}
	return "", "", noToken.because("Credentials are required, in the body")
}

// grant is the answer of the token endpoint.
type grant struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	RefreshToken string `json:"refresh_token,omitempty"`
	ExpiresIn    int    `json:"expires_in"`
	Scope        string `json:"scope"`
	ID           string `json:"jti"`
}

func (u *UAA) issue(g identity.Grant, now time.Time) (grant, error) {
	token, c, err := u.id.Issue(g, now)
	return grant{
		AccessToken: token, TokenType: "bearer", ExpiresIn: int(g.Life / time.Second),
		Scope: strings.Join(g.Scope, " "), ID: c.ID,
	}, err
}

// fragment is the grant as a redirect carries it. Old clients split it without decoding,
// so the token has to be free of anything that would be escaped.
func (g grant) fragment(state string) string {
	s := "access_token=" + g.AccessToken + "&token_type=" + g.TokenType + "&expires_in=" + strconv.Itoa(g.ExpiresIn) +
		"&scope=" + escape(g.Scope) + "&jti=" + g.ID
	if state != "" {
		s += "&state=" + escape(state)
	}
	return s
}

// escape writes a blank as %20: in a fragment a plus sign is one.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// token is the token endpoint. Its parameters are in the body alone.
func (u *UAA) token(e echo.Context) error {
	f, err := readForm(e.Request())
	if err != nil {
		return err
	}
	c, err := u.authenticateClient(e.Request(), f)
	if err != nil {
		return err
	}
	kind := f.secret("grant_type")
	switch kind {
	case grantPassword, grantRefresh, grantClient:
	case "":
		return invalidRequest.because("Missing grant type")
	default:
		return unknownGrant.because("Unsupported grant type: %.40q", kind)
	}
	if !c.may(kind) {
		return invalidClient.because("Unauthorized grant type: %s", kind)
	}
	var g grant
	switch kind {
	case grantPassword:
		g, err = u.byPassword(e, c, f)
	case grantRefresh:
		g, err = u.byRefresh(c, f)
	case grantClient:
		g, err = u.forItself(c, f)
	}
	if err != nil {
		return err
	}
	return e.JSON(http.StatusOK, g)
}

func (u *UAA) authenticateUser(e echo.Context, name, password string, now time.Time) (store.User, error) {
	user, err := u.id.Authenticate(e.Request().Context(), name, password, e.RealIP(), now)
	if err != nil {
		u.count.refusedUsers.Add(1)
	} else {
		u.count.users.Add(1)
	}
	return user, err
}

// authenticateClient finds the client of a request: by HTTP Basic, else by the form. Another
// kind of Authorization, such as an old token, does not hinder.
func (u *UAA) authenticateClient(r *http.Request, f form) (client, error) {
	name, secret, ok := r.BasicAuth()
	if !ok {
		name, secret = f.secret("client_id"), f.secret("client_secret")
	}
	c, known := u.clients[name]
	if !known || !c.knows(secret) {
		u.count.refusedClients.Add(1)
		return client{}, badClient
	}
	return c, nil
}

func (u *UAA) byPassword(e echo.Context, c client, f form) (grant, error) {
	now := time.Now()
	user, err := u.authenticateUser(e, f.secret("username"), f.secret("password"), now)
	if err != nil {
		return grant{}, err
	}
	scopes, err := narrow(c.forUser(user), f.secret("scope"))
	if err != nil {
		return grant{}, err
	}
	session := identity.NewSession()
	refresh, _, err := u.id.Issue(identity.Grant{
		Client: c.id, User: &user, Scope: scopes, Life: identity.RefreshLife, Session: session, Refresh: true,
	}, now)
	if err != nil {
		return grant{}, err
	}
	return u.renewed(c, user, scopes, session, refresh, now)
}

// byRefresh gives a new access token for a refresh token, which stays as it is.
func (u *UAA) byRefresh(c client, f form) (grant, error) {
	now, refresh := time.Now(), f.secret("refresh_token")
	claims, user, err := u.id.Verify(refresh, identity.RefreshAudience, now)
	if err != nil || claims.ClientID != c.id {
		return grant{}, invalidGrant.because("Invalid refresh token")
	}
	// An administrator's token does not outlive the office.
	allowed := slices.DeleteFunc(claims.Scope, func(s string) bool { return !slices.Contains(c.forUser(user), s) })
	scopes, err := narrow(allowed, f.secret("scope"))
	if err != nil {
		return grant{}, err
	}
	return u.renewed(c, user, scopes, claims.Session, refresh, now)
}

func (u *UAA) renewed(c client, user store.User, scopes []string, session, refresh string, now time.Time) (grant, error) {
	g, err := u.issue(identity.Grant{Client: c.id, User: &user, Scope: scopes, Life: c.life, Session: session}, now)
	g.RefreshToken = refresh
	return g, err
}

func (u *UAA) forItself(c client, f form) (grant, error) {
	scopes, err := narrow(c.own, f.secret("scope"))
	if err != nil {
		return grant{}, err
	}
	return u.issue(identity.Grant{Client: c.id, Scope: scopes, Life: c.life}, time.Now())
}
