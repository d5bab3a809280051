package vmc

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"cloudlet/controller/api"
)

// brokenConnection explains an error of the network, after which nobody knows what the
// target has done; ok is false for any other error.
func brokenConnection(target string, err error) (text, hint string, ok bool) {
	var certificate *tls.CertificateVerificationError
	var request *url.Error
	var connection *net.OpError
	var plain tls.RecordHeaderError
	switch {
	case errors.Is(err, api.ErrNoExit):
		return fmt.Sprintf("The connection to %s broke, and with it ended the command", target), "Try again.", true
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &plain):
		return fmt.Sprintf("%s does not speak TLS", target),
			fmt.Sprintf("`vmc target %s` goes without.", strings.Replace(target, "https:", "http:", 1)), true
	case errors.As(err, &certificate):
		return fmt.Sprintf("The certificate of %s is not to be trusted: %v", target, certificate.Err),
			"Whoever runs the cloud can tell which one is right; this machine has to know who signed it.", true
	case errors.As(err, &request) && request.Timeout():
		return fmt.Sprintf("%s does not answer", target), "Try again; `vmc target` shows the address.", true
	case errors.As(err, &request) && strings.HasPrefix(rootCause(err).Error(), "malformed HTTP"):
		return fmt.Sprintf("%s does not speak HTTP: %v", target, rootCause(err)), notV1Hint, true
	case errors.As(err, &request), errors.As(err, &connection),
		errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return fmt.Sprintf("The connection to %s broke: %v", target, rootCause(err)), "Try again.", true
	}
	return "", "", false
}
