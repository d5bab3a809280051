package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Fault is an error as it travels: a row of v1's table, with its text filled in.
type Fault struct {
	Status int    `json:"-"`
	Code   int    `json:"code"`
	Text   string `json:"description"`
	// Hint says what to do next. v1 had none; its clients ignore it.
	Hint string `json:"hint,omitempty"`
}

// Error is the text as vmc prints it. Code 0 is an answer that is no fault of v1.
func (f *Fault) Error() string {
	if f.Code != 0 {
		return fmt.Sprintf("Error %d: %s", f.Code, strings.ReplaceAll(f.Text, `"`, "'"))
	}
	switch text := strings.Join(strings.Fields(f.Text), " "); {
	case text == "":
		return fmt.Sprintf("Error (%d): No Response Received", f.Status)
	case json.Valid([]byte(text)):
		return fmt.Sprintf("Error (HTTP %d): %s", f.Status, text)
	default:
		return fmt.Sprintf("Error (JSON %d): %.30s...", f.Status, text)
	}
}

// Is tells that two faults are the same row, whatever their texts say.
func (f *Fault) Is(target error) bool {
	var t *Fault
	return errors.As(target, &t) && t.Code == f.Code
}

// With fills the row's text with its arguments.
func (f *Fault) With(args ...any) *Fault {
	return &Fault{Status: f.Status, Code: f.Code, Text: fmt.Sprintf(f.Text, args...), Hint: f.Hint}
}

// Because adds what to do next, in a sentence.
func (f *Fault) Because(format string, args ...any) *Fault {
	return &Fault{Status: f.Status, Code: f.Code, Text: f.Text, Hint: fmt.Sprintf(format, args...)}
}

// The table of v1. Rows with a verb are used through With.
var (
	BadRequest            = &Fault{Status: 400, Code: 100, Text: "Bad request"}
	DatabaseError         = &Fault{Status: 500, Code: 101, Text: "Error talking with the database"}
	LockingError          = &Fault{Status: 400, Code: 102, Text: "Optimistic locking failure"}
	SystemError           = &Fault{Status: 500, Code: 111, Text: "System Exception Encountered"}
	Forbidden             = &Fault{Status: 403, Code: 200, Text: "Operation not permitted"}
	UserNotFound          = &Fault{Status: 403, Code: 201, Text: "User not found"}
	HTTPSRequired         = &Fault{Status: 403, Code: 202, Text: "HTTPS required"}
	AppInvalid            = &Fault{Status: 400, Code: 300, Text: "Invalid application description"}
	AppNotFound           = &Fault{Status: 404, Code: 301, Text: "Application not found"}
	NoPlace               = &Fault{Status: 404, Code: 302, Text: "Couldn't find a place to run an app"}
	InstanceNotFound      = &Fault{Status: 400, Code: 304, Text: "Could not find instance: '%s'"}
	AppStopped            = &Fault{Status: 400, Code: 305, Text: "Operation not permitted on a stopped app"}
	FileError             = &Fault{Status: 500, Code: 306, Text: "Error retrieving file '%s'"}
	RuntimeInvalid        = &Fault{Status: 400, Code: 307, Text: "Invalid runtime specification [%s] for framework: '%s'"}
	FrameworkInvalid      = &Fault{Status: 400, Code: 308, Text: "Invalid framework description: '%s'"}
	DebugDisallowed       = &Fault{Status: 400, Code: 309, Text: "Cloud controller has disallowed debugging."}
	StagingFailed         = &Fault{Status: 500, Code: 310, Text: "Staging failed: '%s'"}
	PackagingFailed       = &Fault{Status: 500, Code: 402, Text: "App packaging failed: '%s'"}
	ServiceNotFound       = &Fault{Status: 404, Code: 500, Text: "Service not found"}
	BindingNotFound       = &Fault{Status: 404, Code: 501, Text: "Binding not found"}
	TokenNotFound         = &Fault{Status: 404, Code: 502, Text: "Token not found"}
	GatewayError          = &Fault{Status: 502, Code: 503, Text: "Unexpected response from service gateway"}
	TooManyServices       = &Fault{Status: 403, Code: 504, Text: "Too many Services provisioned: %d, you're allowed: %d"}
	ExtensionMissing      = &Fault{Status: 501, Code: 505, Text: "Service extension %s is not implemented."}
	ServiceVersion        = &Fault{Status: 404, Code: 506, Text: "Unsupported service version %s."}
	SerializationError    = &Fault{Status: 500, Code: 507, Text: "Get error from serialization_data_server: '%s'"}
	NoSerializationServer = &Fault{Status: 500, Code: 508, Text: "No available active serialization data server"}
	NotEnoughMemory       = &Fault{Status: 403, Code: 600, Text: "Not enough memory capacity, you're allowed: %s"}
	TooManyApps           = &Fault{Status: 403, Code: 601, Text: "Too many applications: %d, you're allowed: %d"}
	TooManyURIs           = &Fault{Status: 403, Code: 602, Text: "Too many URIs: %d, you're allowed: %d"}
	URIInvalid            = &Fault{Status: 400, Code: 700, Text: "Invalid URI: \"%s\""}
	URITaken              = &Fault{Status: 400, Code: 701, Text: "The URI: \"%s\" has already been taken or reserved"}
	ExternalURIs          = &Fault{Status: 403, Code: 702, Text: "External URIs are not enabled for this account"}
	StagingTimeout        = &Fault{Status: 500, Code: 800, Text: "Timed out waiting for staging to complete"}
	StagingFailedOutright = &Fault{Status: 500, Code: 801, Text: "Staging failed"}
)

// ParseFault reads the body of a failed request. Where it is no fault of v1, the
// result has code 0 and the body as its text.
func ParseFault(status int, body []byte) *Fault {
	f := &Fault{Status: status}
	if err := json.Unmarshal(body, f); err == nil && f.Code != 0 {
		return f
	}
	f.Code = 0
	text := string(body)
	if len(text) > 300 {
		text = text[:300] + "..."
	}
	f.Text = text
	return f
}
