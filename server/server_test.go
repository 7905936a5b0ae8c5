package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/tellhook/tellhook/dispatcher"
	"github.com/tellhook/tellhook/server"
	"github.com/tellhook/tellhook/store"
	"github.com/tellhook/tellhook/store/seal"
	"github.com/tellhook/tellhook/store/sqlite"
	"github.com/tellhook/tellhook/tools"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a server with its own database.
type fixture struct {
	t     *testing.T
	store store.Store
	tools *tools.Tools
	team  *store.Team
	log   *logBuffer
	srv   *server.Server
	url   string
}

func start(t *testing.T, change ...func(*server.Config)) *fixture {
	t.Helper()
	f := prepare(t)
	c := server.Config{Tools: f.tools, Ready: f.store.Ping, Log: zerolog.New(f.log)}
	for _, f := range change {
		f(&c)
	}
	var err error
	f.srv, err = server.Handler(c)
	f.must(err)
	ts := httptest.NewServer(f.srv)
	f.url = ts.URL
	t.Cleanup(func() {
		f.srv.Close()
		ts.Close()
	})
	return f
}

// prepare makes a fixture without the HTTP server.
func prepare(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, log: &logBuffer{}}
	keys, err := seal.Parse(seal.GenerateKey())
	f.must(err)
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "test.db"), Keys: keys, Log: zerolog.Nop()})
	f.must(err)
	f.store = s
	schedule, err := dispatcher.ParseSchedule("1m,5m,30m")
	f.must(err)
	f.tools, err = tools.New(tools.Config{
		Store: s, Schedule: schedule, SignatureHeader: "X-Webhook-Signature", Version: "test", Log: zerolog.New(f.log),
	})
	f.must(err)
	t.Cleanup(func() {
		f.tools.Close()
		_ = s.Close()
	})
	f.team, err = s.FindTeam(t.Context(), store.DefaultTeam)
	f.must(err)
	return f
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// key makes a key with every scope of its team.
func (f *fixture) key(enabled ...string) string {
	f.t.Helper()
	secret, _ := f.keyWith(store.TeamScopes(), enabled...)
	return secret
}

func (f *fixture) keyWith(scopes []store.Scope, enabled ...string) (secret, id string) {
	f.t.Helper()
	secret = store.NewKeySecret()
	k, err := f.store.CreateKey(f.t.Context(), f.team.ID, store.APIKey{
		Name: "test", Prefix: store.KeyPrefix(secret), Hash: store.HashKey(secret), Scopes: scopes, Tools: enabled,
	})
	f.must(err)
	return secret, k.ID
}

func all() []string {
	names, _ := tools.Preset("all")
	return names
}

// call is one HTTP request and what came back.
type call struct {
	method, path, key, body string
	header                  map[string]string
}

type answer struct {
	status int
	header http.Header
	body   string
}

func (f *fixture) do(c call) answer {
	f.t.Helper()
	if c.method == "" {
		c.method = http.MethodPost
	}
	r, err := http.NewRequestWithContext(f.t.Context(), c.method, f.url+c.path, strings.NewReader(c.body))
	f.must(err)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, text/event-stream")
	if c.key != "" {
		r.Header.Set("Authorization", "Bearer "+c.key)
	}
	for name, value := range c.header {
		if name == "Host" {
			r.Host = value
			continue
		}
		r.Header.Set(name, value)
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	f.must(err)
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	f.must(err)
	return answer{response.StatusCode, response.Header, string(b)}
}

// modern posts a request of 2026-07-28 with all its headers.
func (f *fixture) modern(key, method, params string, change ...func(*call)) answer {
	f.t.Helper()
	c := call{path: "/mcp", key: key, body: modernBody(1, method, params), header: map[string]string{
		"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method,
	}}
	var p struct{ Name string }
	if json.Unmarshal([]byte("{"+params+"}"), &p) == nil && p.Name != "" {
		c.header["Mcp-Name"] = p.Name
	}
	for _, f := range change {
		f(&c)
	}
	return f.do(c)
}

func modernBody(id any, method, params string) string {
	if params != "" {
		params += ","
	}
	b, _ := json.Marshal(id)
	return `{"jsonrpc":"2.0","id":` + string(b) + `,"method":"` + method + `","params":{` + params +
		`"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`
}

const initializeBody = `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}`

// initialize opens a session of an older revision and answers its id.
func (f *fixture) initialize(key string) string {
	f.t.Helper()
	a := f.do(call{path: "/mcp", key: key, body: initializeBody})
	id := a.header.Get("Mcp-Session-Id")
	if a.status != http.StatusOK || id == "" {
		f.t.Fatalf("initialize: %d %v %s", a.status, a.header, a.body)
	}
	return id
}

func legacy(key, session, body string) call {
	return call{path: "/mcp", key: key, body: body, header: map[string]string{
		"Mcp-Session-Id": session, "MCP-Protocol-Version": "2025-11-25",
	}}
}

const listTools = `{"jsonrpc":"2.0","id":7,"method":"tools/list"}`

// toolNames are the tools that an answer to tools/list holds.
func toolNames(t *testing.T, body string) []string {
	t.Helper()
	var list struct {
		Result struct {
			Tools []struct{ Name string }
		}
	}
	if err := json.Unmarshal([]byte(body), &list); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	names := []string{}
	for _, tool := range list.Result.Tools {
		names = append(names, tool.Name)
	}
	return names
}

func (f *fixture) revoke(keyID string) {
	f.t.Helper()
	_, err := f.store.RevokeKey(f.t.Context(), f.team.ID, keyID)
	f.must(err)
}

// ends waits until the stream ends.
func ends(t *testing.T, limit time.Duration, s stream) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(io.Discard, s.body)
	}()
	select {
	case <-done:
	case <-time.After(limit):
		t.Fatalf("the stream is still open after %s", limit)
	}
}

// stream opens a request whose answer goes on.
func (f *fixture) stream(c call) stream {
	f.t.Helper()
	ctx, cancel := context.WithCancel(f.t.Context())
	f.t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url+c.path, http.NoBody)
	f.must(err)
	r.Header.Set("Accept", "text/event-stream")
	r.Header.Set("Authorization", "Bearer "+c.key)
	for name, value := range c.header {
		r.Header.Set(name, value)
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	f.must(err)
	f.t.Cleanup(func() { _ = response.Body.Close() })
	if response.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(response.Body)
		f.t.Fatalf("stream: %d %s", response.StatusCode, b)
	}
	return stream{response.Header, response.Body}
}

type stream struct {
	header http.Header
	body   io.Reader
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
