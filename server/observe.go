package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"runtime/debug"
	"time"

	"github.com/rs/zerolog"

	"github.com/tellhook/tellhook/tools"
)

// exchange is what becomes known of a request while it is served, for its log
// line. Only the request's own goroutine writes it.
type exchange struct {
	caller *tools.Caller
	method string // of the MCP message
	tool   string
}

type exchangeKey struct{}

// exchangeOf never answers nil.
func exchangeOf(ctx context.Context) *exchange {
	if e, ok := ctx.Value(exchangeKey{}).(*exchange); ok {
		return e
	}
	return &exchange{}
}

// observed gives each request an id, writes one log line when it ends, and
// turns a panic into a 500.
func (s *Server) observed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		id := r.Header.Get("X-Request-Id")
		if !saneID(id) {
			id = tools.NewRequestID()
		}
		seen := &exchange{}
		ctx := context.WithValue(tools.WithRequestID(r.Context(), id), exchangeKey{}, seen)
		r = r.WithContext(ctx)
		rec := &recorder{ResponseWriter: w, control: http.NewResponseController(w)}
		rec.deadline(time.Time{}) // the connection may still have that of the request before
		rec.Header().Set("X-Request-Id", id)
		rec.Header().Set("X-Content-Type-Options", "nosniff")
		defer func() {
			if p := recover(); p != nil {
				if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
					panic(p)
				}
				s.log.Error().Str("request_id", id).Str("panic", fmt.Sprint(p)).Bytes("stack", debug.Stack()).Msg("panic in a handler")
				if rec.status == 0 {
					tools.WriteError(rec, r, fmt.Errorf("panic: %v", p))
				}
			}
			s.line(r, rec, seen, start)
		}()
		next.ServeHTTP(rec, r)
	})
}

// line is the one wide log line of a request. It has no query and no header, as
// both may hold secrets.
func (s *Server) line(r *http.Request, rec *recorder, seen *exchange, start time.Time) {
	status := rec.status
	if status == 0 {
		status = http.StatusOK
	}
	level := zerolog.InfoLevel
	switch {
	case status >= http.StatusInternalServerError:
		level = zerolog.ErrorLevel
	case r.URL.Path == "/healthz" || r.URL.Path == "/readyz":
		level = zerolog.DebugLevel
	}
	e := s.log.WithLevel(level).
		Str("request_id", tools.RequestID(r.Context())).
		Str("method", r.Method).
		Str("path", loggable(r.URL.Path, 200)).
		Int("status", status).
		Int64("bytes", rec.bytes).
		Dur("duration_ms", time.Since(start)).
		Stringer("client", clientAddr(r, s.config.TrustedProxies))
	if seen.method != "" {
		e = e.Str("mcp_method", loggable(seen.method, 60))
	}
	if seen.tool != "" {
		e = e.Str("tool", loggable(seen.tool, 60))
	}
	if seen.caller != nil {
		e = e.Str("key_id", seen.caller.KeyID).Str("team_id", seen.caller.Team.ID)
	}
	e.Msg("request")
}

// secretText is an API key or signing secret, wherever in a caller's text.
var secretText = regexp.MustCompile(`(thk|whsec)_[A-Za-z0-9+/=_-]+`)

// loggable is at most n bytes of a text that the caller chose, without keys that
// strayed into it.
func loggable(s string, n int) string {
	s = secretText.ReplaceAllString(s, "${1}_…")
	if len(s) > n {
		return s[:n]
	}
	return s
}

// saneID tells whether a client's own request id may be taken over.
func saneID(id string) bool {
	if len(id) < 8 || len(id) > 64 {
		return false
	}
	for _, c := range []byte(id) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}

// writeStall is how long a client may leave a write unread. Streams have no
// other end to their writes.
const writeStall = 30 * time.Second

// recorder notes what was answered, and cuts clients that stop reading.
type recorder struct {
	http.ResponseWriter
	control *http.ResponseController
	status  int
	bytes   int64
}

func (w *recorder) deadline(t time.Time) {
	_ = w.control.SetWriteDeadline(t) // not there in every host program
}

// WriteHeader implements http.ResponseWriter.
func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status = status
	}
	w.deadline(time.Now().Add(writeStall))
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	w.deadline(time.Now().Add(writeStall))
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

// Flush lets the MCP library stream; it asks for http.Flusher by type.
func (w *recorder) Flush() { _ = w.control.Flush() }

// Unwrap lets http.ResponseController reach deadlines.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// libraryLog takes log lines of net/http and the MCP library.
type libraryLog struct{ log zerolog.Logger }

func (l libraryLog) Write(line []byte) (int, error) {
	l.log.Debug().Str("source", "library").Msg(string(bytes.TrimSpace(line)))
	return len(line), nil
}
