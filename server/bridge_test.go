package server_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/tellhook/tellhook/server"
	"github.com/tellhook/tellhook/store"
)

func bridge(t *testing.T, url, key string) *pipe {
	t.Helper()
	return run(t, func(ctx context.Context, in io.Reader, out io.Writer) error {
		return server.Bridge(ctx, server.BridgeConfig{URL: url, Key: key, In: in, Out: out, Log: zerolog.Nop()})
	})
}

func TestBridgeCarriesBothEras(t *testing.T) {
	t.Parallel()
	f := start(t)
	p := bridge(t, f.url, f.key(all()...))
	p.send(modernBody("d", "server/discover", ""))
	if r := p.receive(); r.ID != "d" || !strings.Contains(r.raw, "2026-07-28") {
		t.Errorf("server/discover: %s", r.raw)
	}
	p.send(modernBody("c", "tools/call", `"name":"whoami"`))
	if r := p.receive(); r.ID != "c" || !strings.Contains(r.raw, f.team.ID) {
		t.Errorf("modern whoami: %s", r.raw)
	}
	p.send(modernBody("ü", "tools/call", `"name":"größe"`)) // needs the base64 form of Mcp-Name
	if r := p.receive(); r.ID != "ü" || r.Error == nil || r.Error.Code != -32602 {
		t.Errorf("unknown tool: %s", r.raw)
	}
	p.send(initializeBody)
	if r := p.receive(); !strings.Contains(r.raw, `"protocolVersion":"2025-11-25"`) {
		t.Errorf("initialize: %s", r.raw)
	}
	p.send(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	p.send(listTools)
	if r := p.receive(); r.ID != 7.0 || len(toolNames(t, r.raw)) != len(all()) {
		t.Errorf("tools/list: %s", r.raw)
	}
	p.send("{")
	if r := p.receive(); r.Error == nil || r.Error.Code != -32700 {
		t.Errorf("malformed: %s", r.raw)
	}
	if err := p.finish(); err != nil {
		t.Error(err)
	}
}

func TestBridgeTurnsRefusalsIntoErrors(t *testing.T) {
	t.Parallel()
	f := start(t)
	ln, closed := listen(t)
	_ = ln.Close()
	redirects := httptest.NewServer(http.RedirectHandler("https://elsewhere.example/mcp", http.StatusFound))
	t.Cleanup(redirects.Close)
	silent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) }))
	t.Cleanup(silent.Close)
	html := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusBadGateway)
	}))
	t.Cleanup(html.Close)
	for name, tt := range map[string]struct{ url, key, want string }{
		"unknown key":        {f.url, store.NewKeySecret(), "unknown, revoked or expired"},
		"no tools":           {f.url, f.key(), "no MCP tool enabled"},
		"connection refused": {closed, "k", "cannot be reached"},
		"redirect":           {redirects.URL, "k", "https://elsewhere.example/mcp"},
		"no answer":          {silent.URL, "k", "ended before the response"},
		"gateway":            {html.URL, "k", "502 Bad Gateway"},
	} {
		for _, line := range []string{initializeBody, modernBody("0", "tools/list", "")} {
			p := bridge(t, tt.url, tt.key)
			p.send(line)
			r := p.receive()
			if r.Error == nil || !strings.Contains(r.Error.Message, tt.want) || fmt.Sprint(r.ID) != "0" {
				t.Errorf("%s: %s, want an error with %q under id 0", name, r.raw, tt.want)
			}
			if strings.Contains(r.raw, tt.key) && len(tt.key) > 1 {
				t.Errorf("%s: the key is in the answer: %s", name, r.raw)
			}
		}
	}
}

