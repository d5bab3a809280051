package uaa

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"cloudlet/bus"
	"cloudlet/controller/api"
	"cloudlet/internal/identity"
	"cloudlet/store"
)

const (
	scimSchema = "urn:scim:schemas:core:1.0"
	maxPage    = 500 // users in one answer
	maxName    = 128 // bytes of a given or family name
)

// scimUser is an account as SCIM has it.
type scimUser struct {
	ID       string      `json:"id,omitempty"`
	Meta     scimMeta    `json:"meta"`
	UserName string      `json:"userName"`
	Name     scimName    `json:"name"`
	Emails   []scimEmail `json:"emails"`
	Active   bool        `json:"active"`
	Schemas  []string    `json:"schemas"`
}

type scimMeta struct {
	Version  int    `json:"version"`
	Created  string `json:"created"`
	Modified string `json:"lastModified"`
}

type scimName struct {
	Given  string `json:"givenName"`
	Family string `json:"familyName"`
}

type scimEmail struct {
	Value string `json:"value"`
}

// scimRequest makes or changes an account. What else it carries is of no effect here.
type scimRequest struct {
	UserName string      `json:"userName"`
	Name     scimName    `json:"name"`
	Emails   []scimEmail `json:"emails"`
	Password string      `json:"password"`
}

func (u *UAA) scim(user store.User) scimUser {
	const layout = "2006-01-02T15:04:05.000Z"
	modified := user.Modified
	if modified.IsZero() {
		modified = user.Created
	}
	given, family := names(user)
	return scimUser{
		ID:       u.id.UserID(user),
		Meta:     scimMeta{user.Version, user.Created.UTC().Format(layout), modified.UTC().Format(layout)},
		UserName: user.Email,
		Name:     scimName{given, family},
		Emails:   []scimEmail{{user.Email}},
		Active:   true,
		Schemas:  []string{scimSchema},
	}
}

// answer is a user with the version that a change of it has to name.
func (u *UAA) answer(e echo.Context, status int, user store.User) error {
	e.Response().Header().Set("ETag", fmt.Sprintf(`"%d"`, user.Version))
	return e.JSON(status, u.scim(user))
}

func (u *UAA) addUser(e echo.Context) error {
	if _, err := u.bearer(e, scopeWrite); err != nil {
		return err
	}
	req, err := decode[scimRequest](e.Request())
	if err != nil {
		return err
	}
	if err := req.check(req.UserName); err != nil {
		return err
	}
	user, err := u.id.RegisterNamed(e.Request().Context(), req.UserName, req.Password, req.Name.Given, req.Name.Family)
	if err != nil {
		return err
	}
	location := e.Scheme() + "://" + e.Request().Host + "/Users/" + u.id.UserID(user)
	e.Response().Header().Set("Location", location)
	return u.answer(e, http.StatusCreated, user)
}

// check holds a request to what an account is here: its name is its one e-mail address.
func (r scimRequest) check(name string) error {
	if r.UserName != name {
		return badUser.because("A user's name cannot be changed: applications belong to it")
	}
	for _, m := range r.Emails {
		if m.Value != name {
			return badUser.because("The e-mail address has to be the userName, and there is one only")
		}
	}
	if len(r.Name.Given) > maxName || len(r.Name.Family) > maxName {
		return badUser.because("A name is longer than %d bytes", maxName)
	}
	return nil
}

func (u *UAA) getUser(e echo.Context) error {
	if _, err := u.bearer(e, scopeRead); err != nil {
		return err
	}
	user, err := u.id.UserByID(e.Param("id"))
	if err != nil {
		return err
	}
	return u.answer(e, http.StatusOK, user)
}

// putUser changes a user's names, and nothing else.
func (u *UAA) putUser(e echo.Context) error {
	if _, err := u.bearer(e, scopeWrite); err != nil {
		return err
	}
	version, err := based(e.Request().Header.Get("If-Match"))
	if err != nil {
		return err
	}
	req, err := decode[scimRequest](e.Request())
	if err != nil {
		return err
	}
	user, err := u.id.UserByID(e.Param("id"))
	if err != nil {
		return err
	}
	if err := req.check(user.Email); err != nil {
		return err
	}
	if user, err = u.id.SetName(e.Request().Context(), user.Email, req.Name.Given, req.Name.Family, version); err != nil {
		return err
	}
	return u.answer(e, http.StatusOK, user)
}

// based is the version that an If-Match names; negative for any.
func based(match string) (int, error) {
	switch match = strings.Trim(match, `" `); match {
	case "":
		return 0, badUser.because("Missing If-Match for PUT")
	case "*":
		return -1, nil
	}
	n, err := strconv.Atoi(match)
	if err != nil || n < 0 {
		return 0, badUser.because("Invalid version match header: %.40q", match)
	}
	return n, nil
}

