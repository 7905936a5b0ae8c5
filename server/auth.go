package server

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tellhook/tellhook/store"
	"github.com/tellhook/tellhook/tools"
)

// authenticated asks who the caller is before it lets a request pass.
func (s *Server) authenticated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, err := s.config.Authenticate(r)
		if err != nil {
			s.refuse(w, r, err)
			return
		}
		exchangeOf(r.Context()).caller = caller
		next.ServeHTTP(w, r.WithContext(tools.WithCaller(r.Context(), caller)))
	})
}

// forMCP is authenticated, and asks that the key has any tool enabled.
func (s *Server) forMCP(next http.Handler) http.Handler {
	return s.authenticated(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if caller, _ := tools.CallerFrom(r.Context()); !caller.AnyTool() {
			w.Header().Set("WWW-Authenticate", s.challenge(r)+`, error="insufficient_scope"`)
			tools.WriteError(w, r, errNoTools(caller))
			return
		}
		next.ServeHTTP(w, r)
	}))
}

func errNoTools(c *tools.Caller) error {
	return store.Errorf(store.CodeForbidden, "",
		"this key has no MCP tool enabled. The operator enables them with: tellhook keys update %s --tools all (or seed, read, or names)", c.Ref())
}

// refuse answers a request that was not authenticated.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	code := store.CodeOf(err)
	if code == store.CodeUnauthenticated {
		w.Header().Set("WWW-Authenticate", s.challenge(r))
	}
	if code == store.CodeRateLimited {
		w.Header().Set("Retry-After", strconv.Itoa(int(failuresEvery/time.Second)))
	}
	if code == store.CodeInternal {
		s.log.Error().Err(err).Str("request_id", tools.RequestID(r.Context())).Msg("authentication failed")
	}
	tools.WriteError(w, r, err)
}

// challenge is RFC 6750's, with the metadata's place by RFC 9728, section 5.1.
func (s *Server) challenge(r *http.Request) string {
	return `Bearer resource_metadata="` + s.base(r) + `/.well-known/oauth-protected-resource"`
}

// authenticateKey finds the caller by the API key in the Authorization header.
func (s *Server) authenticateKey(r *http.Request) (*tools.Caller, error) {
	key, err := bearer(r.Header)
	if err != nil {
		return nil, err
	}
	from := clientAddr(r, s.config.TrustedProxies)
	if wait, ok := s.logins.admit(from, key); !ok {
		return nil, store.Errorf(store.CodeRateLimited, "",
			"too many failed logins from this address; try again in %s", wait)
	}
	caller, err := s.config.Tools.Authenticate(r.Context(), key)
	switch {
	case err == nil:
		s.logins.succeeded(key)
	case store.CodeOf(err) == store.CodeUnauthenticated:
		s.logins.failed(from, key)
	}
	return caller, err
}

func bearer(h http.Header) (string, error) {
	given := h.Values("Authorization")
	if len(given) != 1 {
		return "", store.Errorf(store.CodeUnauthenticated, "",
			"there is no API key in the request; send one header Authorization: Bearer thk_…")
	}
	scheme, key, _ := strings.Cut(given[0], " ")
	if key = strings.TrimSpace(key); !strings.EqualFold(scheme, "Bearer") || key == "" {
		return "", store.Errorf(store.CodeUnauthenticated, "",
			"the Authorization header is not of the form Bearer thk_…")
	}
	return key, nil
}

// principal identifies the key in the context, for what is bound to it.
func principal(ctx context.Context) string {
	caller, ok := tools.CallerFrom(ctx)
	if !ok {
		return ""
	}
	return caller.Team.ID + "/" + caller.KeyID
}
