package uaa

import (
	"errors"
	"net/http"
	"time"
	"unicode"

	"github.com/labstack/echo/v4"

	"cloudlet/internal/identity"
	"cloudlet/store"
)

// login tells programs what to ask their user for, and who answers here.
func (u *UAA) login(e echo.Context) error {
	type prompts struct { // in the order in which programs ask
		UserName [2]string `json:"username"`
		Password [2]string `json:"password"`
	}
	type app struct {
		Name    string `json:"name"`
		Version string `json:"version"`
	}
	return e.JSON(http.StatusOK, struct {
		Prompts   prompts           `json:"prompts"`
		CommitID  string            `json:"commit_id"`
		Timestamp string            `json:"timestamp"`
		App       app               `json:"app"`
		Links     map[string]string `json:"links"`
	}{
		Prompts:  prompts{[2]string{"text", "Email"}, [2]string{"password", "Password"}},
		CommitID: "cloudlet", Timestamp: "2012/08/31 10:00:00", // of the UAA that this speaks as
		App:   app{"uaa", "1.2.0"},
		Links: map[string]string{"uaa": e.Scheme() + "://" + e.Request().Host},
	})
}

// tokenKey is what verifies the tokens. It is public.
func (u *UAA) tokenKey(e echo.Context) error {
	key, err := u.id.PublicKey()
	if err != nil {
		return err
	}
	return e.JSON(http.StatusOK, map[string]string{"alg": "SHA256withRSA", "value": key})
}

// checkToken tells resource servers what a token says, while it is worth something.
func (u *UAA) checkToken(e echo.Context) error {
	f, err := readForm(e.Request())
	if err != nil {
		return err
	}
	c, err := u.authenticateClient(e.Request(), f)
	if err != nil {
		return err
	}
	if _, err := narrow(c.own, scopeResource); err != nil {
		return accessDenied.because("Only a client with the authority %s may check tokens", scopeResource)
	}
	token := f.public("token")
	if token == "" {
		return invalidRequest.because("Missing token")
	}
	if kind := f.public("token_type"); kind != "" && kind != "bearer" {
		return invalidRequest.because("Unsupported token_type: %.40q", kind)
	}
	claims, _, err := u.id.Verify(token, "", time.Now())
	if errors.Is(err, identity.ErrToken) {
		return badToken
	}
	if err != nil {
		return err
	}
	return e.JSON(http.StatusOK, claims)
}

// userInfo tells a user about the own account.
func (u *UAA) userInfo(e echo.Context) error {
	b, err := u.bearer(e, scopeOpenID)
	if err != nil {
		return err
	}
	given, family := names(b.user)
	return e.JSON(http.StatusOK, struct {
		ID       string `json:"user_id"`
		UserName string `json:"user_name"`
		Given    string `json:"given_name"`
		Family   string `json:"family_name"`
		Name     string `json:"name"`
		Email    string `json:"email"`
	}{u.id.UserID(b.user), b.user.Email, given, family, given + " " + family, b.user.Email})
}

// names are a user's; the e-mail address stands for both where they are not known, as
// v1's cloud controller did it.
func names(u store.User) (given, family string) {
	given, family = u.Given, u.Family
	if given == "" {
		given = u.Email
	}
	if family == "" {
		family = u.Email
	}
	return given, family
}

// score judges a password. Nothing is required of one; the score is an advice.
func score(e echo.Context) error {
	f, err := readForm(e.Request())
	if err != nil {
		return err
	}
	password := f.secret("password")
	if password == "" {
		return invalidRequest.because("Missing password")
	}
	return e.JSON(http.StatusOK, map[string]int{"score": strength(password), "requiredScore": 0})
}

// strength is 0 to 10: a point for every two different characters, and one for every
// kind of them beyond the first.
func strength(password string) int {
	different, kinds := map[rune]bool{}, map[int]bool{}
	for _, r := range password {
		different[r] = true
		switch {
		case unicode.IsLower(r):
			kinds[0] = true
		case unicode.IsUpper(r):
			kinds[1] = true
		case unicode.IsDigit(r):
			kinds[2] = true
		default:
			kinds[3] = true
		}
	}
	return min(10, len(different)/2+max(0, len(kinds)-1))
}
