package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"

	"github.com/tellhook/tellhook/store"
)

func listen(t *testing.T) (net.Listener, string) {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln, "http://" + ln.Addr().String()
}

// endpoint reads the address for messages from the beginning of an SSE stream.
func endpoint(t *testing.T, s stream) string {
	t.Helper()
	lines := bufio.NewScanner(s.body)
	for lines.Scan() {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			go func() { _, _ = io.Copy(io.Discard, s.body) }()
			return strings.TrimSpace(data)
		}
	}
	t.Fatalf("no endpoint event: %v", lines.Err())
	return ""
}

func TestModernRequests(t *testing.T) {
	t.Parallel()
	f := start(t)
	key := f.key(all()...)

	discover := f.modern(key, "server/discover", "")
	for _, want := range []string{`"2026-07-28"`, `"2025-11-25"`, `"resultType":"complete"`, `"cacheScope":"private"`, `"ttlMs":0`, `"instructions"`} {
		if !strings.Contains(discover.body, want) {
			t.Errorf("server/discover lacks %s: %s", want, discover.body)
		}
	}
	list := f.modern(key, "tools/list", "")
	if got := toolNames(t, list.body); !slices.Equal(got, all()) {
		t.Errorf("tools/list: %v, want %v in this order", got, all())
	}
	if !strings.Contains(list.body, `"cacheScope":"private"`) || !strings.Contains(list.body, `"ttlMs":0`) {
		t.Errorf("tools/list lacks its cache hints: %s", list.body[max(0, len(list.body)-300):])
	}
	if list.header.Get("Mcp-Session-Id") != "" || list.header.Get("X-Accel-Buffering") != "no" || list.header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", list.header)
	}
	whoami := f.modern(key, "tools/call", `"name":"whoami"`)
	if whoami.status != http.StatusOK || !strings.Contains(whoami.body, f.team.ID) || !strings.Contains(whoami.body, `"structuredContent"`) {
		t.Errorf("whoami: %d %s", whoami.status, whoami.body)
	}

	for name, tt := range map[string]struct {
		change func(*call)
		status int
		code   string
	}{
		"no Mcp-Method":       {func(c *call) { delete(c.header, "Mcp-Method") }, 400, "-32020"},
		"other Mcp-Method":    {func(c *call) { c.header["Mcp-Method"] = "tools/list" }, 400, "-32020"},
		"other Mcp-Name":      {func(c *call) { c.header["Mcp-Name"] = "list_webhooks" }, 400, "-32020"},
		"base64 Mcp-Name":     {func(c *call) { c.header["Mcp-Name"] = "=?base64?d2hvYW1p?=" }, 200, ""},
		"no version header":   {func(c *call) { delete(c.header, "MCP-Protocol-Version") }, 400, "-32020"},
		"unsupported version": {func(c *call) { replaceVersion(c, "2099-01-01") }, 400, "-32022"},
		"session ignored":     {func(c *call) { c.header["Mcp-Session-Id"] = "mcp-nonsense" }, 200, ""},
	} {
		a := f.modern(key, "tools/call", `"name":"whoami"`, tt.change)
		if a.status != tt.status || !strings.Contains(a.body, tt.code) {
			t.Errorf("%s: %d %s, want %d %s", name, a.status, a.body, tt.status, tt.code)
		}
	}
	if a := f.modern(key, "no/such", ""); a.status != http.StatusNotFound || !strings.Contains(a.body, "-32601") {
		t.Errorf("unknown method: %d %s", a.status, a.body)
	}
	for _, method := range []string{http.MethodGet, http.MethodDelete, http.MethodPut} {
		a := f.do(call{method: method, path: "/mcp", key: key, header: map[string]string{"MCP-Protocol-Version": "2026-07-28"}})
		if a.status != http.StatusMethodNotAllowed || a.header.Get("Allow") == "" {
			t.Errorf("%s: %d %v", method, a.status, a.header)
		}
	}
}

