package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tellhook/tellhook/server"
	"github.com/tellhook/tellhook/store"
	"github.com/tellhook/tellhook/tools"
)

func TestKeyIsAskedForOnEveryDoor(t *testing.T) {
	t.Parallel()
	f := start(t)
	for _, path := range []string{"/mcp", "/message", "/api/v1/whoami", "/sse"} {
		for name, key := range map[string]string{"none": "", "unknown": store.NewKeySecret(), "malformed": "hello"} {
			a := f.do(call{method: method(path), path: path, key: key, body: listTools})
			if a.status != http.StatusUnauthorized {
				t.Errorf("%s with key %s: %d, want 401", path, name, a.status)
			}
			want := `Bearer resource_metadata="` + f.url + `/.well-known/oauth-protected-resource"`
			if got := a.header.Get("WWW-Authenticate"); got != want {
				t.Errorf("%s with key %s: WWW-Authenticate %q, want %q", path, name, got, want)
			}
			problem(t, a, http.StatusUnauthorized, "unauthenticated")
		}
	}
}

func method(path string) string {
	if path == "/sse" || strings.HasPrefix(path, "/api") {
		return http.MethodGet
	}
	return http.MethodPost
}

func problem(t *testing.T, a answer, status int, code string) {
	t.Helper()
	var p tools.Problem
	if err := json.Unmarshal([]byte(a.body), &p); err != nil {
		t.Errorf("no problem+json: %d %s", a.status, a.body)
		return
	}
	if a.status != status || p.Status != status || string(p.Code) != code || p.Detail == "" ||
		a.header.Get("Content-Type") != "application/problem+json" || p.RequestID == "" || p.RequestID != a.header.Get("X-Request-Id") {
		t.Errorf("got %d %v %s, want %d with code %s", a.status, a.header, a.body, status, code)
	}
}

func TestKeyWithoutToolsHasRESTButNoMCP(t *testing.T) {
	t.Parallel()
	f := start(t)
	key := f.key()
	a := f.modern(key, "tools/list", "")
	problem(t, a, http.StatusForbidden, "forbidden")
	if !strings.Contains(a.body, "tellhook keys update "+key[:store.KeyPrefixLen]) {
		t.Errorf("403 does not say where to enable tools: %s", a.body)
	}
	if a := f.do(call{method: http.MethodGet, path: "/api/v1/whoami", key: key}); a.status != http.StatusOK {
		t.Errorf("REST: %d %s", a.status, a.body)
	}
}

func TestHostAndOrigin(t *testing.T) {
	t.Parallel()
	f := start(t, func(c *server.Config) {
		c.PublicURL = "https://hooks.example.com"
		c.AllowedHosts = []string{"Inner.example"}
		c.AllowedOrigins = []string{"https://app.example.com/"}
	})
	key := f.key(all()...)
	for _, tt := range []struct {
		host, origin string
		want         int
	}{
		{"", "", 200},
		{"localhost:1234", "", 200},
		{"[::1]:99", "", 200},
		{"127.8.8.8", "", 200},
		{"hooks.example.com", "", 200},
		{"HOOKS.example.com:443", "https://hooks.example.com", 200},
		{"inner.example:8080", "", 200},
		{"evil.example", "", 403},
		{"hooks.example.com.evil.example", "", 403},
		{"localhost.evil.example", "", 403},
		{"localhost:8080", "http://localhost:8080", 200},
		{"localhost:8080", "http://localhost:3000", 403},
		{"", "https://app.example.com", 200},
		{"", "https://evil.example", 403},
		{"", "null", 403},
		{"", "file://", 403},
		{"", "http://app.example.com", 403},
	} {
		for _, path := range []string{"/mcp", "/api/v1/whoami"} {
			header := map[string]string{}
			if tt.host != "" {
				header["Host"] = tt.host
			}
			if tt.origin != "" {
				header["Origin"] = tt.origin
			}
			c := call{method: method(path), path: path, key: key, header: header}
			if path == "/mcp" {
				c.body = modernBody(1, "tools/list", "")
				header["MCP-Protocol-Version"], header["Mcp-Method"] = "2026-07-28", "tools/list"
			}
			a := f.do(c)
			if a.status != tt.want {
				t.Errorf("%s Host %q Origin %q: %d %s, want %d", path, tt.host, tt.origin, a.status, a.body, tt.want)
			}
			if allowed := a.header.Get("Access-Control-Allow-Origin"); allowed != "" && (allowed != tt.origin || tt.want != 200) {
				t.Errorf("%s Origin %q: Access-Control-Allow-Origin %q", path, tt.origin, allowed)
			}
		}
	}
	// The door is checked before the key.
	problem(t, f.do(call{path: "/mcp", header: map[string]string{"Origin": "https://evil.example"}}), http.StatusForbidden, "forbidden")
	// SSE must not open itself to every origin, as the library does.
	stream := f.stream(call{path: "/sse", key: key})
	if got := stream.header.Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("/sse: Access-Control-Allow-Origin %q", got)
	}
	// Probes come by address.
	if a := f.do(call{method: http.MethodGet, path: "/healthz", header: map[string]string{"Host": "10.0.0.7:8080"}}); a.status != http.StatusOK {
		t.Errorf("healthz by address: %d", a.status)
	}
}

