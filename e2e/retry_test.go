package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// fast are settings under which four requests take three seconds.
var fast = []string{"TELLHOOK_RETRY_SCHEDULE=1s,1s,1s", "TELLHOOK_TIMEOUT=1s"}

// TestRetries wants failures retried by the schedule under one id, and the
// webhook's health to follow.
func TestRetries(t *testing.T) {
	onBoth(t, func(t *testing.T, db database) {
		d := deploy(t, db, fast...)
		c := d.rest(d.serve("--dev"))
		r := newReceiver(t, func(w http.ResponseWriter, _ *http.Request, n int) {
			if n <= 3 {
				w.WriteHeader(http.StatusInternalServerError)
			}
		})
		w := c.webhook(r.URL, "scan")
		path := "/api/v1/webhooks/" + str(w, "id")
		e := c.scan(1)

		r.wait(t, 3, 15*time.Second)
		eventually(t, time.Second, func() error {
			if w := c.do("GET", path, nil).ok(http.StatusOK); w["health"] != "failing" || w["status"] != "active" ||
				w["consecutive_failures"] != 3.0 || w["failing_since"] == nil {
				return fmt.Errorf("after three failures: %v", w)
			}
			return nil
		})
		hits := r.wait(t, 4, 10*time.Second)
		delivery := c.delivery(e, "succeeded", 5*time.Second)
		for i, h := range hits {
			checkSigned(t, h, str(w, "secret"), "X-Webhook-Signature")
			if got := h.header.Get("X-Webhook-Attempt"); got != fmt.Sprint(i+1) || h.header.Get("X-Webhook-Delivery") != str(delivery, "id") {
				t.Errorf("request %d: attempt %s of delivery %s", i+1, got, h.header.Get("X-Webhook-Delivery"))
			}
			if string(h.body) != string(hits[0].body) || h.header.Get("webhook-id") != e {
				t.Errorf("request %d differs: id %s, %s", i+1, h.header.Get("webhook-id"), h.body)
			}
			// Jitter stretches a wait by a tenth at most; the rest is for a busy machine.
			if i > 0 {
				if wait := h.at.Sub(hits[i-1].at); wait < 990*time.Millisecond || wait > 4*time.Second {
					t.Errorf("request %d came %v after the one before; want 1 s", i+1, wait)
				}
			}
		}
		for i, a := range attemptsOf(delivery) {
			wantStatus, wantKind := 500.0, any("status")
			if i == 3 {
				wantStatus, wantKind = 200, nil
			}
			if a["number"] != float64(i+1) || a["status_code"] != wantStatus || a["error_kind"] != wantKind {
				t.Errorf("attempt %d: %v", i+1, a)
			}
		}
		if w := c.do("GET", path, nil).ok(http.StatusOK); w["health"] != "healthy" || w["consecutive_failures"] != 0.0 || w["failing_since"] != nil {
			t.Errorf("after a success: %v", w)
		}
	})
}

// TestOutcomes wants each kind of failure classified, and what follows from it.
func TestOutcomes(t *testing.T) {
	onBoth(t, func(t *testing.T, db database) {
		d := deploy(t, db, "TELLHOOK_RETRY_SCHEDULE=1s", "TELLHOOK_TIMEOUT=1s")
		c := d.rest(d.serve("--dev"))
		// run publishes to a webhook of its own and answers the ended delivery.
		run := func(t *testing.T, url, event string) (webhook, delivery object) {
			c := c.in(t)
			w := c.webhook(url, event)
			delivery = c.delivery(c.publish(event, sample(event)), "failed", 20*time.Second)
			return c.do("GET", "/api/v1/webhooks/"+str(w, "id"), nil).ok(http.StatusOK), delivery
		}

		t.Run("schedule exhausted", func(t *testing.T) {
			t.Parallel()
			r := newReceiver(t, func(w http.ResponseWriter, _ *http.Request, _ int) { w.WriteHeader(http.StatusNotFound) })
			_, got := run(t, r.URL, "scan")
			if got["reason"] != "exhausted" || got["max_attempts"] != 2.0 || len(attemptsOf(got)) != 2 ||
				got["last_error_kind"] != "status" || got["last_status_code"] != 404.0 || got["next_attempt_at"] != nil || got["finished_at"] == nil {
				t.Errorf("delivery: %v", got)
			}
		})
		t.Run("gone", func(t *testing.T) {
			t.Parallel()
			r := newReceiver(t, func(w http.ResponseWriter, _ *http.Request, _ int) { w.WriteHeader(http.StatusGone) })
			w, got := run(t, r.URL, "form_submit")
			if len(r.all()) != 1 || got["reason"] != "gone" || w["status"] != "paused" || w["paused_reason"] != "gone" {
				t.Errorf("%d requests, delivery %v, webhook %v", len(r.all()), got, w)
			}
		})
		t.Run("timeout", func(t *testing.T) {
			t.Parallel()
			r := newReceiver(t, func(_ http.ResponseWriter, r *http.Request, _ int) { <-r.Context().Done() })
			_, got := run(t, r.URL, "file_download")
			ms, _ := attemptsOf(got)[0]["duration_ms"].(float64)
			if got["last_error_kind"] != "timeout" || ms < 900 || ms > 2500 {
				t.Errorf("after %v ms: %v", ms, got)
			}
		})
		t.Run("endless body", func(t *testing.T) {
			t.Parallel()
			r := newReceiver(t, drip)
			_, got := run(t, r.URL, "scan.created")
			if got["last_error_kind"] != "timeout" {
				t.Errorf("delivery: %v", got)
			}
		})
		t.Run("nobody listens", func(t *testing.T) {
			t.Parallel()
			r := newReceiver(t, nil)
			r.Close()
			_, got := run(t, r.URL, "scan.redirect")
			if got["last_error_kind"] != "connect" || got["last_status_code"] != nil {
				t.Errorf("delivery: %v", got)
			}
		})
		t.Run("no TLS there", func(t *testing.T) {
			t.Parallel()
			r := newReceiver(t, nil)
			_, got := run(t, "https"+r.URL[len("http"):], "scan.blocked")
			if got["last_error_kind"] != "tls" {
				t.Errorf("delivery: %v", got)
			}
		})
	})
}

