package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// transport is a way for an MCP client to reach Tellhook.
type transport struct {
	name    string
	version string // protocol version that the client asks for; empty is its newest
	connect func(d *deployment, s *server, key string) mcp.Transport
}

var transports = []transport{
	{"stdio", "", stdio},
	{"stdio-2025-06-18", "2025-06-18", stdio},
	{"stdio-bridge", "", bridge},
	{"sse", "2024-11-05", sse},
	{"streamable", "", streamable},
	{"streamable-2025-11-25", "2025-11-25", streamable},
}

// stdio starts a process on the deployment's own database.
func stdio(d *deployment, _ *server, key string) mcp.Transport {
	return command(d.with("TELLHOOK_API_KEY="+key), "stdio")
}

// bridge starts a process that knows the server's address and the key alone.
func bridge(d *deployment, s *server, key string) mcp.Transport {
	other := d.with("TELLHOOK_API_KEY="+key, "TELLHOOK_URL="+s.url)
	for _, name := range []string{"TELLHOOK_DATABASE_URL", "TELLHOOK_DATABASE_MAX_CONNS", "TELLHOOK_MASTER_KEY"} {
		delete(other.settings, name)
	}
	return command(other, "stdio")
}

func command(d *deployment, args ...string) mcp.Transport {
	cmd := d.command(args...)
	cmd.Stderr = d.transcript()
	return &mcp.CommandTransport{Command: cmd, TerminateDuration: 15 * time.Second}
}

func sse(_ *deployment, s *server, key string) mcp.Transport {
	return &mcp.SSEClientTransport{Endpoint: s.url + "/sse", HTTPClient: withKey(key)}
}

func streamable(_ *deployment, s *server, key string) mcp.Transport {
	return &mcp.StreamableClientTransport{Endpoint: s.url + "/mcp", HTTPClient: withKey(key)}
}

// bearer adds the key to each request.
type bearer string

var connections = &http.Transport{}

func (key bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(key))
	return connections.RoundTrip(r)
}

func withKey(key string) *http.Client { return &http.Client{Transport: bearer(key)} }

// agent is a connected MCP client.
type agent struct {
	t       *testing.T
	session *mcp.ClientSession
}

// open opens a session; the test's end closes it.
func (tr transport) open(t *testing.T, d *deployment, s *server, key string) *agent {
	t.Helper()
	client := mcp.NewClient(&mcp.Implementation{Name: "tellhook-e2e", Version: "1"}, nil)
	session, err := client.Connect(t.Context(), tr.connect(d, s, key), &mcp.ClientSessionOptions{ProtocolVersion: tr.version})
	if err != nil {
		t.Fatalf("connect by %s: %v", tr.name, err)
	}
	t.Cleanup(func() {
		if err := session.Close(); err != nil {
			t.Errorf("close %s: %v", tr.name, err)
		}
	})
	return &agent{t, session}
}

func (a *agent) call(tool string, args any) (*mcp.CallToolResult, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return a.session.CallTool(ctx, &mcp.CallToolParams{Name: tool, Arguments: args})
}

// ok calls a tool that has to succeed and answers its structured content, which
// the text has to repeat.
func (a *agent) ok(tool string, args any) object {
	a.t.Helper()
	res, err := a.call(tool, args)
	if err != nil {
		a.t.Fatalf("%s: %v", tool, err)
	}
	if res.IsError {
		a.t.Fatalf("%s: %s", tool, text(res))
	}
	if text(res) == "" {
		a.t.Errorf("%s: no text", tool)
	}
	return structured(a.t, tool, res)
}

// fails calls a tool that has to answer a tool error with the code and field.
func (a *agent) fails(tool string, args any, code, field string) object {
	a.t.Helper()
	res, err := a.call(tool, args)
	if err != nil {
		a.t.Fatalf("%s: protocol error %v; want a tool error %s", tool, err, code)
	}
	o := structured(a.t, tool, res)
	if !res.IsError || o["code"] != code || (field != "" && o["field"] != field) {
		a.t.Errorf("%s: isError %v, %v; want code %s, field %q", tool, res.IsError, o, code, field)
	}
	if str(o, "message") == "" || text(res) == "" {
		a.t.Errorf("%s: an error without words: %v, text %q", tool, o, text(res))
	}
	return o
}

func structured(t *testing.T, tool string, res *mcp.CallToolResult) object {
	t.Helper()
	raw, err := json.Marshal(res.StructuredContent)
	if err != nil {
		t.Fatal(err)
	}
	var o object
	if err := json.Unmarshal(raw, &o); err != nil || o == nil {
		t.Fatalf("%s: structured content %s; text %q", tool, raw, text(res))
	}
	return o
}

func text(res *mcp.CallToolResult) string {
	var all string
	for _, c := range res.Content {
		if tc, ok := c.(*mcp.TextContent); ok {
			all += tc.Text
		}
	}
	return all
}

// tools answers the names of tools/list in its order.
func (a *agent) tools() []string {
	a.t.Helper()
	var names []string
	for tool, err := range a.session.Tools(a.t.Context(), nil) {
		if err != nil {
			a.t.Fatal(err)
		}
		names = append(names, tool.Name)
	}
	return names
}

func sorted(names []string) []string { return slices.Sorted(slices.Values(names)) }

// readOnly opens a session with `stdio --read-only` as the local team.
func readOnly(t *testing.T, d *deployment) *mcp.ClientSession {
	t.Helper()
	client := mcp.NewClient(&mcp.Implementation{Name: "tellhook-e2e", Version: "1"}, nil)
	session, err := client.Connect(t.Context(), command(d.with(), "stdio", "--read-only"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = session.Close() })
	return session
}
