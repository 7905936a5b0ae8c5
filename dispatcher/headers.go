package dispatcher

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/tellhook/tellhook/store"
)

// Limits of a webhook's custom headers.
const (
	MaxHeaders     = 10
	maxHeaderName  = 100  // bytes
	maxHeaderValue = 4096 // bytes; room for a JWT
)

// reserved headers are the sender's own or the connection's (RFC 9110 section
// 7.6.1). With either idempotency header, Go's client sends a POST a second
// time when a kept-alive connection breaks, and no attempt would show it.
var reserved = map[string]string{
	"Host":                "it comes from the URL",
	"User-Agent":          "it names the sender",
	"Cookie":              "deliveries carry no cookies",
	"Idempotency-Key":     "receivers tell repeats by webhook-id",
	"X-Idempotency-Key":   "receivers tell repeats by webhook-id",
	"Connection":          "it belongs to the connection",
	"Expect":              "it belongs to the connection",
	"Http2-Settings":      "it belongs to the connection",
	"Keep-Alive":          "it belongs to the connection",
	"Proxy-Authenticate":  "it belongs to the connection",
	"Proxy-Authorization": "it belongs to the connection",
	"Proxy-Connection":    "it belongs to the connection",
	"Te":                  "it belongs to the connection",
	"Trailer":             "it belongs to the connection",
	"Transfer-Encoding":   "it belongs to the connection",
	"Upgrade":             "it belongs to the connection",
}

// CheckHeaders judges a webhook's custom headers; signatureHeader is the name
// of the plain signature. The error is CodeInvalid with the field "headers" and
// quotes no value: values are secret.
func CheckHeaders(headers map[string]string, signatureHeader string) error {
	if len(headers) > MaxHeaders {
		return invalidHeader("%d headers came, expected at most %d", len(headers), MaxHeaders)
	}
	seen := make(map[string]string, len(headers))
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		if !httpguts.ValidHeaderFieldName(name) || len(name) > maxHeaderName {
			return invalidHeader("%q is not a header's name of at most %d letters, digits and hyphens, such as X-Api-Key", store.Clip(name, 60), maxHeaderName)
		}
		canonical := http.CanonicalHeaderKey(name)
		if why := refusal(canonical, signatureHeader); why != "" {
			return invalidHeader("%s cannot be set: %s; choose another name, such as X-Api-Key", name, why)
		}
		if twin, ok := seen[canonical]; ok {
			return invalidHeader("%s and %s are the same header; give it once", twin, name)
		}
		seen[canonical] = name
		value := headers[name]
		if len(value) > maxHeaderValue {
			return invalidHeader("the value of %s has %d bytes, expected at most %d", name, len(value), maxHeaderValue)
		}
		if !httpguts.ValidHeaderFieldValue(value) {
			return invalidHeader("the value of %s holds a control character, such as a line break; remove it", name)
		}
	}
	return nil
}

func refusal(canonical, signatureHeader string) string {
	switch {
	case strings.HasPrefix(canonical, "Content-"):
		return "it describes the body"
	case strings.HasPrefix(canonical, "Webhook-"), strings.HasPrefix(canonical, "X-Webhook-"),
		strings.EqualFold(canonical, signatureHeader):
		return "each delivery carries its own"
	}
	return reserved[canonical]
}

func invalidHeader(format string, args ...any) error {
	return store.Errorf(store.CodeInvalid, "headers", "headers: "+format, args...)
}
