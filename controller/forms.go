package controller

import (
	"mime"
	"mime/multipart"
	"regexp"
	"strings"
)

// Clients wrote their forms by hand, and v1 read them by these patterns: an unquoted
// boundary may hold any character, a file name may be any path.
var (
	boundaryText = regexp.MustCompile(`(?i)boundary\s*=\s*"?([^";,]+)"?`)
	partNameText = regexp.MustCompile(`(?i)[;\s]name\s*=\s*"?([^";]*)"?`)
)

const (
	multipartForm = "multipart/form-data"
	urlForm       = "application/x-www-form-urlencoded"
)

// formKind reads a Content-Type: the media type, and the boundary of a multipart form.
func formKind(contentType string) (kind, boundary string) {
	kind, params, err := mime.ParseMediaType(contentType)
	if err == nil {
		return kind, params["boundary"]
	}
	kind, _, _ = strings.Cut(contentType, ";")
	if m := boundaryText.FindStringSubmatch(contentType); m != nil {
		boundary = strings.TrimSpace(m[1])
	}
	return strings.ToLower(strings.TrimSpace(kind)), boundary
}

// partName is the name of a form's part.
func partName(p *multipart.Part) string {
	if name := p.FormName(); name != "" {
		return name
	}
	if m := partNameText.FindStringSubmatch(p.Header.Get("Content-Disposition")); m != nil {
		return strings.TrimSpace(m[1])
	}
	return ""
}
