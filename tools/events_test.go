package tools

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tellhook/tellhook/schemas"
	"github.com/tellhook/tellhook/store"
)

func TestPublishEvent(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	hookID := f.createWebhook(hook)
	a := f.call(http.MethodPost, "/events", `{"event":"scan.created","timestamp":"2026-02-09T16:30:00.0009+02:00",
		"data":{"node_slug":"o1ulpplq","node_id":"n"},"event_id":"evt_a1b2c3d4"}`, "Idempotency-Key", "k1")
	e := a.ok(http.StatusAccepted)
	if got := a.header.Get("Location"); got != "/api/v1/events/evt_a1b2c3d4" {
		t.Errorf("Location %q", got)
	}
	want := map[string]any{
		"id": "evt_a1b2c3d4", "team_id": f.team.ID, "event": "scan.created", "timestamp": "2026-02-09T14:30:00.000Z",
		"data": map[string]any{"node_slug": "o1ulpplq", "node_id": "n"}, "idempotency_key": "k1", "created_at": e["created_at"],
	}
	if diff := cmp.Diff(want, e); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
	read := f.call(http.MethodGet, strings.TrimPrefix(a.header.Get("Location"), "/api/v1"), "").ok(http.StatusOK)
	deliveries := read["deliveries"].([]any)
	if len(deliveries) != 1 || deliveries[0].(map[string]any)["webhook_id"] != hookID {
		t.Errorf("deliveries %v", deliveries)
	}
	f.call(http.MethodGet, "/events/evt_none", "").problem(http.StatusNotFound, store.CodeNotFound, "id", "list_events")
}

// TestDataIsKept publishes data that a decoder would change, and reads the
// bytes back from the answer, the store and the list.
func TestDataIsKept(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const data = `{"qr_code_id":12345678901234567890123,"a":1.0,"b":1E+30,"html":"<b>&amp;</b>  two spaces","esc":"\u00e9\u2028\/","é":"` + "\u2028" + `","z":[1, 2 ,{"y": null}],"fields":{ "b":1,"a":2}}`
	var compact bytes.Buffer
	if err := json.Compact(&compact, []byte(data)); err != nil {
		t.Fatal(err)
	}
	a := f.call(http.MethodPost, "/events", "{\n \"data\" : "+data+" , \"event\":\"scan\"}")
	a.ok(http.StatusAccepted)
	stored, err := f.store.GetEvent(t.Context(), f.team.ID, a.body["id"].(string))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(compact.String(), string(stored.Data)); diff != "" {
		t.Errorf("stored data:\n%s", diff)
	}
	for where, raw := range map[string][]byte{"answer": a.raw, "list": f.call(http.MethodGet, "/events?event=scan", "").raw} {
		if !bytes.Contains(raw, compact.Bytes()) {
			t.Errorf("%s holds other bytes: %s", where, raw)
		}
	}
}

func TestPublishEventRefuses(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for name, tc := range map[string]struct {
		body, field string
		words       []string
	}{
		"no event":     {`{"data":{}}`, "event", []string{"required"}},
		"no data":      {`{"event":"scan"}`, "data", []string{"required"}},
		"data array":   {`{"event":"scan","data":[1]}`, "data", []string{"an array", "an object"}},
		"data null":    {`{"event":"scan","data":null}`, "data", []string{"null", "an object"}},
		"unknown type": {`{"event":"scam","data":{}}`, "event", []string{`did you mean "scan"`, "form_submit"}},
		"test":         {`{"event":"test","data":{"test":true}}`, "event", []string{"reserved", "scan.created"}},
		"operational":  {`{"event":"webhook.failing","data":{}}`, "event", []string{"reserved"}},
		"field kind":   {`{"event":"scan","data":{"qr_code_id":true}}`, "data.qr_code_id", []string{"got true", "an integer or a string", "scan"}},
		"deep":         {`{"event":"scan","data":{"qr_code_id":1,"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}}`, "data", []string{"100 levels"}},
		"wild number":  {`{"event":"scan","data":{"qr_code_id":1,"x":[1e-2000000]}}`, "data", []string{"1e-2000000"}},
		"long number":  {`{"event":"scan","data":{"qr_code_id":` + strings.Repeat("9", 500) + `}}`, "data", []string{"999"}},
		"fraction":     {`{"event":"scan","data":{"qr_code_id":1.5}}`, "data.qr_code_id", []string{"1.5"}},
		"missing":      {`{"event":"scan.created","data":{"node_slug":"x"}}`, "data.node_id", []string{"missing", "a string", "node_abc123"}},
		"not null":     {`{"event":"form_submit","data":{"landing_page_id":1,"fields":null}}`, "data.fields", []string{"null", "an object"}},
		"first fault":  {`{"event":"scan","data":{"qr_code_id":1,"utm_term":1,"country":2,"device":3}}`, "data.country", nil},
		"time":         {`{"event":"scan","data":{"qr_code_id":1},"timestamp":"yesterday"}`, "timestamp", []string{"RFC 3339"}},
		"leap second":  {`{"event":"scan","data":{"qr_code_id":1},"timestamp":"2016-12-31T23:59:60Z"}`, "timestamp", []string{"RFC 3339"}},
		"year 10000":   {`{"event":"scan","data":{"qr_code_id":1},"timestamp":"9999-12-31T23:59:59-14:00"}`, "timestamp", []string{"1970 to 9999"}},
		"event_id":     {`{"event":"scan","data":{"qr_code_id":1},"event_id":"a b"}`, "event_id", []string{"letters, digits"}},
		"long id":      {`{"event":"scan","data":{"qr_code_id":1},"event_id":"` + strings.Repeat("x", 65) + `"}`, "event_id", []string{"65", "64"}},
		"twice":        {`{"event":"scan","event":"scan","data":{"qr_code_id":1}}`, "event", []string{"twice"}},
		"twice inside": {`{"event":"scan","data":{"qr_code_id":1,"x":[{"a":1,"\u0061":2}]}}`, "data.x.a", []string{"twice"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := *f
			f.T = t
			f.call(http.MethodPost, "/events", tc.body).problem(http.StatusBadRequest, store.CodeInvalid, tc.field, tc.words...)
		})
	}
	if all := f.call(http.MethodGet, "/events", "").ok(http.StatusOK)["data"].([]any); len(all) != 0 {
		t.Errorf("%d events came of refused calls", len(all))
	}
}

