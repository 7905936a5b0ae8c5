package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestWireFormat holds one delivery, byte by byte, to the contract.
func TestWireFormat(t *testing.T) {
	onBoth(t, func(t *testing.T, db database) {
		d := deploy(t, db, "TELLHOOK_SIGNATURE_HEADER=X-NearNode-Signature", "TELLHOOK_USER_AGENT=Acme/7")
		c := d.rest(d.serve("--dev"))
		r := newReceiver(t, nil)
		d.secret("custom header", "Zm9vYmFy-canary")
		w := c.createWebhook(object{"url": r.URL + "/in?x=1", "events": []string{"scan.*"}, "headers": object{"X-Tenant": "Zm9vYmFy-canary"}})

		// Spaces, the order of keys, a number beyond 64 bits and characters that
		// encoders like to escape: only insignificant space may go.
		const sent = `{"event": "scan.created", "event_id": "order-17_A", "timestamp": "2026-02-09T15:30:00.1239+01:00",
			"data": { "node_slug" : "o1 ulpplq", "node_id":"node_<é>&\u2028\/" , "z": [1,  2.50, 12345678901234567890123],
			"a": {"y": null, "x": true} } }`
		const want = `{"event":"scan.created","event_id":"order-17_A","timestamp":"2026-02-09T14:30:00.123Z",` +
			`"data":{"node_slug":"o1 ulpplq","node_id":"node_<é>&\u2028\/","z":[1,2.50,12345678901234567890123],"a":{"y":null,"x":true}}}`
		a := c.do("POST", "/api/v1/events", sent)
		e := a.ok(http.StatusAccepted)
		if str(e, "id") != "order-17_A" || !strings.HasSuffix(a.header.Get("Location"), "/api/v1/events/order-17_A") ||
			e["timestamp"] != "2026-02-09T14:30:00.123Z" || e["event"] != "scan.created" {
			t.Errorf("published event: %v, Location %q", e, a.header.Get("Location"))
		}

		h := r.wait(t, 1, 10*time.Second)[0]
		if string(h.body) != want {
			t.Errorf("body:\ngot  %s\nwant %s", h.body, want)
		}
		checkSigned(t, h, str(w, "secret"), "X-NearNode-Signature")
		delivery := c.delivery("order-17_A", "succeeded", 5*time.Second)
		for name, value := range map[string]string{
			"Content-Type": "application/json", "User-Agent": "Acme/7", "X-Tenant": "Zm9vYmFy-canary",
			"X-Webhook-Event": "scan.created", "X-Webhook-Delivery": str(delivery, "id"), "X-Webhook-Attempt": "1",
			"X-Webhook-Signature": "", "Idempotency-Key": "", "X-Idempotency-Key": "", "Cookie": "", "Accept-Encoding": h.header.Get("Accept-Encoding"),
		} {
			if got := h.header.Get(name); got != value {
				t.Errorf("header %s: got %q, want %q", name, got, value)
			}
		}
		if shown := string(c.do("GET", "/api/v1/webhooks/"+str(w, "id"), nil).raw); strings.Contains(shown, "Zm9vYmFy-canary") {
			t.Errorf("the value of a custom header is write-only: %s", shown)
		}
	})
}

// TestOwnSecret wants an owner's own secret, of either form, to sign.
func TestOwnSecret(t *testing.T) {
	t.Parallel()
	d := deploy(t, sqlite)
	c := d.rest(d.serve("--dev"))
	for _, secret := range []string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "correct horse battery staple"} {
		d.secret("signing secret", secret)
		r := newReceiver(t, nil)
		c.createWebhook(object{"url": r.URL, "events": []string{"*"}, "secret": secret})
		c.scan(secret)
		checkSigned(t, r.wait(t, 1, 10*time.Second)[0], secret, "X-Webhook-Signature")
	}
	for _, bad := range []string{"short", "whsec_!!!", "whsec_YWJj", "tab\tin the secret", strings.Repeat("x", 257)} {
		c.do("POST", "/api/v1/webhooks", object{"url": "http://127.0.0.1:9/", "events": []string{"scan"}, "secret": bad}).
			problem(http.StatusBadRequest, "invalid", "secret")
	}
}

// TestBodyOverMCP wants data published by a tool to arrive as it was sent: a raw
// request, because the SDK writes arguments anew.
func TestBodyOverMCP(t *testing.T) {
	t.Parallel()
	d := deploy(t, sqlite)
	c := d.rest(d.serve("--dev"))
	r := newReceiver(t, nil)
	c.webhook(r.URL, "scan")
	const call = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"publish_event","arguments":
		{"event":"scan","data":{"qr_code_id" : 12345678901234567890123, "b":"<&>", "a" : 1.0}},
		"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`
	a := c.do("POST", "/mcp", call, "Accept: application/json, text/event-stream",
		"MCP-Protocol-Version: 2026-07-28", "Mcp-Method: tools/call", "Mcp-Name: publish_event")
	if a.status != http.StatusOK {
		t.Fatalf("tools/call: %d %s", a.status, a.raw)
	}
	if got, want := string(r.wait(t, 1, 10*time.Second)[0].event.Data), `{"qr_code_id":12345678901234567890123,"b":"<&>","a":1.0}`; got != want {
		t.Errorf("data:\ngot  %s\nwant %s", got, want)
	}
}

// TestCapture wants what the receiver answered in the attempt, bounded, and the
// redirect not followed.
func TestCapture(t *testing.T) {
	t.Parallel()
	d := deploy(t, sqlite, "TELLHOOK_RETRY_SCHEDULE=1s")
	c := d.rest(d.serve("--dev"))
	target := newReceiver(t, nil)
	big := newReceiver(t, func(w http.ResponseWriter, _ *http.Request, _ int) {
		w.Header().Set("X-Answer", "yes")
		_, _ = w.Write([]byte(strings.Repeat("0123456789abcdef", 2048)))
	})
	c.webhook(big.URL, "scan")
	attempt := attemptsOf(c.delivery(c.scan(1), "succeeded", 10*time.Second))[0]
	cut, _ := attempt["response_truncated"].(bool)
	if body := str(attempt, "response_body"); len(body) != 16<<10 || !cut {
		t.Errorf("captured %d bytes, truncated %v; want the first 16 KiB, marked", len(body), cut)
	}
	if h := asObject(attempt["response_headers"]); h["X-Answer"] == nil {
		t.Errorf("captured headers: %v", h)
	}
	if attempt["remote_ip"] != "127.0.0.1" || !strings.HasPrefix(str(attempt, "id"), "att_") || attempt["phases"] == nil {
		t.Errorf("attempt: id %v, remote_ip %v, phases %v", attempt["id"], attempt["remote_ip"], attempt["phases"])
	}

	away := newReceiver(t, func(w http.ResponseWriter, r *http.Request, n int) {
		status := http.StatusFound // which clients follow with GET
		if n > 1 {
			status = http.StatusTemporaryRedirect // and with POST
		}
		http.Redirect(w, r, target.URL, status)
	})
	c.webhook(away.URL, "file_download")
	e := c.publish("file_download", object{"shared_file_id": 1})
	if got := c.delivery(e, "failed", 15*time.Second); got["last_error_kind"] != "redirect" || got["last_status_code"] != 307.0 || len(attemptsOf(got)) != 2 {
		t.Errorf("redirected delivery: %v", got)
	}
	if n := len(target.all()); n != 0 {
		t.Errorf("a redirect was followed %d times", n)
	}
}
