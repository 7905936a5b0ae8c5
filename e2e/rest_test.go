package e2e

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestRESTShapes wants the objects of the contract, field by field.
func TestRESTShapes(t *testing.T) {
	onBoth(t, func(t *testing.T, db database) {
		d := deploy(t, db)
		c := d.rest(d.serve("--dev"))
		r := newReceiver(t, nil)

		a := c.do("POST", "/api/v1/webhooks", object{"url": r.URL, "events": []string{"scan"}, "description": "d", "metadata": object{"k": "v"}})
		w := a.ok(http.StatusCreated)
		d.secret("signing secret", str(w, "secret"))
		id := str(w, "id")
		if got := a.header.Get("Location"); !strings.HasSuffix(got, "/api/v1/webhooks/"+id) {
			t.Errorf("Location %q", got)
		}
		wantFields(t, "webhook", w, "id", "team_id", "kind", "url", "description", "events", "filter", "metadata", "status", "health", "failing_since",
			"consecutive_failures", "paused_reason", "headers", "rate_limit", "secret", "secret_hint", "created_at", "updated_at", "last_delivery_at", "dashboard_url")
		if w["kind"] != "webhook" || w["status"] != "active" || w["health"] != "healthy" || w["rate_limit"] != nil || w["paused_reason"] != nil {
			t.Errorf("new webhook: %v", w)
		}
		wantStamps(t, w, "created_at", "updated_at")
		if w := c.do("GET", "/api/v1/webhooks/"+id, nil).ok(http.StatusOK); w["secret"] != nil {
			t.Errorf("a webhook shows its secret again: %v", w)
		}

		e := c.do("POST", "/api/v1/events", object{"event": "scan", "data": object{"qr_code_id": "a"}}).ok(http.StatusAccepted)
		wantFields(t, "event", e, "id", "team_id", "event", "timestamp", "data", "idempotency_key", "created_at")
		wantStamps(t, e, "timestamp", "created_at")

		delivery := c.delivery(str(e, "id"), "succeeded", 10*time.Second)
		wantStamps(t, delivery, "created_at", "finished_at")
		rows := c.list("/api/v1/webhooks/" + id + "/deliveries")
		if len(rows) != 1 {
			t.Fatalf("deliveries of the webhook: %v", rows)
		}
		wantFields(t, "delivery", rows[0], "id", "team_id", "webhook_id", "event_id", "event", "status", "reason", "attempts", "max_attempts",
			"next_attempt_at", "last_status_code", "last_error_kind", "created_at", "finished_at", "dashboard_url")
		attempt := attemptsOf(delivery)[0]
		wantFields(t, "attempt", attempt, "id", "number", "started_at", "duration_ms", "phases", "status_code", "error_kind", "error",
			"response_headers", "response_body", "response_truncated", "remote_ip")
		wantStamps(t, attempt, "started_at")

		w = c.do("PUT", "/api/v1/webhooks/"+id, object{"description": "new", "events": []string{"*"}}).ok(http.StatusOK)
		if w["description"] != "new" || fmt.Sprint(w["events"]) != "[*]" || w["url"] != r.URL || fmt.Sprint(w["metadata"]) != "map[k:v]" {
			t.Errorf("an update has to leave other fields alone: %v", w)
		}
		if got := c.do("DELETE", "/api/v1/webhooks/"+id, nil); got.status != http.StatusNoContent || len(got.raw) != 0 {
			t.Errorf("DELETE: %d %q", got.status, got.raw)
		}
		c.do("GET", "/api/v1/webhooks/"+id, nil).problem(http.StatusNotFound, "not_found", "")
		if rows := c.list("/api/v1/deliveries?webhook_id=" + id); len(rows) != 1 {
			t.Errorf("deliveries of a deleted webhook stay readable; got %v", rows)
		}
		types := c.list("/api/v1/event-types")
		if !slices.ContainsFunc(types, func(o object) bool { return o["name"] == "scan.vcard_download" }) {
			t.Errorf("event types: %v", types)
		}
	})
}

