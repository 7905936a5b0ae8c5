package server

import (
	"context"
	"encoding/json"
	"html/template"
	"net/http"
	"time"

	"github.com/rs/zerolog"

	"github.com/tellhook/tellhook/store"
	"github.com/tellhook/tellhook/tools"
)

// readyTimeout bounds the question to the database.
const readyTimeout = 2 * time.Second

// Probes serves /healthz, which tells that the process serves, and /readyz,
// which tells whether requests would succeed: whether ready answers nil. A nil
// ready always does.
func Probes(ready func(context.Context) error, log zerolog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, map[string]string{"status": "ok"}) })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
		defer cancel()
		if ready != nil {
			if err := ready(ctx); err != nil {
				log.Warn().Err(err).Msg("not ready")
				tools.WriteError(w, r, &store.Error{Code: store.CodeUnavailable, Message: "the database does not answer", Err: err})
				return
			}
		}
		writeJSON(w, map[string]string{"status": "ready"})
	})
	return mux
}

// resourceMetadata is RFC 9728's document: where and how a token is presented.
// Keys are made in Tellhook itself, so it names no authorization server. It is
// public, so pages of any origin may read it.
func (s *Server) resourceMetadata(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Access-Control-Allow-Origin", "*")
	s.origins.checkHost(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The resource must be the one whose well-known URL was asked for
		// (RFC 9728, section 3.3).
		resource := s.base(r)
		if r.URL.Path == "/.well-known/oauth-protected-resource/mcp" {
			resource += "/mcp"
		}
		writeJSON(w, map[string]any{
			"resource":                 resource,
			"resource_name":            s.config.ProductName,
			"bearer_methods_supported": []string{"header"},
			"scopes_supported":         store.Scopes(),
		})
	})).ServeHTTP(w, r)
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(v) // a client that has gone needs no answer
}

func (s *Server) notFound(w http.ResponseWriter, r *http.Request) {
	tools.WriteError(w, r, store.Errorf(store.CodeNotFound, "",
		"nothing is at %s; the API is below /api/v1/, MCP at /mcp", store.Clip(r.URL.Path, 100)))
}

var indexPage = template.Must(template.New("index").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{.Name}}</title>
<h1>{{.Name}}</h1>
<p>Outgoing webhooks, by API and MCP. Send <code>Authorization: Bearer thk_…</code> with each request.</p>
<dl>
<dt>MCP (Streamable HTTP)</dt><dd><code>{{.Base}}/mcp</code></dd>
<dt>MCP (legacy SSE)</dt><dd><code>{{.Base}}/sse</code></dd>
<dt>REST</dt><dd><code>{{.Base}}/api/v1/</code>, described by <a href="{{.Base}}/api/v1/openapi.json">openapi.json</a></dd>
<dt>Health</dt><dd><a href="{{.Base}}/healthz">healthz</a>, <a href="{{.Base}}/readyz">readyz</a></dd>
</dl>
</html>
`))

// index says what is where.
func (s *Server) index(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	_ = indexPage.Execute(w, struct{ Name, Base string }{s.config.ProductName, s.base(r)})
}