func TestPublishEventSize(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	event := func(size int) string { // size of the data as it is stored
		data := `{"qr_code_id":1,"x":"` + strings.Repeat("x", size-len(`{"qr_code_id":1,"x":""}`)) + `"}`
		return `{"event":"scan",` + strings.Repeat(" ", 1000) + `"data":` + data + `}`
	}
	f.call(http.MethodPost, "/events", event(DefaultMaxEventBytes)).ok(http.StatusAccepted)
	f.call(http.MethodPost, "/events", event(DefaultMaxEventBytes+1)).
		problem(http.StatusRequestEntityTooLarge, store.CodeTooLarge, "data", strconv.Itoa(DefaultMaxEventBytes))
	f.call(http.MethodPost, "/events", event(2<<20)).problem(http.StatusRequestEntityTooLarge, store.CodeTooLarge, "")
}

func TestPublishEventRepeats(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const body, other = `{"event":"scan","data":{"qr_code_id":1}}`, `{"event":"scan","data":{"qr_code_id":2}}`
	first := f.call(http.MethodPost, "/events", body, "Idempotency-Key", "k").ok(http.StatusAccepted)
	if again := f.call(http.MethodPost, "/events", body, "Idempotency-Key", "k").ok(http.StatusAccepted); again["id"] != first["id"] {
		t.Errorf("a repeat got id %v, want %v", again["id"], first["id"])
	}
	f.call(http.MethodPost, "/events", other, "Idempotency-Key", "k").
		problem(http.StatusUnprocessableEntity, store.CodeConflict, "idempotency_key")

	const mine = `{"event":"scan","event_id":"my-1","data":{"qr_code_id":1}}`
	f.call(http.MethodPost, "/events", mine).ok(http.StatusAccepted)
	f.call(http.MethodPost, "/events", mine).ok(http.StatusAccepted)
	f.call(http.MethodPost, "/events", strings.Replace(mine, ":1}", ":3}", 1)).problem(http.StatusConflict, store.CodeConflict, "event_id")
}

func TestEveryExampleCanBePublished(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, e := range schemas.Events() {
		a := f.call(http.MethodPost, "/events", `{"event":"`+e.Name+`","data":`+string(e.Example)+`}`)
		if want := map[bool]int{false: http.StatusAccepted, true: http.StatusBadRequest}[e.Reserved]; a.status != want {
			t.Errorf("%s: status %d, want %d: %s", e.Name, a.status, want, a.raw)
		}
	}
}

func TestListEvents(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for i, at := range []string{"2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"} {
		f.call(http.MethodPost, "/events", `{"event":"file_download","event_id":"e`+strconv.Itoa(i)+`","timestamp":"`+at+`","data":{"shared_file_id":1}}`).ok(http.StatusAccepted)
	}
	for query, want := range map[string][]string{
		"":                            {"e2", "e1", "e0"},
		"?limit=1":                    {"e2"},
		"?event=scan":                 {},
		"?since=2026-01-02T00:00:00Z": {"e2", "e1"},
		"?until=2026-01-02T01:00:00%2B01:00&event=file_download": {"e0"},
	} {
		got := []string{}
		for _, e := range f.call(http.MethodGet, "/events"+query, "").ok(http.StatusOK)["data"].([]any) {
			got = append(got, e.(map[string]any)["id"].(string))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", query, diff)
		}
	}
	f.call(http.MethodGet, "/events?since=now", "").problem(http.StatusBadRequest, store.CodeInvalid, "since", "RFC 3339")
}

