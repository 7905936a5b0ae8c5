package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// toolNames are all tools, sorted.
var toolNames = []string{
	"create_webhook", "delete_webhook", "get_delivery", "get_event", "get_webhook", "list_deliveries",
	"list_event_types", "list_events", "list_webhooks", "publish_event", "update_webhook", "whoami",
}

// Settings of deployments whose receivers are plain HTTP servers on loopback.
var loopback = []string{"TELLHOOK_ALLOW_HTTP=true", "TELLHOOK_ALLOW_NETWORKS=127.0.0.0/8"}

// TestMCP runs one webhook's life through every transport on both databases.
func TestMCP(t *testing.T) {
	onBoth(t, func(t *testing.T, db database) {
		d := deploy(t, db, append(loopback, "TELLHOOK_PUBLIC_URL=https://hooks.example.com")...)
		s := d.serve()
		for _, tr := range transports {
			t.Run(tr.name, func(t *testing.T) {
				t.Parallel()
				d.must("teams", "create", tr.name)
				key := d.newKey(tr.name, allScopes, "all")
				a := tr.open(t, d, s, key)
				handshake(t, a, tr)
				webhookLife(t, a, d)
				refusals(t, a)
			})
		}
	})
}

func handshake(t *testing.T, a *agent, tr transport) {
	init := a.session.InitializeResult()
	want := tr.version
	if want == "" {
		want = "2026-07-28"
	}
	if init.ProtocolVersion != want || init.ServerInfo == nil || init.ServerInfo.Name == "" || init.ServerInfo.Version == "" {
		t.Errorf("handshake: version %q and server %+v; want version %s", init.ProtocolVersion, init.ServerInfo, want)
	}
	listed := a.tools()
	if got := sorted(listed); !slices.Equal(got, toolNames) {
		t.Errorf("tools/list:\ngot  %v\nwant %v", got, toolNames)
	}
	if again := a.tools(); !slices.Equal(again, listed) {
		t.Errorf("tools/list changes its order: %v, then %v", listed, again)
	}
	for tool, err := range a.session.Tools(t.Context(), nil) {
		if err != nil {
			t.Fatal(err)
		}
		hints := tool.Annotations
		if tool.Title == "" || tool.Description == "" || tool.InputSchema == nil || tool.OutputSchema == nil ||
			hints == nil || hints.DestructiveHint == nil || hints.OpenWorldHint == nil {
			t.Errorf("tool %s lacks a title, description, schema or annotation: %+v", tool.Name, tool)
		}
	}
	me := a.ok("whoami", object{})
	if !strings.Contains(fmt.Sprint(me), tr.name) {
		t.Errorf("whoami does not name the team %s: %v", tr.name, me)
	}
	if types := fmt.Sprint(a.ok("list_event_types", object{})); !strings.Contains(types, "scan.vcard_download") {
		t.Errorf("list_event_types: %s", types)
	}
}