func wantFields(t *testing.T, what string, got object, fields ...string) {
	t.Helper()
	for _, name := range fields {
		if _, ok := got[name]; !ok {
			t.Errorf("%s without %s: %v", what, name, got)
		}
	}
	for name := range got {
		if !slices.Contains(fields, name) {
			t.Errorf("%s with an unknown field %s: %v", what, name, got[name])
		}
	}
}

var stampForm = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`)

func wantStamps(t *testing.T, o object, fields ...string) {
	t.Helper()
	for _, name := range fields {
		if !stampForm.MatchString(str(o, name)) {
			t.Errorf("%s: %v is not RFC 3339 in UTC with milliseconds", name, o[name])
		}
	}
}

// TestRESTRefusals wants problem+json that names the fault, for every wrong door.
func TestRESTRefusals(t *testing.T) {
	onBoth(t, func(t *testing.T, db database) {
		d := deploy(t, db, "TELLHOOK_MAX_EVENT_BYTES=2000")
		c := d.rest(d.serve())
		hook := func(url string) object { return object{"url": url, "events": []string{"scan"}} }
		long := strings.Repeat("x", 3000)
		for _, call := range []struct {
			method, path string
			body         any
			header       string
			status       int
			code, field  string
		}{
			{"POST", "/webhooks", hook("http://example.com/"), "", 400, "invalid", "url"},
			{"POST", "/webhooks", hook("https://" + long + ".example/"), "", 400, "invalid", "url"},
			{"POST", "/webhooks", hook("javascript:alert(1)"), "", 400, "invalid", "url"},
			{"POST", "/webhooks", object{"url": "https://example.com/", "events": []string{}}, "", 400, "invalid", "events"},
			{"POST", "/webhooks", object{"url": "https://example.com/", "events": []string{"scan"}, "rate_limit": 0}, "", 400, "invalid", "rate_limit"},
			{"POST", "/webhooks", object{"url": "https://example.com/", "events": []string{"scan"}, "headers": object{"Host": "x"}}, "", 400, "invalid", ""},
			{"POST", "/webhooks", object{"url": "https://example.com/", "events": []string{"scan"}, "headers": object{"X-A": "a\r\nB: c"}}, "", 400, "invalid", ""},
			{"POST", "/webhooks", object{"url": "https://example.com/", "events": []string{"scan"}, "filter": object{"no_such_field": 1}}, "", 400, "invalid", ""},
			{"POST", "/webhooks", `{"url":`, "", 400, "invalid", ""},
			{"POST", "/webhooks", `[]`, "", 400, "invalid", ""},
			{"POST", "/webhooks", `{"url":"https://a.example/","url":"https://b.example/","events":["scan"]}`, "", 400, "invalid", ""},
			{"POST", "/webhooks", `url=https://example.com/`, "Content-Type: application/x-www-form-urlencoded", 415, "unsupported", ""},
			{"POST", "/events", object{"event": "scan", "data": object{"qr_code_id": 1}, "extra": true}, "", 400, "invalid", "extra"},
			{"POST", "/events", object{"event": "scan", "data": []int{1}}, "", 400, "invalid", "data"},
			{"POST", "/events", object{"event": "scan", "data": object{}}, "", 400, "invalid", ""},
			{"POST", "/events", object{"event": "nope", "data": object{}}, "", 400, "invalid", "event"},
			{"POST", "/events", object{"event": "webhook.failing", "data": object{}}, "", 400, "invalid", "event"},
			{"POST", "/events", object{"event": "scan", "data": object{"qr_code_id": 1}, "event_id": "no spaces"}, "", 400, "invalid", "event_id"},
			{"POST", "/events", object{"event": "scan", "data": object{"qr_code_id": 1}, "timestamp": "yesterday"}, "", 400, "invalid", "timestamp"},
			{"POST", "/events", object{"event": "scan", "data": object{"qr_code_id": long}}, "", 413, "too_large", ""},
			{"GET", "/events?since=tomorrow", nil, "", 400, "invalid", "since"},
			{"GET", "/deliveries?status=lost", nil, "", 400, "invalid", "status"},
			{"GET", "/webhooks?limit=0", nil, "", 400, "invalid", "limit"},
			{"GET", "/webhooks?limit=many", nil, "", 400, "invalid", "limit"},
			{"GET", "/webhooks?cursor=x", nil, "", 400, "invalid", "cursor"},
			{"GET", "/webhooks?colour=red", nil, "", 400, "invalid", "colour"},
			{"GET", "/webhooks/whk_none", nil, "", 404, "not_found", ""},
			{"GET", "/deliveries/dlv_none", nil, "", 404, "not_found", ""},
			{"GET", "/nothing/here", nil, "", 404, "not_found", ""},
			{"PATCH", "/webhooks", object{}, "", 405, "", ""},
			{"GET", "/webhooks", nil, "Authorization: Bearer thk_wrong", 401, "unauthenticated", ""},
			{"GET", "/webhooks", nil, "Authorization: Basic dXNlcjpwdw==", 401, "unauthenticated", ""},
		} {
			var headers []string
			if call.header != "" {
				headers = []string{call.header}
			}
			a := c.do(call.method, "/api/v1"+call.path, call.body, headers...)
			if call.status == http.StatusMethodNotAllowed {
				if a.status != call.status || a.header.Get("Allow") == "" || !strings.HasPrefix(a.header.Get("Content-Type"), "application/problem+json") {
					t.Errorf("%s: %d, Allow %q, %s", a.call, a.status, a.header.Get("Allow"), a.raw)
				}
				continue
			}
			p := a.problem(call.status, call.code, call.field)
			if call.status == http.StatusUnauthorized && a.header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s: 401 without WWW-Authenticate", a.call)
			}
			if strings.Contains(str(p, "detail"), "store.") || strings.Contains(str(p, "detail"), ".go:") {
				t.Errorf("%s: the words are the program's own: %v", a.call, p)
			}
		}
		if rows := append(c.list("/api/v1/webhooks"), c.list("/api/v1/events")...); len(rows) != 0 {
			t.Errorf("refused calls left rows behind: %v", rows)
		}
		reader := c.as(d.newKey("default", "webhooks:read", ""))
		reader.do("POST", "/api/v1/webhooks", hook("https://example.com/")).problem(http.StatusForbidden, "forbidden", "")
		reader.do("POST", "/api/v1/events", object{"event": "scan", "data": object{"qr_code_id": 1}}).problem(http.StatusForbidden, "forbidden", "")
	})
}