// deleteUser leaves the work to the cloud controller, which has to stop the user's
// applications as well.
func (u *UAA) deleteUser(e echo.Context) error {
	b, err := u.bearer(e, scopeWrite)
	if err != nil {
		return err
	}
	user, err := u.id.UserByID(e.Param("id"))
	if err != nil {
		return err
	}
	if match := e.Request().Header.Get("If-Match"); match != "" {
		if version, err := based(match); err != nil {
			return err
		} else if version >= 0 && version != user.Version {
			return identity.ErrVersion{Want: version, Is: user.Version}
		}
	}
	by := b.user.Email
	if !b.isUser() {
		if by, err = u.anotherAdmin(user.Email); err != nil {
			return err
		}
	}
	if err := u.tellController(e.Request().Context(), by, user.Email); err != nil {
		return err
	}
	return u.answer(e, http.StatusOK, user)
}

// anotherAdmin is who a client acts as towards the cloud controller.
func (u *UAA) anotherAdmin(but string) (email string, err error) {
	err = u.st.View(func(tx *store.Tx) error {
		users, err := tx.Users()
		for _, user := range users {
			if user.Admin && user.Email != but {
				email = user.Email
			}
		}
		return err
	})
	if err == nil && email == "" {
		err = accessDenied.because("The only administrator cannot be deleted")
	}
	return email, err
}

func (u *UAA) tellController(ctx context.Context, by, email string) error {
	token, err := u.id.Token(by, time.Now())
	if err != nil {
		return err
	}
	ask, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cc, err := bus.BulkCredentials.Ask(ask, u.conn, bus.Empty{})
	if err != nil || cc.URL == "" {
		return unavailable.because("The cloud controller, which deletes users with their applications, does not answer")
	}
	err = api.NewClient(cc.URL, token).DeleteUser(ctx, email)
	var fault *api.Fault
	if errors.As(err, &fault) && fault.Status < http.StatusInternalServerError {
		return accessDenied.because("%s", fault.Hint)
	}
	return err
}

// changePassword sets a password. Users prove that they know the old one; a client, and
// an administrator for somebody else, need not.
func (u *UAA) changePassword(e echo.Context) error {
	b, err := u.bearer(e, scopePassword)
	if err != nil {
		return err
	}
	req, err := decode[struct {
		Password    string `json:"password"`
		OldPassword string `json:"oldPassword"`
	}](e.Request())
	if err != nil {
		return err
	}
	self := b.isUser() && b.UserID == e.Param("id")
	if b.isUser() && !self && !b.has(scopeWrite) {
		return accessDenied.because("You are not permitted to change another user's password")
	}
	user, err := u.id.UserByID(e.Param("id"))
	if err != nil {
		return err
	}
	ctx := e.Request().Context()
	if self {
		if _, err := u.authenticateUser(e, user.Email, req.OldPassword, time.Now()); err != nil {
			return err
		}
	}
	if err := u.id.SetPassword(ctx, user.Email, req.Password); err != nil {
		return err
	}
	return e.NoContent(http.StatusNoContent)
}

// listUsers finds users, a page at a time.
func (u *UAA) listUsers(e echo.Context) error {
	if _, err := u.bearer(e, scopeRead); err != nil {
		return err
	}
	query := e.QueryParams()
	match, err := parseFilter(query.Get("filter"))
	if err != nil {
		return err
	}
	start, count, err := page(query)
	if err != nil {
		return err
	}
	found := []scimUser{}
	err = u.st.View(func(tx *store.Tx) error {
		users, err := tx.Users()
		for _, user := range users {
			if s := u.scim(user); match(s) {
				found = append(found, s)
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	from := min(start-1, len(found))
	shown := found[from:min(from+count, len(found))]
	return e.JSON(http.StatusOK, map[string]any{
		"resources": project(shown, query.Get("attributes")), "startIndex": start, "itemsPerPage": len(shown),
		"totalResults": len(found), "schemas": []string{scimSchema},
	})
}

// page reads which part of a list is wanted; the first user is number 1.
func page(query url.Values) (start, count int, err error) {
	start, count = 1, 100
	for name, to := range map[string]*int{"startIndex": &start, "count": &count} {
		if v := query.Get(name); v != "" {
			if *to, err = strconv.Atoi(v); err != nil || *to < 0 {
				return 0, 0, invalidRequest.because("%s is not a number that counts", name)
			}
		}
	}
	return max(start, 1), min(count, maxPage), nil
}
