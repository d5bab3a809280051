package controller

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
)

// invalid is what is wrong with the body of a services route, in v1's words. These routes
// check strictly, and say so in a form of their own.
type invalid string

func (i invalid) Error() string { return string(i) }

// message is the form of such a body: v1 knew no other members, and took null for absent.
type message []field

// field is a member of a message. Its check gives what is wrong with a value, or "".
type field struct {
	name     string
	required bool
	check    func(any) string
}

func required(name string, check func(any) string) field { return field{name, true, check} }
func optional(name string, check func(any) string) field { return field{name, false, check} }

var (
	provisionOld = message{
		required("name", isString), required("vendor", isString), required("version", isString), required("tier", isString),
		optional("type", isString), optional("meta", isHash), optional("id", isAny), optional("options", isHash), optional("provider", isString),
	}
	offeringMessage = message{
		required("label", isLabel), required("url", isURL), required("supported_versions", isStrings), required("version_aliases", isStringHash),
		optional("description", isString), optional("info_url", isURL), optional("tags", isStrings), optional("plans", isStrings),
		optional("cf_plan_id", isAny), optional("plan_options", isAny), optional("binding_options", isAny), optional("acls", isAny),
		optional("active", isAny), optional("timeout", isInteger), optional("provider", isString), optional("default_plan", isString),
	}
	handleMessage    = message{required("service_id", isString), required("configuration", isAny), required("credentials", isAny)}
	provisionMessage = message{
		required("label", isLabel), required("name", isString), required("plan", isString), required("version", isString),
		optional("plan_option", isAny), optional("provider", isString),
	}
	bindMessage         = message{required("service_id", isString), required("app_id", isInteger), required("binding_options", isAny)}
	bindExternalMessage = message{required("binding_token", isString), required("app_id", isInteger)}
	tokenMessage        = message{required("service_id", isString), required("binding_options", isAny)}
	snapshotName        = message{required("name", isString)}
	serializedURL       = message{required("url", isURL)}
)

// decodeMessage reads a body that has to have the form of m.
func decodeMessage[T any](e echo.Context, m message) (v T, err error) {
	body, err := readBody(e.Request())
	if err != nil {
		return v, err
	}
	return parseMessage[T](m, body)
}

func parseMessage[T any](m message, body []byte) (v T, err error) {
	names, values, err := members(body)
	if err != nil {
		return v, invalid(err.Error())
	}
	var wrong []string
	for _, f := range m {
		value, ok := values[f.name]
		text := ""
		if ok {
			text = f.check(value)
		} else if f.required {
			text = "Missing field " + f.name
		}
		if text != "" {
			wrong = append(wrong, fmt.Sprintf("Field: %s, Error: %s", f.name, text))
		}
	}
	if len(wrong) > 0 {
		return v, invalid(strings.Join(wrong, ", "))
	}
	for _, name := range names {
		if !slices.ContainsFunc(m, func(f field) bool { return f.name == name }) {
			return v, invalid(fmt.Sprintf("Field: %s, Error: Unknown field: %s", name, name))
		}
	}
	data, err := json.Marshal(values)
	if err == nil {
		err = json.Unmarshal(data, &v)
	}
	if err != nil {
		return v, invalid(err.Error())
	}
	return v, nil
}

const errNil = invalid("Decoded JSON cannot be nil")

// members are the members of a JSON object that are not null, with their names in order.
func members(body []byte) (names []string, values map[string]any, err error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, nil, errNil
	}
	var wrong *json.UnmarshalTypeError
	if err := json.Unmarshal(body, &map[string]json.RawMessage{}); errors.As(err, &wrong) {
		return nil, nil, invalid("Expected a JSON object, given " + wrong.Value)
	} else if err != nil {
		return nil, nil, err
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	values = map[string]any{}
	if t, err := d.Token(); err != nil || t == nil {
		return nil, nil, errNil
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, nil, err
		}
		var v any
		if err := d.Decode(&v); err != nil {
			return nil, nil, err
		}
		if v != nil {
			names, values[name.(string)] = append(names, name.(string)), v
		}
	}
	return names, values, nil
}

func isAny(any) string { return "" }

func isString(v any) string { return instance[string](v, "String") }

func isHash(v any) string { return instance[map[string]any](v, "Hash") }

func isInteger(v any) string {
	if rubyClass(v) != "Fixnum" {
		return "Expected instance of Integer, given an instance of " + rubyClass(v)
	}
	return ""
}

func instance[T any](v any, class string) string {
	if _, ok := v.(T); !ok {
		return fmt.Sprintf("Expected instance of %s, given an instance of %s", class, rubyClass(v))
	}
	return ""
}

func isStrings(v any) string {
	list, ok := v.([]any)
	if !ok {
		return "Expected instance of Array, given instance of " + rubyClass(v)
	}
	var wrong []string
	for i, item := range list {
		if text := isString(item); text != "" {
			wrong = append(wrong, fmt.Sprintf("At index %d: %s", i, text))
		}
	}
	return strings.Join(wrong, ", ")
}

// isStringHash is stricter than v1, which kept a version of any type and failed later.
func isStringHash(v any) string {
	if text := isHash(v); text != "" {
		return text
	}
	for _, version := range v.(map[string]any) {
		if text := isString(version); text != "" {
			return text
		}
	}
	return ""
}

var serviceLabel = regexp.MustCompile(`^\S+-\S+$`)

func isLabel(v any) string {
	if text := isString(v); text != "" {
		return text
	}
	if !serviceLabel.MatchString(v.(string)) {
		return fmt.Sprintf(`Value %s doesn't match regexp (?-mix:^\S+-\S+$)`, v)
	}
	return ""
}

func isURL(v any) string {
	if text := isString(v); text != "" {
		return text
	}
	u, err := url.Parse(v.(string))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Sprintf("Value %s doesn't match regexp https?://.+", v)
	}
	return ""
}

// rubyClass names a value's type as v1's texts do.
func rubyClass(v any) string {
	switch v := v.(type) {
	case string:
		return "String"
	case bool:
		if v {
			return "TrueClass"
		}
		return "FalseClass"
	case json.Number:
		if strings.ContainsAny(v.String(), ".eE") {
			return "Float"
		}
		return "Fixnum"
	case []any:
		return "Array"
	}
	return "Hash"
}