func webhookLife(t *testing.T, a *agent, d *deployment) {
	r := newReceiver(t, nil)
	w := a.ok("create_webhook", object{"url": r.URL + "/hook", "events": []string{"scan", "form_submit"}, "description": "from " + t.Name()})
	id, secret := str(w, "id"), str(w, "secret")
	if !strings.HasPrefix(id, "whk_") || !strings.HasPrefix(secret, "whsec_") || str(w, "dashboard_url") == "" {
		t.Fatalf("create_webhook: %v", w)
	}
	d.secret("signing secret", secret)

	e := a.ok("publish_event", object{"event": "scan", "data": object{"qr_code_id": 42, "country": "CH"}})
	h := r.wait(t, 1, 10*time.Second)[0]
	checkSigned(t, h, secret, "X-Webhook-Signature")
	if h.event.EventID != str(e, "id") || h.event.Event != "scan" || string(h.event.Data) != `{"country":"CH","qr_code_id":42}` {
		t.Errorf("published %v, delivered %s", e, h.body)
	}
	checkDelivered(t, a, id, str(e, "id"))

	if w := a.ok("update_webhook", object{"id": id, "status": "paused"}); w["status"] != "paused" || w["paused_reason"] != "owner" {
		t.Errorf("paused webhook: %v", w)
	}
	held := a.ok("publish_event", object{"event": "form_submit", "data": object{"landing_page_id": 7, "fields": object{"email": "a@example.com"}}})
	time.Sleep(700 * time.Millisecond) // time for a delivery that must not come
	if n := len(r.all()); n != 1 {
		t.Errorf("a paused webhook got %d requests", n-1)
	}
	if rows := arr(a.ok("list_deliveries", object{"webhook_id": id, "status": "pending"}), "data"); len(rows) != 1 {
		t.Errorf("a paused webhook has %d pending deliveries, want the one it holds", len(rows))
	}
	a.ok("update_webhook", object{"id": id, "status": "active"})
	if h := r.wait(t, 2, 10*time.Second)[1]; h.event.EventID != str(held, "id") {
		t.Errorf("resumed webhook got %s, want event %s", h.body, str(held, "id"))
	}

	for _, tool := range []string{"get_webhook", "list_webhooks"} {
		args := object{}
		if tool == "get_webhook" {
			args["id"] = id
		}
		shown := fmt.Sprint(a.ok(tool, args))
		if !strings.Contains(shown, id) || strings.Contains(shown, secret) || !strings.Contains(shown, secret[len(secret)-4:]) {
			t.Errorf("%s has to show the id and the secret's last four characters alone: %s", tool, shown)
		}
	}
	if rows := arr(a.ok("list_events", object{"event": "scan"}), "data"); len(rows) != 1 || str(asObject(rows[0]), "id") != str(e, "id") {
		t.Errorf("list_events of scan: %v", rows)
	}
	a.ok("delete_webhook", object{"id": id})
	a.fails("get_webhook", object{"id": id}, "not_found", "")
}

// checkDelivered wants the delivery and its one attempt in the log.
func checkDelivered(t *testing.T, a *agent, webhookID, eventID string) {
	t.Helper()
	var delivery object
	eventually(t, 5*time.Second, func() error {
		rows := arr(a.ok("list_deliveries", object{"webhook_id": webhookID, "event_id": eventID}), "data")
		if len(rows) != 1 {
			return fmt.Errorf("%d deliveries: %v", len(rows), rows)
		}
		if delivery = asObject(rows[0]); delivery["status"] != "succeeded" {
			return fmt.Errorf("delivery is %v", delivery)
		}
		return nil
	})
	full := a.ok("get_delivery", object{"id": str(delivery, "id")})
	attempts := attemptsOf(full)
	if len(attempts) != 1 || attempts[0]["number"] != 1.0 || attempts[0]["status_code"] != float64(http.StatusOK) {
		t.Errorf("get_delivery: %v", full)
	}
}

// refusals are calls that have to fail with words, and to change nothing.
func refusals(t *testing.T, a *agent) {
	a.fails("create_webhook", object{"url": "not a url", "events": []string{"scan"}}, "invalid", "url")
	a.fails("create_webhook", object{"url": "ftp://example.com/", "events": []string{"scan"}}, "invalid", "url")
	a.fails("create_webhook", object{"url": "https://example.com/", "events": []string{"scam"}}, "invalid", "events[0]")
	a.fails("create_webhook", object{"url": "https://example.com/"}, "invalid", "events")
	a.fails("create_webhook", object{"url": "https://example.com/", "events": []string{"scan"}, "colour": "red"}, "invalid", "colour")
	a.fails("create_webhook", object{"url": 5, "events": []string{"scan"}}, "invalid", "url")
	a.fails("publish_event", object{"event": "no.such.type", "data": object{}}, "invalid", "event")
	a.fails("publish_event", object{"event": "scan", "data": object{"device": "phone"}}, "invalid", "")
	a.fails("publish_event", object{"event": "test", "data": object{"test": true}}, "invalid", "event")
	a.fails("get_webhook", object{"id": "whk_00000000000000000000000000"}, "not_found", "")
	a.fails("list_deliveries", object{"limit": 1000}, "invalid", "limit")
	a.fails("list_deliveries", object{"cursor": "garbage"}, "invalid", "cursor")
	if rows := arr(a.ok("list_webhooks", object{}), "data"); len(rows) != 0 {
		t.Errorf("refused calls left webhooks behind: %v", rows)
	}
	if _, err := a.call("no_such_tool", object{}); err == nil {
		t.Error("an unknown tool was answered without a protocol error")
	}
}
