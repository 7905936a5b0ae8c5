package tools

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/tellhook/tellhook/store"
)

// failures is the one table from codes to HTTP: status, title, and the seconds
// after which a retry makes sense.
var failures = map[store.Code]struct {
	status     int
	title      string
	retryAfter string
}{
	store.CodeInvalid:         {http.StatusBadRequest, "Invalid request", ""},
	store.CodeUnauthenticated: {http.StatusUnauthorized, "Not authenticated", ""},
	store.CodeForbidden:       {http.StatusForbidden, "Not allowed", ""},
	store.CodeNotFound:        {http.StatusNotFound, "Not found", ""},
	store.CodeConflict:        {http.StatusConflict, "Conflict", ""},
	store.CodeUnsupported:     {http.StatusUnsupportedMediaType, "Unsupported media type", ""},
	store.CodeTooLarge:        {http.StatusRequestEntityTooLarge, "Too large", ""},
	store.CodeRateLimited:     {http.StatusTooManyRequests, "Too many requests", "1"},
	store.CodeUnavailable:     {http.StatusServiceUnavailable, "Temporarily unavailable", "1"},
	store.CodeInternal:        {http.StatusInternalServerError, "Internal error", ""},
}

// idempotencyField is the one conflict that REST answers with 422: the key was
// used with another body.
const idempotencyField = "idempotency_key"

// Failure is an error as callers read it, on REST and MCP alike.
type Failure struct {
	Code      store.Code `json:"code" doc:"What kind of failure it is; stable."`
	Message   string     `json:"message" doc:"What is wrong, what is expected, how to mend it."`
	Field     *string    `json:"field" doc:"The input field at fault, dotted."`
	Retryable bool       `json:"retryable" doc:"Whether the same call may succeed later, unchanged."`
}

// FailureOf answers what a caller may know of err. Of an error without a code it
// tells nothing but the reference under which the log has it.
func FailureOf(ctx context.Context, err error) Failure {
	var e *store.Error
	if !errors.As(err, &e) || e.Code == store.CodeInternal || failures[e.Code].status == 0 {
		return Failure{Code: store.CodeInternal, Message: "internal error, ref " + RequestID(ctx)}
	}
	f := Failure{Code: e.Code, Message: e.Message, Retryable: e.Code.Retryable()}
	if e.Field != "" {
		f.Field = &e.Field
	}
	return f
}

// Problem is the body of a failed REST call (RFC 9457).
type Problem struct {
	Type      string     `json:"type" doc:"about:blank: the status and code say it all."`
	Title     string     `json:"title" doc:"The kind of failure in words."`
	Status    int        `json:"status" doc:"The HTTP status."`
	Detail    string     `json:"detail" doc:"What is wrong, what is expected, how to mend it."`
	Code      store.Code `json:"code" doc:"What kind of failure it is; stable." enum:"invalid,unauthenticated,forbidden,not_found,conflict,unsupported,too_large,rate_limited,unavailable,internal"`
	Field     *string    `json:"field" nullable:"true" doc:"The input field at fault, dotted."`
	Retryable bool       `json:"retryable" doc:"Whether the same call may succeed later, unchanged."`
	RequestID string     `json:"request_id" doc:"Names this request in the server's log."`
}

// WriteError answers a request with err as problem+json. The request's id is the
// context's (see WithRequestID), or a new one.
func WriteError(w http.ResponseWriter, r *http.Request, err error) {
	writeProblem(w, r, err, 0)
}

// writeProblem writes err under a status, or 0 for the one its code has.
func writeProblem(w http.ResponseWriter, r *http.Request, err error, status int) {
	ctx := ensureRequestID(r.Context())
	f := FailureOf(ctx, err)
	row := failures[f.Code]
	switch {
	case status != 0:
	case f.Code == store.CodeConflict && f.Field != nil && *f.Field == idempotencyField:
		status = http.StatusUnprocessableEntity
	default:
		status = row.status
	}
	title := row.title
	if status != row.status {
		title = http.StatusText(status)
	}

	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Request-Id", RequestID(ctx))
	if row.retryAfter != "" && h.Get("Retry-After") == "" {
		h.Set("Retry-After", row.retryAfter)
	}
	if status == http.StatusUnauthorized && h.Get("WWW-Authenticate") == "" {
		h.Set("WWW-Authenticate", `Bearer realm="tellhook"`)
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(Problem{ // a client that has gone needs no answer
		Type: "about:blank", Title: title, Status: status, Detail: f.Message,
		Code: f.Code, Field: f.Field, Retryable: f.Retryable, RequestID: RequestID(ctx),
	})
}

type requestIDKey struct{}

// NewRequestID makes an id for X-Request-Id, the log and "internal error, ref …".
func NewRequestID() string { return store.NewID("req_") }

// WithRequestID puts the id of a request into its context.
func WithRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestIDKey{}, id)
}

// RequestID answers the id that WithRequestID put there, or "".
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

func ensureRequestID(ctx context.Context) context.Context {
	if RequestID(ctx) != "" {
		return ctx
	}
	return WithRequestID(ctx, NewRequestID())
}