func TestPreflightNeedsNoKey(t *testing.T) {
	t.Parallel()
	f := start(t, func(c *server.Config) { c.AllowedOrigins = []string{"https://app.example.com"} })
	a := f.do(call{method: http.MethodOptions, path: "/mcp", header: map[string]string{
		"Origin": "https://app.example.com", "Access-Control-Request-Method": "POST",
	}})
	if a.status != http.StatusNoContent || a.header.Get("Access-Control-Allow-Origin") != "https://app.example.com" ||
		!strings.Contains(a.header.Get("Access-Control-Allow-Headers"), "Authorization") {
		t.Errorf("preflight: %d %v", a.status, a.header)
	}
}

func TestBodiesAreBounded(t *testing.T) {
	t.Parallel()
	f := start(t, func(c *server.Config) { c.MaxBodyBytes = 10_000 })
	key := f.key(all()...)
	big := `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"x":"` + strings.Repeat("a", 20_000) + `"}}`
	problem(t, f.do(call{path: "/mcp", key: key, body: big}), http.StatusRequestEntityTooLarge, "too_large")
	problem(t, f.do(call{path: "/api/v1/webhooks", key: key, body: strings.Repeat(" ", 2<<20) + "{}"}), http.StatusRequestEntityTooLarge, "too_large")
	id := endpoint(t, f.stream(call{path: "/sse", key: key}))
	problem(t, f.do(call{path: id, key: key, body: big}), http.StatusRequestEntityTooLarge, "too_large")
}

func TestResourceMetadata(t *testing.T) {
	t.Parallel()
	f := start(t)
	for path, want := range map[string]string{
		"/.well-known/oauth-protected-resource":     f.url,
		"/.well-known/oauth-protected-resource/mcp": f.url + "/mcp",
	} {
		a := f.do(call{method: http.MethodGet, path: path, header: map[string]string{"Origin": "https://any.example"}})
		var got struct {
			Resource string   `json:"resource"`
			Methods  []string `json:"bearer_methods_supported"`
		}
		if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != http.StatusOK || got.Resource != want || len(got.Methods) != 1 {
			t.Errorf("%s: %d %s, want resource %s", path, a.status, a.body, want)
		}
	}
}

func TestHealthAndReadiness(t *testing.T) {
	t.Parallel()
	away := errors.New("connection refused")
	var ready error
	f := start(t, func(c *server.Config) {
		c.Ready = func(ctx context.Context) error {
			if _, bounded := ctx.Deadline(); !bounded {
				return errors.New("no deadline")
			}
			return ready
		}
	})
	get := func(path string) answer { return f.do(call{method: http.MethodGet, path: path}) }
	if a := get("/readyz"); a.status != http.StatusOK {
		t.Errorf("ready: %d %s", a.status, a.body)
	}
	ready = away
	problem(t, get("/readyz"), http.StatusServiceUnavailable, "unavailable")
	if a := get("/healthz"); a.status != http.StatusOK {
		t.Errorf("healthz: %d", a.status)
	}
	problem(t, f.do(call{method: http.MethodGet, path: "/nothing"}), http.StatusNotFound, "not_found")
	if a := get("/"); a.status != http.StatusOK || !strings.Contains(a.body, f.url+"/mcp") {
		t.Errorf("index: %d %s", a.status, a.body)
	}
}

func TestLogLineTellsWhoAndWhatButNoSecret(t *testing.T) {
	t.Parallel()
	f := start(t)
	key, id := f.keyWith(store.TeamScopes(), all()...)
	f.modern(key, "tools/call", `"name":"whoami"`, func(c *call) {
		c.path += "?token=canary-query"
		c.header["X-Request-Id"] = "my-request.1"
	})
	f.do(call{path: "/mcp", key: "thk_canary", body: listTools})
	f.do(call{method: http.MethodGet, path: "/api/v1/webhooks/" + key, key: key})
	f.do(call{method: http.MethodGet, path: "/whsec_canary+/=", key: key})
	f.modern(key, "tools/call", `"name":"`+key+`"`)
	log := f.log.String()
	for _, want := range []string{`"key_id":"` + id, `"team_id":"` + f.team.ID, `"tool":"whoami"`, `"mcp_method":"tools/call"`, `"request_id":"my-request.1"`, `"status":200`} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %s:\n%s", want, log)
		}
	}
	for _, secret := range []string{key, "canary"} {
		if strings.Contains(log, secret) {
			t.Errorf("the log holds %s:\n%s", secret, log)
		}
	}
	if a := f.do(call{method: http.MethodGet, path: "/healthz", header: map[string]string{"X-Request-Id": "bad id, with spaces"}}); !strings.HasPrefix(a.header.Get("X-Request-Id"), "req_") {
		t.Errorf("a malformed request id was taken over: %q", a.header.Get("X-Request-Id"))
	}
}