func TestDeliveries(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	hookID := f.createWebhook(`{"url":"https://example.com","events":["scan"]}`)
	event := f.publish()
	claims, err := f.store.ClaimDeliveries(t.Context(), 10, time.Minute, nil)
	if err != nil || len(claims) != 1 {
		t.Fatalf("%d claims, %v", len(claims), err)
	}
	if _, err := f.store.RecordAttempts(t.Context(), []store.Result{{
		Attempt: store.Attempt{
			ID: store.NewID(store.PrefixAttempt), DeliveryID: claims[0].Delivery.ID, Number: 1, StartedAt: time.Now(),
			Duration: 1200 * time.Microsecond, Phases: store.Phases{FirstByte: time.Microsecond}, StatusCode: new(503),
			ErrorKind: store.ErrorStatus, Error: "503", ResponseHeaders: map[string][]string{"Retry-After": {"5"}}, ResponseBody: []byte("no\xff"),
		},
		Status: store.DeliveryPending, RetryIn: time.Minute,
	}}); err != nil {
		t.Fatal(err)
	}
	id := claims[0].Delivery.ID
	for _, path := range []string{"/deliveries", "/deliveries?webhook_id=" + hookID + "&status=pending&event=scan&event_id=" + event, "/webhooks/" + hookID + "/deliveries?limit=5"} {
		rows := f.call(http.MethodGet, path, "").ok(http.StatusOK)["data"].([]any)
		if len(rows) != 1 {
			t.Fatalf("%s: %d rows", path, len(rows))
		}
		got := rows[0].(map[string]any)
		want := map[string]any{
			"id": id, "team_id": f.team.ID, "webhook_id": hookID, "event_id": event, "event": "scan", "status": "pending", "reason": nil,
			"attempts": 1.0, "max_attempts": 4.0, "next_attempt_at": got["next_attempt_at"], "last_status_code": 503.0, "last_error_kind": "status",
			"created_at": got["created_at"], "finished_at": nil, "dashboard_url": "https://tellhook.example/deliveries/" + id,
		}
		if diff := cmp.Diff(want, got); diff != "" || got["next_attempt_at"] == nil {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
	for _, path := range []string{"/deliveries?status=failed", "/deliveries?webhook_id=whk_none", "/deliveries?since=2999-01-01T00:00:00Z"} {
		if rows := f.call(http.MethodGet, path, "").ok(http.StatusOK)["data"].([]any); len(rows) != 0 {
			t.Errorf("%s: %d rows", path, len(rows))
		}
	}
	f.call(http.MethodGet, "/webhooks/whk_none/deliveries", "").problem(http.StatusNotFound, store.CodeNotFound, "id", "whk_none", "list_webhooks")
	f.call(http.MethodGet, "/webhooks/"+hookID+"/deliveries?webhook_id=x", "").problem(http.StatusBadRequest, store.CodeInvalid, "webhook_id")

	attempts := f.call(http.MethodGet, "/deliveries/"+id, "").ok(http.StatusOK)["attempts"].([]any)
	got := attempts[0].(map[string]any)
	want := map[string]any{
		"id": got["id"], "number": 1.0, "started_at": got["started_at"], "duration_ms": 2.0,
		"phases":      map[string]any{"dns_ms": nil, "connect_ms": nil, "tls_ms": nil, "first_byte_ms": 1.0},
		"status_code": 503.0, "error_kind": "status", "error": "503", "response_headers": map[string]any{"Retry-After": []any{"5"}},
		"response_body": "no\uFFFD", "response_truncated": false, "remote_ip": nil,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("attempt (-want +got):\n%s", diff)
	}
	f.call(http.MethodGet, "/deliveries/dlv_none", "").problem(http.StatusNotFound, store.CodeNotFound, "id", "list_deliveries")
}

func TestListEventTypes(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var names []string
	for path := "/event-types?limit=5"; path != ""; {
		page := f.call(http.MethodGet, path, "").ok(http.StatusOK)
		for _, e := range page["data"].([]any) {
			e := e.(map[string]any)
			names = append(names, e["name"].(string))
			if e["schema"].(map[string]any)["type"] != "object" || e["example"] == nil || e["publishable"] != publishable(f.tools.types.byName[e["name"].(string)]) {
				t.Errorf("%v", e)
			}
		}
		path = ""
		if cursor, ok := page["next_cursor"].(string); ok {
			path = "/event-types?limit=5&cursor=" + cursor
		}
	}
	if diff := cmp.Diff(f.tools.types.names(anyType), names); diff != "" || len(names) != len(schemas.Events()) {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

func TestBuiltinTypesCanBeNarrowed(t *testing.T) {
	t.Parallel()
	c, err := newCatalogue([]string{"scan", "file_download"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"scan", "file_download"}, c.names(publishable)); diff != "" {
		t.Error(diff)
	}
	if _, err := newCatalogue([]string{"scan", "scam"}); err == nil || !strings.Contains(err.Error(), "scam") {
		t.Errorf("an unknown type: %v", err)
	}
}