// TestPaging wants every row once, newest first, over pages.
func TestPaging(t *testing.T) {
	onBoth(t, func(t *testing.T, db database) {
		d := deploy(t, db)
		c := d.rest(d.serve())
		var want []string
		for i := range 7 {
			want = append(want, c.publish("scan.created", object{"node_slug": "s", "node_id": fmt.Sprint(i)}))
		}
		slices.Reverse(want)
		var got []string
		pages := 0
		for cursor := ""; ; pages++ {
			page := c.do("GET", "/api/v1/events?limit=3"+cursor, nil).ok(http.StatusOK)
			for _, row := range arr(page, "data") {
				got = append(got, str(asObject(row), "id"))
			}
			if page["next_cursor"] == nil {
				break
			}
			if pages == 0 { // an event that comes meanwhile must not shift the pages
				c.publish("scan.created", object{"node_slug": "s", "node_id": "late"})
			}
			cursor = "&cursor=" + str(page, "next_cursor")
		}
		if !slices.Equal(got, want) || pages != 2 {
			t.Errorf("%d pages:\ngot  %v\nwant %v", pages+1, got, want)
		}
	})
}

// TestIdempotency wants a repeated request to be the same request.
func TestIdempotency(t *testing.T) {
	onBoth(t, func(t *testing.T, db database) {
		d := deploy(t, db)
		c := d.rest(d.serve("--dev"))
		r := newReceiver(t, nil)
		const key = "Idempotency-Key: k1"

		hook := object{"url": r.URL, "events": []string{"scan"}}
		first := c.do("POST", "/api/v1/webhooks", hook, key).ok(http.StatusCreated)
		d.secret("signing secret", str(first, "secret"))
		again := c.do("POST", "/api/v1/webhooks", hook, key).ok(http.StatusCreated)
		if again["id"] != first["id"] || again["secret"] != nil || first["secret"] == nil {
			t.Errorf("repeated creation: %v after %v; want the same id, without the secret", again, first)
		}
		c.do("POST", "/api/v1/webhooks", object{"url": r.URL, "events": []string{"*"}}, key).problem(422, "conflict", "idempotency_key")

		scan := object{"event": "scan", "data": object{"qr_code_id": 1}}
		e1 := c.do("POST", "/api/v1/events", scan, key).ok(http.StatusAccepted)
		e2 := c.do("POST", "/api/v1/events", scan, key).ok(http.StatusAccepted)
		if e1["id"] != e2["id"] || e1["idempotency_key"] != "k1" {
			t.Errorf("repeated publish: %v after %v", e2, e1)
		}
		c.do("POST", "/api/v1/events", object{"event": "scan", "data": object{"qr_code_id": 2}}, key).problem(422, "conflict", "idempotency_key")

		own := object{"event": "scan", "data": object{"qr_code_id": 3}, "event_id": "mine"}
		c.do("POST", "/api/v1/events", own).ok(http.StatusAccepted)
		c.do("POST", "/api/v1/events", own).ok(http.StatusAccepted)
		own["data"] = object{"qr_code_id": 4}
		c.do("POST", "/api/v1/events", own).problem(http.StatusConflict, "conflict", "event_id")

		r.wait(t, 2, 10*time.Second)
		time.Sleep(300 * time.Millisecond)
		if hits := r.all(); len(hits) != 2 {
			t.Errorf("%d requests for two events", len(hits))
		}
	})
}

