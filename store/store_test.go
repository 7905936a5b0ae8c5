package store

import (
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestIDsSortByTime(t *testing.T) {
	var ids []string
	for range 5 {
		ids = append(ids, NewID(PrefixEvent))
		time.Sleep(2 * time.Millisecond)
	}
	if !slices.IsSorted(ids) {
		t.Errorf("ids made one after another do not sort: %v", ids)
	}
	if form := regexp.MustCompile(`^evt_[0-9a-v]{26}$`); !form.MatchString(ids[0]) {
		t.Errorf("id %q has not the form %s", ids[0], form)
	}
}

func TestKeySecret(t *testing.T) {
	form := regexp.MustCompile(`^thk_[0-9A-Za-z]{43}$`)
	seen := map[string]bool{}
	for range 200 {
		key := NewKeySecret()
		if !form.MatchString(key) || seen[key] {
			t.Fatalf("key of wrong form, or twice: %q", key)
		}
		seen[key] = true
	}
	if got := KeyPrefix("thk_abcdefghijkl"); got != "thk_abcdefgh" {
		t.Errorf("KeyPrefix = %q", got)
	}
}

func TestAdminHasEveryScope(t *testing.T) {
	admin, reader := &APIKey{Scopes: []Scope{ScopeAdmin}}, &APIKey{Scopes: []Scope{ScopeWebhooksRead}}
	for _, s := range Scopes() {
		if !admin.Has(s) {
			t.Errorf("admin lacks %s", s)
		}
		if reader.Has(s) != (s == ScopeWebhooksRead) {
			t.Errorf("reader has %s: %v", s, reader.Has(s))
		}
	}
}

func TestKeyUsable(t *testing.T) {
	now := time.Now()
	later, earlier := now.Add(time.Second), now.Add(-time.Second)
	for _, c := range []struct {
		name string
		key  APIKey
		want bool
	}{
		{"plain", APIKey{}, true},
		{"expires later", APIKey{ExpiresAt: &later}, true},
		{"expires now", APIKey{ExpiresAt: &now}, false},
		{"expired", APIKey{ExpiresAt: &earlier}, false},
		{"revoked", APIKey{RevokedAt: &earlier}, false},
	} {
		if got := c.key.Usable(now); got != c.want {
			t.Errorf("%s: Usable = %v", c.name, got)
		}
	}
}

func TestCodeOf(t *testing.T) {
	cause := errors.New("disk on fire")
	wrapped := fmt.Errorf("deep: %w", &Error{Code: CodeConflict, Message: "taken", Err: cause})
	for _, c := range []struct {
		err  error
		want Code
	}{{nil, ""}, {cause, CodeInternal}, {wrapped, CodeConflict}} {
		if got := CodeOf(c.err); got != c.want {
			t.Errorf("CodeOf(%v) = %q, want %q", c.err, got, c.want)
		}
	}
	if !errors.Is(wrapped, cause) {
		t.Error("the cause is lost")
	}
}

func TestPages(t *testing.T) {
	all := []string{"e", "d", "c", "b", "a"}
	key := func(s *string) string { return *s }
	var seen []string
	page := Page{Limit: 2}
	for {
		after, err := page.Position("letters")
		if err != nil {
			t.Fatal(err)
		}
		var rows []string // what a store would read: one row more than the page holds
		for _, s := range all {
			if (after == "" || s < after) && len(rows) <= page.Rows() {
				rows = append(rows, s)
			}
		}
		list := PageOf(page, "letters", rows, key)
		seen = append(seen, list.Data...)
		if page.Cursor = list.NextCursor; page.Cursor == "" {
			break
		}
		if _, err := page.Position("numbers"); CodeOf(err) != CodeInvalid {
			t.Errorf("a cursor of another list passed: %v", err)
		}
	}
	if !slices.Equal(seen, all) {
		t.Errorf("paging saw %v", seen)
	}
	for _, bad := range []string{"!", "bGV0dGVyczo", base64.RawURLEncoding.EncodeToString([]byte("letters:\xff")), strings.Repeat("A", 500)} {
		_, err := Page{Cursor: bad}.Position("letters")
		var e *Error
		if !errors.As(err, &e) || e.Code != CodeInvalid || e.Field != "cursor" {
			t.Errorf("cursor %q: %v", bad, err)
		}
	}
	if list := PageOf(page, "letters", nil, key); list.Data == nil {
		t.Error("an empty page has nil data")
	}
}

func TestObserve(t *testing.T) {
	now := time.Now()
	w := &Webhook{Health: HealthHealthy, Status: StatusActive}
	outcomes := []struct {
		succeeded bool
		changed   bool
		health    WebhookHealth
		failures  int
	}{
		{false, false, HealthHealthy, 1},
		{false, false, HealthHealthy, 2},
		{true, false, HealthHealthy, 0},
		{false, false, HealthHealthy, 1},
		{false, false, HealthHealthy, 2},
		{false, true, HealthFailing, 3},
		{false, false, HealthFailing, 4},
		{true, true, HealthHealthy, 0},
	}
	for i, o := range outcomes {
		r := &Result{Attempt: Attempt{StartedAt: now, Duration: time.Second}}
		if !o.succeeded {
			r.Attempt.ErrorKind = ErrorStatus
		}
		changed := w.Observe(r)
		if changed != o.changed || w.Health != o.health || w.ConsecutiveFailures != o.failures ||
			(w.FailingSince != nil) != (o.health == HealthFailing) {
			t.Errorf("after outcome %d: changed %v, %+v", i, changed, w)
		}
	}
	if !w.LastDeliveryAt.Equal(now.Add(time.Second).Truncate(time.Microsecond)) {
		t.Errorf("LastDeliveryAt = %v, want the attempt's end", w.LastDeliveryAt)
	}
}

func TestObserveGone(t *testing.T) {
	gone := &Result{Attempt: Attempt{ErrorKind: ErrorStatus}, Gone: true}
	active := &Webhook{Health: HealthHealthy, Status: StatusActive}
	if !active.Observe(gone) || active.Status != StatusPaused || active.PausedReason != PausedGone {
		t.Errorf("410 did not pause: %+v", active)
	}
	held := &Webhook{Health: HealthHealthy, Status: StatusPaused, PausedReason: PausedByOperator}
	if held.Observe(gone) || held.PausedReason != PausedByOperator {
		t.Errorf("410 took over the operator's pause: %+v", held)
	}
}

func TestMaxAttempts(t *testing.T) {
	const retries = 3
	for _, c := range []struct {
		name string
		d    Delivery
		want int
	}{
		{"new", Delivery{}, 4},
		{"first in flight", Delivery{Attempts: 1, InFlight: true}, 4},
		{"two failed", Delivery{Attempts: 2, Step: 2}, 4},
		{"one lost", Delivery{Attempts: 1}, 5},
		{"exhausted", Delivery{Attempts: 4, Step: 4}, 4},
		{"retried by hand", Delivery{Attempts: 4}, 8},
	} {
		if got := c.d.MaxAttempts(retries); got != c.want {
			t.Errorf("%s: MaxAttempts = %d, want %d", c.name, got, c.want)
		}
	}
}

func TestEventBody(t *testing.T) {
	e := Event{
		ID: "evt_1", Type: "scan", Data: []byte(`{"b":12345678901234567890,"a":"<é>"}`),
		Timestamp: time.Date(2026, 2, 9, 15, 30, 0, 0, time.FixedZone("CET", 3600)),
	}
	want := `{"event":"scan","event_id":"evt_1","timestamp":"2026-02-09T14:30:00.000Z","data":{"b":12345678901234567890,"a":"<é>"}}`
	if got := string(e.Body()); got != want {
		t.Errorf("Body = %s\nwant   %s", got, want)
	}
}

func TestSameContent(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 5_000_000, time.UTC)
	e := &Event{Type: "scan", Data: []byte(`{"n":1}`), Timestamp: at}
	for _, c := range []struct {
		name string
		p    Publish
		want bool
	}{
		{"same", Publish{Type: "scan", Data: []byte(`{"n":1}`), Timestamp: at}, true},
		{"time left open", Publish{Type: "scan", Data: []byte(`{"n":1}`)}, true},
		{"below a millisecond", Publish{Type: "scan", Data: []byte(`{"n":1}`), Timestamp: at.Add(time.Microsecond)}, true},
		{"other time", Publish{Type: "scan", Data: []byte(`{"n":1}`), Timestamp: at.Add(time.Second)}, false},
		{"other data", Publish{Type: "scan", Data: []byte(`{"n":2}`)}, false},
		{"other type", Publish{Type: "first_scan", Data: []byte(`{"n":1}`)}, false},
	} {
		if got := c.p.SameContent(e); got != c.want {
			t.Errorf("%s: SameContent = %v", c.name, got)
		}
	}
	a, b := Publish{Type: "a", ID: "bc"}, Publish{Type: "ab", ID: "c"}
	if string(a.Fingerprint()) == string(b.Fingerprint()) {
		t.Error("two requests share a fingerprint")
	}
}

func TestNearest(t *testing.T) {
	known := []string{"scan", "scan.created", "form_submit"}
	for name, want := range map[string]string{
		"scam": "scan", "scan.create": "scan.created", "form-submit": "form_submit", "": "", "webhook": "", "x": "", strings.Repeat("s", 1<<20): "",
	} {
		if got := Nearest(name, known); got != want {
			t.Errorf("Nearest(%.20q) = %q, want %q", name, got, want)
		}
	}
}
