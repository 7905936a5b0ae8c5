package e2e

import (
	"net/http"
	"strings"
	"testing"
)

const (
	initialize = `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"e2e","version":"1"}}}`
	listTools  = `{"jsonrpc":"2.0","id":2,"method":"tools/list","params":{}}`
	bothForms  = "Accept: application/json, text/event-stream"
)

// TestDoor wants the server's front door shut to the wrong origins, hosts and
// keys, and to bodies without end.
func TestDoor(t *testing.T) {
	t.Parallel()
	d := deploy(t, sqlite)
	s := d.serve()
	c := d.rest(s)
	nobody := c.as("")

	a := nobody.do("POST", "/mcp", initialize, bothForms)
	challenge := a.header.Get("WWW-Authenticate")
	if a.status != http.StatusUnauthorized || !strings.HasPrefix(challenge, "Bearer") || !strings.Contains(challenge, "/.well-known/oauth-protected-resource") {
		t.Errorf("MCP without a key: %d, WWW-Authenticate %q", a.status, challenge)
	}
	for _, path := range []string{"/sse", "/api/v1/webhooks"} {
		if a := nobody.do("GET", path, nil); a.status != http.StatusUnauthorized || a.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s without a key: %d", a.call, a.status)
		}
	}
	meta := nobody.do("GET", "/.well-known/oauth-protected-resource", nil).ok(http.StatusOK)
	if !strings.HasPrefix(str(meta, "resource"), "http") {
		t.Errorf("RFC 9728 metadata: %v", meta)
	}
	for _, path := range []string{"/healthz", "/readyz", "/api/v1/openapi.json"} {
		if a := nobody.do("GET", path, nil); a.status != http.StatusOK {
			t.Errorf("%s: %d %s", a.call, a.status, a.raw)
		}
	}

	for _, path := range []string{"/mcp", "/message?sessionId=x"} {
		if a := c.do("POST", path, initialize, bothForms, "Origin: https://evil.example"); a.status != http.StatusForbidden {
			t.Errorf("%s of another origin: %d %s", a.call, a.status, a.raw)
		}
	}
	if a := c.do("GET", "/sse", nil, "Origin: https://evil.example"); a.status != http.StatusForbidden {
		t.Errorf("%s of another origin: %d", a.call, a.status)
	}
	if a := c.do("POST", "/mcp", initialize, bothForms, "Origin: "+s.url); a.status != http.StatusOK {
		t.Errorf("%s of the server's own origin: %d %s", a.call, a.status, a.raw)
	}
	if status := c.withHost("rebound.example", "/mcp"); status != http.StatusForbidden {
		t.Errorf("MCP under a foreign host name: %d", status)
	}
	huge := strings.Replace(initialize, `"e2e"`, `"`+strings.Repeat("x", 8<<20)+`"`, 1)
	if a := c.do("POST", "/mcp", huge, bothForms); a.status != http.StatusRequestEntityTooLarge {
		t.Errorf("MCP with 8 MiB: %d %.200s", a.status, a.raw)
	}
	if a := c.do("POST", "/api/v1/events", huge); a.status != http.StatusRequestEntityTooLarge {
		t.Errorf("REST with 8 MiB: %d %.200s", a.status, a.raw)
	}
}

// withHost posts initialize under another Host header and answers the status.
func (c *rest) withHost(host, path string) int {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, c.url+path, strings.NewReader(initialize))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Host = host
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	req.Header.Set("Authorization", "Bearer "+c.key)
	resp, err := httpClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	return resp.StatusCode
}

// TestSessionIsBoundToItsKey wants a session's id to be worth nothing under
// another key.
func TestSessionIsBoundToItsKey(t *testing.T) {
	t.Parallel()
	d := deploy(t, sqlite)
	c := d.rest(d.serve())
	session := c.do("POST", "/mcp", initialize, bothForms).header.Get("Mcp-Session-Id")
	if session == "" {
		t.Fatal("initialize answers no session id")
	}
	with := []string{bothForms, "Mcp-Session-Id: " + session, "MCP-Protocol-Version: 2025-06-18"}
	if a := c.do("POST", "/mcp", listTools, with...); a.status != http.StatusOK {
		t.Errorf("own session: %d %s", a.status, a.raw)
	}
	thief := c.as(d.newKey("default", allScopes, "all"))
	if a := thief.do("POST", "/mcp", listTools, with...); a.status < 400 {
		t.Errorf("a session under another key: %d %s", a.status, a.raw)
	}
}