func TestBridgeOpensALostSessionAnew(t *testing.T) {
	t.Parallel()
	f := start(t)
	var current atomic.Pointer[server.Server]
	current.Store(f.srv)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { current.Load().ServeHTTP(w, r) }))
	t.Cleanup(front.Close)
	p := bridge(t, front.URL+"/mcp/", f.key(all()...))
	p.send(initializeBody)
	p.receive()
	restarted, err := server.Handler(server.Config{Tools: f.tools})
	f.must(err)
	current.Store(restarted)
	for id := range 10 {
		p.send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/list"}`, id))
	}
	for range 10 {
		if r := p.receive(); r.Error != nil || len(toolNames(t, r.raw)) != len(all()) {
			t.Errorf("after a restart: %s", r.raw)
		}
	}
}

// recorded is a server of which the test sees what the bridge sends.
type recorded struct {
	mu       sync.Mutex
	requests []*http.Request
	bodies   []string
}

func (s *recorded) note(r *http.Request) string {
	b, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r)
	s.bodies = append(s.bodies, string(b))
	return string(b)
}

func TestBridgeRelaysStreamsAndEndsItsSession(t *testing.T) {
	t.Parallel()
	var seen recorded
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := seen.note(r)
		switch {
		case strings.Contains(body, "initialize"):
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Mcp-Session-Id", "s1")
			_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-06-18"}}`)
		case strings.Contains(body, "tools/call"):
			w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
			_, _ = io.WriteString(w, ": comment\r\nevent: message\r\ndata: {\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"elicitation/create\"}\r\n\r\n"+
				"id: 3\ndata: {\"jsonrpc\":\"2.0\",\ndata: \"id\":1, \"result\":{}}\n\n")
		default:
			w.WriteHeader(http.StatusAccepted)
		}
	}))
	t.Cleanup(ts.Close)
	p := bridge(t, ts.URL, "thk_x")
	p.send(initializeBody)
	p.receive()
	p.send(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}`)
	if r := p.receive(); r.Method != "elicitation/create" {
		t.Errorf("request of the server: %s", r.raw)
	}
	if r := p.receive(); r.raw != `{"jsonrpc":"2.0","id":1,"result":{}}`+"\n" {
		t.Errorf("answer over two data lines: %s", r.raw)
	}
	p.send(`{"jsonrpc":"2.0","id":5,"result":{"action":"accept"}}`)
	if err := p.finish(); err != nil {
		t.Error(err)
	}
	if n := len(seen.requests); n != 4 {
		t.Fatalf("%d requests, want 4: %v", n, seen.bodies)
	}
	for _, r := range seen.requests[1:] {
		if r.Header.Get("Mcp-Session-Id") != "s1" || r.Header.Get("MCP-Protocol-Version") != "2025-06-18" || r.Header.Get("Authorization") != "Bearer thk_x" {
			t.Errorf("%s: %v", r.Method, r.Header)
		}
	}
	if last := seen.requests[3]; last.Method != http.MethodDelete {
		t.Errorf("last request is %s, want DELETE", last.Method)
	}
}

func TestBridgeCancelEndsThePost(t *testing.T) {
	t.Parallel()
	started, aborted := make(chan struct{}), make(chan struct{})
	ts := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		close(started)
		<-r.Context().Done()
		close(aborted)
	}))
	t.Cleanup(ts.Close)
	p := bridge(t, ts.URL, "thk_x")
	p.send(modernBody(1, "tools/call", `"name":"whoami"`))
	<-started
	p.send(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`)
	select {
	case <-aborted:
	case <-time.After(5 * time.Second):
		t.Fatal("the post goes on")
	}
	if err := p.finish(); err != nil {
		t.Error(err)
	}
	if line, ok := <-p.lines; ok {
		t.Errorf("a cancelled request was answered: %s", line)
	}
}

func TestBridgeURLIsChecked(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "hooks.example.com", "ftp://x", "https://user:pass@x"} {
		err := server.Bridge(t.Context(), server.BridgeConfig{URL: url, In: strings.NewReader(""), Out: io.Discard})
		if store.CodeOf(err) != store.CodeInvalid {
			t.Errorf("%q: %v", url, err)
		}
	}
}
