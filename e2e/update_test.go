package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestMovedWebhook wants a new host to cost a new secret, so that nobody can point
// a webhook elsewhere and learn what the old receiver was sent.
func TestMovedWebhook(t *testing.T) {
	onBoth(t, func(t *testing.T, db database) {
		d := deploy(t, db)
		c := d.rest(d.serve("--dev"))
		before, after := newReceiver(t, nil), newReceiver(t, nil)
		moved := strings.Replace(after.URL, "127.0.0.1", "localhost", 1) + "/moved"
		w := c.createWebhook(object{"url": before.URL, "events": []string{"scan"}, "headers": object{"X-Token": "for-the-old-host-alone"}})
		d.secret("custom header", "for-the-old-host-alone")
		path := "/api/v1/webhooks/" + str(w, "id")

		p := c.do("PUT", path, object{"url": moved}).problem(http.StatusConflict, "conflict", "")
		if !strings.Contains(str(p, "detail"), "rotate_secret") {
			t.Errorf("the refusal does not tell of rotate_secret: %v", p)
		}
		if same := c.do("GET", path, nil).ok(http.StatusOK); same["url"] != w["url"] {
			t.Errorf("a refused update changed the webhook: %v", same)
		}
		w2 := c.do("PUT", path, object{"url": moved, "rotate_secret": true}).ok(http.StatusOK)
		secret := str(w2, "secret")
		d.secret("signing secret", secret)
		if secret == "" || secret == str(w, "secret") || w2["url"] != moved {
			t.Fatalf("moved webhook: %v", w2)
		}
		c.scan(1)
		h := after.wait(t, 1, 10*time.Second)[0]
		checkSigned(t, h, secret, "X-Webhook-Signature")
		if h.header.Get("X-Token") != "" || len(before.all()) != 0 {
			t.Errorf("the new host got the old host's header %q; the old one got %d requests", h.header.Get("X-Token"), len(before.all()))
		}
	})
}

// TestDeletedWebhook wants what is pending cancelled, and nothing sent any more.
func TestDeletedWebhook(t *testing.T) {
	onBoth(t, func(t *testing.T, db database) {
		d := deploy(t, db, "TELLHOOK_RETRY_SCHEDULE=1s,1s")
		c := d.rest(d.serve("--dev"))
		r := newReceiver(t, func(w http.ResponseWriter, _ *http.Request, _ int) { w.WriteHeader(http.StatusBadGateway) })
		w := c.webhook(r.URL, "scan")
		e := c.scan(1)
		r.wait(t, 1, 10*time.Second)
		c.do("DELETE", "/api/v1/webhooks/"+str(w, "id"), nil).ok(http.StatusNoContent)
		eventually(t, 5*time.Second, func() error { // an attempt in flight is still recorded
			got := c.delivery(e, "cancelled", 5*time.Second)
			if got["reason"] != "webhook_deleted" || got["next_attempt_at"] != nil || len(attemptsOf(got)) != 1 {
				return fmt.Errorf("delivery: %v", got)
			}
			return nil
		})
		sent := len(r.all())
		time.Sleep(1500 * time.Millisecond) // past the next retry
		if n := len(r.all()); n != sent {
			t.Errorf("a deleted webhook got %d more requests", n-sent)
		}
	})
}