// drip answers 200 and then a byte at a time without an end.
func drip(w http.ResponseWriter, r *http.Request, _ int) {
	for r.Context().Err() == nil {
		_, _ = w.Write([]byte("."))
		_ = http.NewResponseController(w).Flush()
		time.Sleep(100 * time.Millisecond)
	}
}

// TestRetryAfter wants a receiver's wish for a longer wait obeyed.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	d := deploy(t, sqlite, fast...)
	c := d.rest(d.serve("--dev"))
	r := newReceiver(t, func(w http.ResponseWriter, _ *http.Request, n int) {
		if n == 1 {
			w.Header().Set("Retry-After", "3")
			w.WriteHeader(http.StatusTooManyRequests)
		}
	})
	c.webhook(r.URL, "scan")
	c.scan(1)
	hits := r.wait(t, 2, 15*time.Second)
	if wait := hits[1].at.Sub(hits[0].at); wait < 2990*time.Millisecond {
		t.Errorf("retried after %v although Retry-After said 3 s", wait)
	}
}

// TestBlockedAddress wants the address judged at each send, whatever was allowed
// when the webhook was made.
func TestBlockedAddress(t *testing.T) {
	onBoth(t, func(t *testing.T, db database) {
		d := deploy(t, db, "TELLHOOK_RETRY_SCHEDULE=1s", "TELLHOOK_TIMEOUT=1s")
		s := d.serve("--dev")
		r := newReceiver(t, nil)
		d.rest(s).webhook(r.URL, "scan")
		d.rest(s).webhook(strings.Replace(r.URL, "127.0.0.1", "localhost", 1), "form_submit") // the same by its name
		s.terminate(t)

		c := d.rest(d.with("TELLHOOK_ALLOW_HTTP=true").serve())
		for _, event := range []string{"scan", "form_submit"} {
			if got := c.delivery(c.publish(event, sample(event)), "failed", 15*time.Second); got["last_error_kind"] != "blocked" {
				t.Errorf("delivery to loopback: %v", got)
			}
		}
		if n := len(r.all()); n != 0 {
			t.Errorf("a blocked address was connected to %d times", n)
		}
		for _, url := range []string{
			"https://127.0.0.1/", "https://10.0.0.1/", "https://[::1]/", "https://169.254.169.254/latest", "https://0x7f000001/",
			"https://2130706433/", "https://127.1/", "https://0177.0.0.1/", "https://[::ffff:127.0.0.1]/", "https://user:pw@example.com/", "https://example.com:0/",
		} {
			c.do("POST", "/api/v1/webhooks", object{"url": url, "events": []string{"scan"}}).problem(http.StatusBadRequest, "invalid", "url")
		}
	})
}

// sample is data that fits a built-in event type.
func sample(event string) object {
	switch event {
	case "scan", "first_scan":
		return object{"qr_code_id": 1}
	case "form_submit":
		return object{"landing_page_id": 1, "fields": object{}}
	case "file_download":
		return object{"shared_file_id": 1}
	}
	return object{"node_slug": "s", "node_id": "n"}
}