func TestPanicBecomesA500WithoutItsText(t *testing.T) {
	t.Parallel()
	f := start(t, func(c *server.Config) {
		c.Authenticate = func(*http.Request) (*tools.Caller, error) { panic("canary") }
	})
	a := f.do(call{path: "/mcp", body: listTools})
	problem(t, a, http.StatusInternalServerError, "internal")
	if strings.Contains(a.body, "canary") || !strings.Contains(a.body, "ref "+a.header.Get("X-Request-Id")) {
		t.Errorf("body: %s", a.body)
	}
	if !strings.Contains(f.log.String(), "canary") {
		t.Error("the log does not tell the panic")
	}
}

func TestGuessingIsSlowedDownPerAddress(t *testing.T) {
	t.Parallel()
	f := start(t)
	good := f.key(all()...)
	whoami := func(key string) answer { return f.do(call{method: http.MethodGet, path: "/api/v1/whoami", key: key}) }
	if a := whoami(good); a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	statuses := map[int]int{}
	for range 40 {
		statuses[whoami(store.NewKeySecret()).status]++
	}
	if statuses[http.StatusUnauthorized] < 10 || statuses[http.StatusTooManyRequests] < 10 {
		t.Errorf("40 failures: %v, want some 401 and then 429", statuses)
	}
	a := whoami(store.NewKeySecret())
	problem(t, a, http.StatusTooManyRequests, "rate_limited")
	if got := a.header.Get("Retry-After"); got != "6" || !strings.Contains(a.body, "try again in 6s") {
		t.Errorf("Retry-After %q, %s", got, a.body)
	}
	if a := whoami(good); a.status != http.StatusOK {
		t.Errorf("a key in use behind the same address: %d, want 200", a.status)
	}
}

func TestHostProgramMountsIt(t *testing.T) {
	t.Parallel()
	var f *fixture
	f = start(t, func(c *server.Config) {
		c.BasePath = "/webhooks/"
		c.Authenticate = func(r *http.Request) (*tools.Caller, error) {
			if r.Header.Get("X-User") == "" {
				return nil, store.Errorf(store.CodeUnauthenticated, "", "log in first")
			}
			return &tools.Caller{Team: *f.team, Scopes: store.TeamScopes(), AllTools: true}, nil
		}
	})
	user := map[string]string{"X-User": "ann"}
	if a := f.do(call{method: http.MethodGet, path: "/webhooks/api/v1/whoami", header: user}); a.status != http.StatusOK || !strings.Contains(a.body, f.team.ID) {
		t.Errorf("REST: %d %s", a.status, a.body)
	}
	a := f.do(call{path: "/webhooks/mcp"})
	if want := f.url + "/webhooks/.well-known/"; a.status != http.StatusUnauthorized || !strings.Contains(a.header.Get("WWW-Authenticate"), want) {
		t.Errorf("%d %v, want 401 naming %s", a.status, a.header, want)
	}
	if path := endpoint(t, f.stream(call{path: "/webhooks/sse", header: user})); !strings.HasPrefix(path, "/webhooks/message?") {
		t.Errorf("message endpoint %q", path)
	}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	if _, err := server.Handler(server.Config{PublicURL: "hooks.example.com"}); store.CodeOf(err) != store.CodeInvalid {
		t.Errorf("public URL without a scheme: %v", err)
	}
}

func TestServeDrainsAndCutsStreams(t *testing.T) {
	t.Parallel()
	f := prepare(t)
	ln, url := listen(t)
	srv, err := server.Handler(server.Config{Tools: f.tools})
	f.must(err)
	f.url = url
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, ln) }()
	key := f.key(all()...)
	session := f.initialize(key)
	sse := f.stream(call{path: "/sse", key: key})
	get := f.stream(legacy(key, session, ""))
	began := time.Now()
	stop()
	ends(t, 2*time.Second, sse)
	ends(t, 2*time.Second, get)
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("Serve: %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Fatalf("Serve still runs %s after the end of its context", time.Since(began))
	}
}