// TestLogLevel: there is nothing to log to a client yet, but clients of the
// older revisions set a level unasked.
func TestLogLevel(t *testing.T) {
	t.Parallel()
	f := start(t)
	key := f.key(all()...)
	body := `{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":"warning"}}`
	if a := f.do(legacy(key, f.initialize(key), body)); a.status != http.StatusOK || !strings.Contains(a.body, `"result":{}`) {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func replaceVersion(c *call, version string) {
	c.body = strings.ReplaceAll(c.body, "2026-07-28", version)
	c.header["MCP-Protocol-Version"] = version
}

func TestSessionBelongsToItsKey(t *testing.T) {
	t.Parallel()
	f := start(t)
	owner, thief := f.key(all()...), f.key(all()...)
	session := f.initialize(owner)
	if a := f.do(legacy(owner, session, listTools)); a.status != http.StatusOK || len(toolNames(t, a.body)) != len(all()) {
		t.Fatalf("own session: %d %s", a.status, a.body)
	}
	get := legacy(thief, session, "")
	get.method = http.MethodGet
	del := legacy(thief, session, "")
	del.method = http.MethodDelete
	for name, c := range map[string]call{
		"foreign key":     legacy(thief, session, listTools),
		"foreign stream":  get,
		"foreign end":     del,
		"made-up session": legacy(owner, "mcp-session-6d9a26b2-55a4-4a3c-9a68-95cd1b5a7a3b", listTools),
	} {
		problem(t, f.do(c), http.StatusNotFound, "not_found")
		_ = name
	}
	problem(t, f.do(call{path: "/mcp", key: owner, body: listTools}), http.StatusBadRequest, "invalid")

	del = legacy(owner, session, "")
	del.method = http.MethodDelete
	if a := f.do(del); a.status != http.StatusOK {
		t.Errorf("DELETE: %d %s", a.status, a.body)
	}
	problem(t, f.do(legacy(owner, session, listTools)), http.StatusNotFound, "not_found")
	problem(t, f.do(del), http.StatusNotFound, "not_found")
}

func TestEndedSessionEndsItsStream(t *testing.T) {
	t.Parallel()
	f := start(t)
	key := f.key(all()...)
	session := f.initialize(key)
	stream := f.stream(legacy(key, session, ""))
	if got := stream.header.Get("X-Accel-Buffering"); got != "no" {
		t.Errorf("X-Accel-Buffering %q", got)
	}
	del := legacy(key, session, "")
	del.method = http.MethodDelete
	f.do(del)
	ends(t, 2*time.Second, stream)
}

func TestSSEMessagesNeedTheStreamsKey(t *testing.T) {
	t.Parallel()
	f := start(t)
	owner, thief := f.key(all()...), f.key(all()...)
	path := endpoint(t, f.stream(call{path: "/sse", key: owner}))
	problem(t, f.do(call{path: path, key: thief, body: listTools}), http.StatusNotFound, "not_found")
	problem(t, f.do(call{path: "/message?sessionId=x", key: owner, body: listTools}), http.StatusNotFound, "not_found")
	if a := f.do(call{path: path, key: owner, body: listTools}); a.status != http.StatusAccepted {
		t.Errorf("own message: %d %s", a.status, a.body)
	}
	for path, method := range map[string]string{"/sse": http.MethodPost, path: http.MethodGet} {
		if a := f.do(call{method: method, path: path, key: owner}); a.status != http.StatusMethodNotAllowed {
			t.Errorf("%s %s: %d", method, path, a.status)
		}
	}
}

func TestRevokedKeyStopsEverywhereWithinASecond(t *testing.T) {
	t.Parallel()
	f := start(t)
	key, id := f.keyWith(store.TeamScopes(), all()...)
	session := f.initialize(key)
	listening := f.stream(legacy(key, session, ""))
	sse := f.stream(call{path: "/sse", key: key})
	path := endpoint(t, sse)
	if a := f.modern(key, "tools/list", ""); a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	f.revoke(id)
	time.Sleep(time.Second)
	for name, c := range map[string]call{
		"streamable": legacy(key, session, listTools),
		"sse":        {path: path, key: key, body: listTools},
		"rest":       {method: http.MethodGet, path: "/api/v1/whoami", key: key},
	} {
		if a := f.do(c); a.status != http.StatusUnauthorized {
			t.Errorf("%s: %d, want 401", name, a.status)
		}
	}
	ends(t, 100*time.Millisecond, listening)
	ends(t, 100*time.Millisecond, sse)
}

func TestNarrowedKeyActsWithinASecond(t *testing.T) {
	t.Parallel()
	f := start(t)
	key, id := f.keyWith(store.TeamScopes(), all()...)
	session := f.initialize(key)
	stream := f.stream(legacy(key, session, ""))
	narrow := func(enabled ...string) {
		_, err := f.store.UpdateKey(t.Context(), f.team.ID, id, store.KeyPatch{Tools: &enabled})
		f.must(err)
		time.Sleep(time.Second)
	}
	narrow("list_webhooks")
	a := f.do(legacy(key, session, listTools))
	if diff := cmp.Diff([]string{"whoami", "list_webhooks"}, toolNames(t, a.body), sorted); diff != "" {
		t.Error(diff)
	}
	narrow()
	problem(t, f.do(legacy(key, session, listTools)), http.StatusForbidden, "forbidden")
	ends(t, time.Second, stream)
}

var sorted = cmp.Transformer("sorted", func(s []string) []string { return slices.Sorted(slices.Values(s)) })

func TestToolThatIsOffDoesNotRun(t *testing.T) {
	t.Parallel()
	f := start(t)
	create := `"name":"create_webhook","arguments":{"url":"https://example.com/in","events":["scan"]}`
	disabled, _ := f.keyWith(store.TeamScopes(), "list_webhooks")
	unscoped, _ := f.keyWith([]store.Scope{store.ScopeWebhooksRead}, all()...)
	for key, want := range map[string]string{
		disabled: "create_webhook is not enabled on this key",
		unscoped: "needs the scope webhooks:write",
	} {
		if slices.Contains(toolNames(t, f.modern(key, "tools/list", "").body), "create_webhook") {
			t.Error("create_webhook is listed")
		}
		a := f.modern(key, "tools/call", create)
		if a.status != http.StatusOK || !strings.Contains(a.body, `"isError":true`) || !strings.Contains(a.body, want) || !strings.Contains(a.body, `"code":"forbidden"`) {
			t.Errorf("%d %s, want a tool error with %q", a.status, a.body, want)
		}
	}
	hooks, err := f.store.ListWebhooks(t.Context(), f.team.ID, store.WebhookQuery{})
	if err != nil || len(hooks.Data) != 0 {
		t.Errorf("a webhook was made: %v %v", hooks.Data, err)
	}
}

// One caller's notifications/cancelled must not reach another's request: without
// sessions the library would look the id up among all.
func TestModernCancelReachesNobodyElse(t *testing.T) {
	t.Parallel()
	f := start(t)
	a, b := f.key(all()...), f.key(all()...)
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			if got := f.modern(a, "tools/call", `"name":"list_webhooks"`); strings.Contains(got.body, "isError") {
				t.Errorf("a call was cancelled by another caller: %s", got.body)
			}
		})
		group.Go(func() {
			got := f.do(call{
				path: "/mcp", key: b, body: `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}`,
				header: map[string]string{"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "notifications/cancelled"},
			})
			if got.status != http.StatusAccepted {
				t.Errorf("notification: %d %s", got.status, got.body)
			}
		})
	}
	group.Wait()
}

