package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestEnablement holds tools to the key that calls: listed and called alike.
func TestEnablement(t *testing.T) {
	onBoth(t, func(t *testing.T, db database) {
		d := deploy(t, db, loopback...)
		s := d.serve()
		seed := d.newKey("default", allScopes, "seed")
		reader := d.newKey("default", "webhooks:read", "all")
		off := d.newKey("default", allScopes, "")
		for _, tr := range transports {
			if tr.name == "stdio-2025-06-18" || tr.name == "streamable-2025-11-25" {
				continue
			}
			t.Run(tr.name, func(t *testing.T) {
				t.Parallel()
				a := tr.open(t, d, s, seed)
				want := []string{"create_webhook", "delete_webhook", "list_webhooks", "whoami"}
				if got := sorted(a.tools()); !slices.Equal(got, want) {
					t.Errorf("tools of a seed key: %v", got)
				}
				refused(t, a, "publish_event", object{"event": "scan", "data": object{"qr_code_id": 1}})

				a = tr.open(t, d, s, reader)
				for _, name := range a.tools() {
					if name == "create_webhook" || name == "publish_event" || name == "delete_webhook" {
						t.Errorf("a key without a writing scope sees %s", name)
					}
				}
				refused(t, a, "create_webhook", object{"url": "https://example.com/", "events": []string{"scan"}})
			})
		}
		if rows := d.rest(s).list("/api/v1/events"); len(rows) != 0 {
			t.Errorf("refused calls published %v", rows)
		}

		c := d.rest(s).as(off)
		a := c.do("POST", "/mcp", object{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, "Accept: application/json, text/event-stream")
		if a.status != http.StatusForbidden || !strings.Contains(string(a.raw), "tools") {
			t.Errorf("MCP with a key that has no tools: %d %s; want 403 and where to enable them", a.status, a.raw)
		}
		c.do("GET", "/api/v1/webhooks", nil).ok(http.StatusOK) // REST asks for scopes alone
	})
}

// refused wants a tool that is off for the key to stay off when it is called by
// its name: hidden ones are unknown to the protocol, or answer forbidden.
func refused(t *testing.T, a *agent, tool string, args object) {
	t.Helper()
	res, err := a.call(tool, args)
	if err == nil && (!res.IsError || structured(t, tool, res)["code"] != "forbidden") {
		t.Errorf("%s was not refused: %v", tool, res.StructuredContent)
	}
}

// TestRevocation wants a revoked key to be dead within a second, in sessions that
// are open too.
func TestRevocation(t *testing.T) {
	onBoth(t, func(t *testing.T, db database) {
		d := deploy(t, db, loopback...)
		s := d.serve()
		d.must("teams", "create", "doomed")
		key := d.newKey("doomed", allScopes, "all")
		id := str(asObject(d.rest(s).as(key).do("GET", "/api/v1/whoami", nil).ok(http.StatusOK)["key"]), "id")
		var agents []*agent
		var names []string
		for _, tr := range transports {
			agents = append(agents, tr.open(t, d, s, key))
			names = append(names, tr.name)
			agents[len(agents)-1].ok("list_webhooks", object{})
		}
		d.must("keys", "revoke", id)
		time.Sleep(time.Second)
		for i, a := range agents {
			if res, err := a.call("list_webhooks", object{}); err == nil && !res.IsError {
				t.Errorf("%s still answers a second after its key was revoked", names[i])
			}
		}
		c := d.rest(s).as(key)
		c.do("GET", "/api/v1/webhooks", nil).problem(http.StatusUnauthorized, "unauthenticated", "")
		if e := d.with("TELLHOOK_API_KEY="+key).run(nil, "stdio"); e.code != 1 || e.stdout != "" {
			t.Errorf("stdio with a revoked key: %+v; want it to refuse to start", e)
		}
	})
}

// TestNarrowedKey wants an update of a key to act within a second.
func TestNarrowedKey(t *testing.T) {
	onBoth(t, func(t *testing.T, db database) {
		d := deploy(t, db, loopback...)
		s := d.serve()
		key := d.newKey("default", allScopes, "all")
		c := d.rest(s).as(key)
		id := str(asObject(c.do("GET", "/api/v1/whoami", nil).ok(http.StatusOK)["key"]), "id")
		d.must("keys", "update", id, "--scopes", "webhooks:read", "--tools", "read")
		time.Sleep(time.Second)
		p := c.do("POST", "/api/v1/webhooks", object{"url": "https://example.com/", "events": []string{"scan"}}).
			problem(http.StatusForbidden, "forbidden", "")
		if !strings.Contains(str(p, "detail"), "webhooks:write") {
			t.Errorf("the refusal does not name the missing scope: %v", p)
		}
		listed := d.run(nil, "keys", "list")
		if listed.code != 0 || !strings.Contains(listed.stdout, id) || strings.Contains(listed.stdout, key) {
			t.Errorf("keys list: %+v", listed)
		}
	})
}

// TestTenancy wants rows of another team to be not found.
func TestTenancy(t *testing.T) {
	onBoth(t, func(t *testing.T, db database) {
		d := deploy(t, db, loopback...)
		s := d.serve()
		mine := d.rest(s)
		r := newReceiver(t, nil)
		w := mine.webhook(r.URL, "scan")
		e := mine.scan(1)
		delivery := mine.delivery(e, "succeeded", 10*time.Second)

		d.must("teams", "create", "others")
		theirs := mine.as(d.newKey("others", allScopes, "all"))
		for _, path := range []string{"/webhooks/" + str(w, "id"), "/webhooks/" + str(w, "id") + "/deliveries", "/deliveries/" + str(delivery, "id"), "/events/" + e} {
			theirs.do("GET", "/api/v1"+path, nil).problem(http.StatusNotFound, "not_found", "")
		}
		theirs.do("PUT", "/api/v1/webhooks/"+str(w, "id"), object{"status": "paused"}).problem(http.StatusNotFound, "not_found", "")
		theirs.do("DELETE", "/api/v1/webhooks/"+str(w, "id"), nil).problem(http.StatusNotFound, "not_found", "")
		for _, list := range []string{"webhooks", "deliveries", "events"} {
			if rows := theirs.list("/api/v1/" + list); len(rows) != 0 {
				t.Errorf("another team sees %s: %v", list, rows)
			}
		}
		theirs.scan(2)
		time.Sleep(300 * time.Millisecond)
		if n := len(r.all()); n != 1 {
			t.Errorf("the receiver got %d requests; another team's event must not reach it", n)
		}
		// The same event id in two teams is two events.
		for _, c := range []*rest{mine, theirs} {
			c.do("POST", "/api/v1/events", object{"event": "scan", "data": object{"qr_code_id": 3}, "event_id": "shared"}).ok(http.StatusAccepted)
		}
		if got := fmt.Sprint(byEvent(r.wait(t, 2, 10*time.Second))["shared"]); got != "1" {
			t.Errorf("event shared arrived %s times", got)
		}
	})
}