// TestFirstScan wants one first_scan for each code, whatever runs at the same time.
func TestFirstScan(t *testing.T) {
	onBoth(t, func(t *testing.T, db database) {
		d := deploy(t, db)
		s := d.serve("--dev")
		clients := []*rest{d.rest(s), d.rest(s)}
		if db == postgres {
			clients[1] = d.rest(d.serve("--dev"))
		}
		r := newReceiver(t, nil)
		clients[0].webhook(r.URL, "first_scan")
		const codes, scans = 4, 6
		failed := make(chan error, codes*scans)
		for i := range codes * scans {
			go func() {
				a, err := clients[i%2].try("POST", "/api/v1/events", object{"event": "scan", "data": object{"qr_code_id": i % codes, "scan_id": i}})
				if err == nil && a.status != http.StatusAccepted {
					err = fmt.Errorf("status %d: %s", a.status, a.raw)
				}
				failed <- err
			}()
		}
		for range codes * scans {
			if err := <-failed; err != nil {
				t.Error(err)
			}
		}
		r.wait(t, codes, 10*time.Second)
		time.Sleep(300 * time.Millisecond)
		seen := map[string]int{}
		for _, h := range r.all() {
			seen[regexp.MustCompile(`"qr_code_id":\d+`).FindString(string(h.event.Data))]++
		}
		if rows := clients[0].list("/api/v1/events?event=first_scan"); len(rows) != codes || len(seen) != codes || len(r.all()) != codes {
			t.Errorf("%d first_scan events, deliveries %v; want one for each of %d codes", len(rows), seen, codes)
		}
	})
}