// The library's own clients, over both HTTP transports.
func TestClients(t *testing.T) {
	t.Parallel()
	f := start(t)
	key := f.key(all()...)
	header := map[string]string{"Authorization": "Bearer " + key}
	streamable, err := client.NewStreamableHttpClient(f.url+"/mcp", transport.WithHTTPHeaders(header))
	f.must(err)
	sse, err := client.NewSSEMCPClient(f.url+"/sse", client.WithHeaders(header))
	f.must(err)
	for name, c := range map[string]*client.Client{"streamable": streamable, "sse": sse} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		f.must(c.Start(context.WithoutCancel(ctx)))
		_, err := c.Initialize(ctx, mcp.InitializeRequest{Params: mcp.InitializeParams{
			ProtocolVersion: mcp.LATEST_LEGACY_PROTOCOL_VERSION, ClientInfo: mcp.Implementation{Name: "test", Version: "1"},
		}})
		f.must(err)
		list, err := c.ListTools(ctx, mcp.ListToolsRequest{})
		if err != nil || len(list.Tools) != len(all()) {
			t.Errorf("%s: %v, %d tools", name, err, len(list.Tools))
		}
		made, err := c.CallTool(ctx, mcp.CallToolRequest{Params: mcp.CallToolParams{
			Name: "create_webhook", Arguments: map[string]any{"url": "https://example.com/" + name, "events": []string{"scan"}},
		}})
		f.must(err)
		if text, _ := json.Marshal(made); made.IsError || !strings.Contains(string(text), "whsec_") || !strings.Contains(string(text), "not shown again") {
			t.Errorf("%s: create_webhook: %s", name, text)
		}
		f.must(c.Close())
		cancel()
	}
}
