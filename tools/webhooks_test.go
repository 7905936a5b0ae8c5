package tools

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tellhook/tellhook/store"
)

func TestCreateWebhook(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.call(http.MethodPost, "/webhooks", `{"url":"https://EXAMPLE.com:443/hooks","events":["scan","first_scan"],
		"filter":{"country":["CH","AT"],"qr_code_id":42},"description":"shop","metadata":{"a":"b"},
		"headers":{"X-Api-Key":"secret-token-1234","X-Short":"abc"}}`)
	w := a.ok(http.StatusCreated)
	if got, want := a.header.Get("Location"), "/api/v1/webhooks/"+w["id"].(string); got != want {
		t.Errorf("Location %q, want %q", got, want)
	}
	secret, _ := w["secret"].(string)
	if !strings.HasPrefix(secret, "whsec_") || w["secret_hint"] != secret[len(secret)-4:] {
		t.Errorf("secret %q, hint %v", secret, w["secret_hint"])
	}
	want := map[string]any{
		"team_id": f.team.ID, "kind": "webhook", "url": "https://example.com/hooks", "description": "shop",
		"events": []any{"scan", "first_scan"}, "filter": map[string]any{"country": []any{"CH", "AT"}, "qr_code_id": float64(42)},
		"metadata": map[string]any{"a": "b"}, "status": "active", "health": "healthy", "failing_since": nil,
		"consecutive_failures": float64(0), "paused_reason": nil, "rate_limit": nil, "last_delivery_at": nil,
		"headers":       map[string]any{"X-Api-Key": "****1234", "X-Short": "****"},
		"dashboard_url": "https://tellhook.example/webhooks/" + w["id"].(string),
	}
	for _, name := range []string{"id", "secret", "secret_hint", "created_at", "updated_at"} {
		if w[name] == nil {
			t.Errorf("%s is missing", name)
		}
	}
	got := maps.Clone(w)
	maps.DeleteFunc(got, func(name string, _ any) bool {
		return slices.Contains([]string{"id", "secret", "secret_hint", "created_at", "updated_at"}, name)
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("webhook (-want +got):\n%s", diff)
	}

	read := f.call(http.MethodGet, "/webhooks/"+w["id"].(string), "").ok(http.StatusOK)
	if _, shown := read["secret"]; shown {
		t.Error("the secret is shown again")
	}
	stored, err := f.store.GetWebhook(t.Context(), f.team.ID, w["id"].(string))
	if err != nil || stored.Secrets[0].Value != secret || stored.Headers["X-Api-Key"] != "secret-token-1234" {
		t.Errorf("stored %+v, %v", stored, err)
	}
}

func TestCreateWebhookDefaults(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := f.call(http.MethodPost, "/webhooks", `{"url":"https://example.com","events":["*"],"description":null,"filter":null,
		"metadata":null,"headers":null,"secret":"my-own-secret","status":"paused"}`).ok(http.StatusCreated)
	for name, want := range map[string]any{
		"description": nil, "filter": nil, "metadata": map[string]any{}, "headers": map[string]any{},
		"secret": "my-own-secret", "secret_hint": "cret", "status": "paused", "paused_reason": "owner",
	} {
		if diff := cmp.Diff(want, w[name]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestCreateWebhookRefuses(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	long := strings.Repeat("x", 501)
	for name, tc := range map[string]struct {
		body, field string
		words       []string
	}{
		"no url":           {`{"events":["scan"]}`, "url", []string{"required", "https://example.com/hooks"}},
		"http":             {`{"url":"http://example.com","events":["scan"]}`, "url", []string{"https"}},
		"loopback":         {`{"url":"https://127.0.0.1","events":["scan"]}`, "url", nil},
		"url kind":         {`{"url":7,"events":["scan"]}`, "url", []string{"the number 7", "a string"}},
		"no events":        {`{"url":"https://example.com"}`, "events", []string{"required"}},
		"empty events":     {`{"url":"https://example.com","events":[]}`, "events", []string{"at least 1"}},
		"unknown event":    {`{"url":"https://example.com","events":["scan","scan.creatd"]}`, "events[1]", []string{`did you mean "scan.created"`, "form_submit"}},
		"event kind":       {`{"url":"https://example.com","events":[4]}`, "events[0]", []string{"a string"}},
		"events as text":   {`{"url":"https://example.com","events":"scan"}`, "events", []string{"an array"}},
		"twice":            {`{"url":"https://example.com","events":["scan","scan"]}`, "events", []string{"the same"}},
		"prefix of none":   {`{"url":"https://example.com","events":["sale.*"]}`, "events[0]", []string{"no event type begins"}},
		"prefix form":      {`{"url":"https://example.com","events":["sca*"]}`, "events[0]", []string{`"scan.*"`}},
		"filter field":     {`{"url":"https://example.com","events":["scan"],"filter":{"node_slug":"x"}}`, "filter.node_slug", []string{"qr_code_id (an integer or a string)", "country"}},
		"filter type":      {`{"url":"https://example.com","events":["scan"],"filter":{"country":42}}`, "filter.country", []string{"the number 42", "a string"}},
		"filter list":      {`{"url":"https://example.com","events":["scan"],"filter":{"country":["CH",true]}}`, "filter.country", []string{"true"}},
		"filter empty":     {`{"url":"https://example.com","events":["scan"],"filter":{"country":[]}}`, "filter.country", []string{"0 values"}},
		"filter object":    {`{"url":"https://example.com","events":["form_submit"],"filter":{"fields":{"a":1}}}`, "filter.fields", []string{"dotted"}},
		"filter kind":      {`{"url":"https://example.com","events":["scan"],"filter":["country"]}`, "filter", []string{"an array", "an object"}},
		"long description": {`{"url":"https://example.com","events":["scan"],"description":"` + long + `"}`, "description", []string{"501", "500"}},
		"metadata kind":    {`{"url":"https://example.com","events":["scan"],"metadata":{"n":5}}`, "metadata.n", []string{"a string"}},
		"NUL":              {`{"url":"https://example.com","events":["scan"],"metadata":{"n":"a\u0000b"}}`, "metadata", []string{"U+0000"}},
		"own signature":    {`{"url":"https://example.com","events":["scan"],"headers":{"x-nearnode-signature":"a"}}`, "headers", nil},
		"idempotency head": {`{"url":"https://example.com","events":["scan"],"headers":{"Idempotency-Key":"a"}}`, "headers", nil},
		"empty secret":     {`{"url":"https://example.com","events":["scan"],"secret":""}`, "secret", []string{"0 characters"}},
		"weak secret":      {`{"url":"https://example.com","events":["scan"],"secret":"short"}`, "secret", nil},
		"status":           {`{"url":"https://example.com","events":["scan"],"status":"off"}`, "status", []string{"active, paused"}},
		"status null":      {`{"url":"https://example.com","events":["scan"],"status":null}`, "status", []string{"null"}},
		"unknown field":    {`{"url":"https://example.com","events":["scan"],"zeta":1,"evnts":[]}`, "evnts", []string{`did you mean "events"`}},
		"in the header":    {`{"url":"https://example.com","events":["scan"],"idempotency_key":"k"}`, "idempotency_key", []string{"header Idempotency-Key"}},
		"field order":      {`{"status":"off","events":[],"url":5}`, "url", nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := *f
			f.T = t
			f.call(http.MethodPost, "/webhooks", tc.body).problem(http.StatusBadRequest, store.CodeInvalid, tc.field, tc.words...)
		})
	}
	if all := f.call(http.MethodGet, "/webhooks", "").ok(http.StatusOK)["data"].([]any); len(all) != 0 {
		t.Errorf("%d webhooks came of refused calls", len(all))
	}
}

func TestNoSecretIsQuoted(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, body := range []string{
		`{"url":"https://example.com","events":["scan"],"secret":987654321}`,
		`{"url":"https://example.com","events":["scan"],"headers":{"X-Key":987654321}}`,
	} {
		a := f.call(http.MethodPost, "/webhooks", body)
		a.ok(http.StatusBadRequest)
		if strings.Contains(string(a.raw), "987654321") {
			t.Errorf("the secret is in %s", a.raw)
		}
	}
}

func TestFilterOfFreeForm(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.createWebhook(`{"url":"https://example.com","events":["form_submit"],"filter":{"fields.email":"a@example.com","slug":null}}`)
	f.createWebhook(`{"url":"https://example.com","events":["*"],"filter":{"node_slug":"x"}}`)
	f.createWebhook(`{"url":"https://example.com","events":["webhook.failing","delivery.failed"],"filter":{"last_status_code":503}}`)
	f.call(http.MethodPost, "/webhooks", `{"url":"https://example.com","events":["webhook.paused"],"filter":{"reason":"bored"}}`).
		problem(http.StatusBadRequest, store.CodeInvalid, "filter.reason", "owner, gone, operator")
}

func TestCreateWebhookIdempotency(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	body := `{"url":"https://example.com","events":["scan"],"secret":"my-own-secret","headers":{"X-Api-Key":"secret-token-1234"}}`
	first := f.call(http.MethodPost, "/webhooks", body, "Idempotency-Key", "k 1").ok(http.StatusCreated)
	reordered := `{"headers":{"X-Api-Key":"secret-token-1234"}, "secret":"my-own-secret","events":["scan"],"url":"https://example.com"}`
	again := f.call(http.MethodPost, "/webhooks", reordered, "Idempotency-Key", "k 1").ok(http.StatusCreated)
	if again["id"] != first["id"] {
		t.Errorf("id %v, want %v", again["id"], first["id"])
	}
	if _, shown := again["secret"]; shown {
		t.Error("the replay shows the secret")
	}
	for _, other := range []string{
		strings.Replace(body, "example.com", "example.org", 1),
		strings.Replace(body, "my-own-secret", "my-own-secreT", 1),
		strings.Replace(body, "token-1234", "token-1235", 1),
	} {
		f.call(http.MethodPost, "/webhooks", other, "Idempotency-Key", "k 1").
			problem(http.StatusUnprocessableEntity, store.CodeConflict, "idempotency_key")
	}
	for _, bad := range []string{"", strings.Repeat("k", 256), "ké"} {
		f.call(http.MethodPost, "/webhooks", body, "Idempotency-Key", bad).
			problem(http.StatusBadRequest, store.CodeInvalid, "idempotency_key")
	}
	if _, err := f.store.GetWebhook(t.Context(), f.team.ID, first["id"].(string)); err != nil {
		t.Error(err)
	}
}

func TestListWebhooks(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.createWebhook(`{"url":"https://a.example.com","events":["scan"],"description":"Alpha"}`)
	b := f.createWebhook(`{"url":"https://b.example.com","events":["*"],"status":"paused"}`)
	c := f.createWebhook(`{"url":"https://c.example.com","events":["webhook.failing"]}`)
	for query, want := range map[string][]string{
		"":                         {c, b, a},
		"?q=alpha":                 {a},
		"?event=scan":              {b, a},
		"?event=webhook.failing":   {c},
		"?status=paused":           {b},
		"?health=failing":          {},
		"?health=healthy&limit=10": {c, b, a},
		"?limit=10.0":              {c, b, a},
		"?kind=subscription":       {},
	} {
		got := []string{}
		for _, w := range f.call(http.MethodGet, "/webhooks"+query, "").ok(http.StatusOK)["data"].([]any) {
			got = append(got, w.(map[string]any)["id"].(string))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", query, diff)
		}
	}
	page := f.call(http.MethodGet, "/webhooks?limit=2", "").ok(http.StatusOK)
	rest := f.call(http.MethodGet, "/webhooks?limit=2&cursor="+page["next_cursor"].(string), "").ok(http.StatusOK)
	if got := rest["data"].([]any)[0].(map[string]any)["id"]; got != a || rest["next_cursor"] != nil {
		t.Errorf("second page begins with %v, next_cursor %v", got, rest["next_cursor"])
	}
	for query, field := range map[string]string{
		"?limit=0": "limit", "?limit=101": "limit", "?limit=": "limit", "?limit=ten": "limit", "?limit=1&limit=2": "limit", "?limit=1.5": "limit",
		"?status=off": "status", "?event=nope": "event", "?cursor=x": "cursor", "?colour=red": "colour", "?q=%00": "q", "?q=%ff": "q",
	} {
		f.call(http.MethodGet, "/webhooks"+query, "").problem(http.StatusBadRequest, store.CodeInvalid, field)
	}
}

func TestUpdateWebhook(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	made := f.call(http.MethodPost, "/webhooks", `{"url":"https://example.com/a","events":["scan"],"description":"d","filter":{"country":"CH"},
		"metadata":{"a":"b"},"headers":{"X-Api-Key":"secret-token-1234"}}`).ok(http.StatusCreated)
	path := "/webhooks/" + made["id"].(string)

	same := f.call(http.MethodPut, path, `{}`).ok(http.StatusOK)
	for _, name := range []string{"url", "events", "description", "filter", "metadata", "headers", "status", "secret_hint"} {
		if diff := cmp.Diff(made[name], same[name]); diff != "" {
			t.Errorf("%s changed though left out:\n%s", name, diff)
		}
	}
	changed := f.call(http.MethodPut, path, `{"url":"https://example.com/b","events":["first_scan"],"description":null,"filter":null,"metadata":null,
		"headers":{"X-Api-Key":"****1234","X-New":"another-one"}}`).ok(http.StatusOK)
	want := map[string]any{
		"url": "https://example.com/b", "events": []any{"first_scan"}, "description": nil, "filter": nil, "metadata": map[string]any{},
		"headers": map[string]any{"X-Api-Key": "****1234", "X-New": "****-one"}, "secret_hint": made["secret_hint"],
	}
	for name := range want {
		if diff := cmp.Diff(want[name], changed[name]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	stored, err := f.store.GetWebhook(t.Context(), f.team.ID, made["id"].(string))
	if err != nil || stored.Headers["X-Api-Key"] != "secret-token-1234" {
		t.Errorf("a value sent back as shown was stored: %v, %v", stored.Headers, err)
	}

	f.call(http.MethodPut, path, `{"filter":{"nope":1}}`).problem(http.StatusBadRequest, store.CodeInvalid, "filter.nope")
	f.call(http.MethodPut, path, `{"filter":{"country":"CH"}}`).ok(http.StatusOK)
	f.call(http.MethodPut, path, `{"events":["scan.created"],"filter":{"qr_code_id":1}}`).problem(http.StatusBadRequest, store.CodeInvalid, "filter.qr_code_id")
	f.call(http.MethodPut, path, `{"events":["file_download"]}`).ok(http.StatusOK)
	f.call(http.MethodPut, path, `{"filter":{"qr_code_id":1}}`).ok(http.StatusOK)
	f.call(http.MethodPut, path, `{"events":["form_submit"]}`).problem(http.StatusBadRequest, store.CodeInvalid, "filter.qr_code_id")
	for body, field := range map[string]string{
		`{"url":null}`: "url", `{"events":[]}`: "events", `{"events":null}`: "events", `{"status":"gone"}`: "status",
		`{"id":"whk_x"}`: "id", `{"secret":"abcdefgh"}`: "secret", `{"rate_limit":5}`: "rate_limit",
	} {
		f.call(http.MethodPut, path, body).problem(http.StatusBadRequest, store.CodeInvalid, field)
	}
	f.call(http.MethodPut, "/webhooks/whk_none", `{}`).problem(http.StatusNotFound, store.CodeNotFound, "id", "list_webhooks")
}

func TestUpdateWebhookHost(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	made := f.call(http.MethodPost, "/webhooks", `{"url":"https://example.com/a","events":["scan"],"headers":{"X-Api-Key":"secret-token-1234"}}`).ok(http.StatusCreated)
	path := "/webhooks/" + made["id"].(string)
	for _, url := range []string{"https://example.org/a", "https://example.com:8443/a"} {
		f.call(http.MethodPut, path, `{"url":"`+url+`"}`).problem(http.StatusConflict, store.CodeConflict, "url", "rotate_secret: true")
	}
	if got := f.call(http.MethodGet, path, "").ok(http.StatusOK)["url"]; got != "https://example.com/a" {
		t.Errorf("a refused move left url %v", got)
	}
	moved := f.call(http.MethodPut, path, `{"url":"https://example.org/a","rotate_secret":true}`).ok(http.StatusOK)
	secret, _ := moved["secret"].(string)
	if secret == "" || secret == made["secret"] || moved["secret_hint"] != secret[len(secret)-4:] {
		t.Errorf("secret %q, hint %v", secret, moved["secret_hint"])
	}
	if diff := cmp.Diff(map[string]any{}, moved["headers"]); diff != "" {
		t.Errorf("headers went along to a new host:\n%s", diff)
	}
	stored, err := f.store.GetWebhook(t.Context(), f.team.ID, made["id"].(string))
	if err != nil || len(stored.Secrets) != 1 || stored.Secrets[0].Value != secret {
		t.Errorf("the old secret stays: %v, %v", stored.Secrets, err)
	}
	kept := f.call(http.MethodPut, path, `{"url":"https://example.net","rotate_secret":true,"headers":{"X-Api-Key":"again-1234"}}`).ok(http.StatusOK)
	if diff := cmp.Diff(map[string]any{"X-Api-Key": "****1234"}, kept["headers"]); diff != "" {
		t.Error(diff)
	}
}

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	path := "/webhooks/" + f.createWebhook(hook)
	status := func(body string) [2]any {
		w := f.call(http.MethodPut, path, body).ok(http.StatusOK)
		return [2]any{w["status"], w["paused_reason"]}
	}
	if got := status(`{"status":"paused"}`); got != [2]any{"paused", "owner"} {
		t.Error(got)
	}
	if got := status(`{"status":"active"}`); got != [2]any{"active", nil} {
		t.Error(got)
	}
	id := strings.TrimPrefix(path, "/webhooks/")
	if _, err := f.store.UpdateWebhook(t.Context(), f.team.ID, id, func(w *store.Webhook) error {
		w.Status, w.PausedReason = store.StatusPaused, store.PausedByOperator
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	f.call(http.MethodPut, path, `{"status":"active"}`).problem(http.StatusForbidden, store.CodeForbidden, "status", "operator")
	if got := status(`{"status":"paused","description":"x"}`); got != [2]any{"paused", "operator"} {
		t.Error(got)
	}
	admin := f.newKey(f.other, store.ScopeAdmin)
	f.callAs(admin, http.MethodPut, path, `{"status":"active"}`, "Tellhook-Team", f.team.ID).ok(http.StatusOK)
}

func TestDeleteWebhook(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id := f.createWebhook(hook)
	event := f.publish()
	a := f.call(http.MethodDelete, "/webhooks/"+id, "")
	a.ok(http.StatusNoContent)
	if len(a.raw) != 0 {
		t.Errorf("a 204 with a body: %s", a.raw)
	}
	f.call(http.MethodGet, "/webhooks/"+id, "").problem(http.StatusNotFound, store.CodeNotFound, "id", "list_webhooks")
	f.call(http.MethodDelete, "/webhooks/"+id, "").problem(http.StatusNotFound, store.CodeNotFound, "id")
	d := f.call(http.MethodGet, "/events/"+event, "").ok(http.StatusOK)["deliveries"].([]any)[0].(map[string]any)
	if d["status"] != "cancelled" || d["reason"] != "webhook_deleted" {
		t.Errorf("delivery %v", d)
	}

	id = f.createWebhook(hook)
	f.publish()
	args := Args{"id": json.RawMessage(`"` + id + `"`)}
	result, err := f.operation("delete_webhook").Call(WithCaller(t.Context(), f.caller()), args)
	if diff := cmp.Diff(any(&deleteWebhookOut{ID: id, Deleted: true, CancelledDeliveries: 1}), result); err != nil || diff != "" {
		t.Errorf("%v, %s", err, diff)
	}
}

func (f *fixture) operation(name string) *Operation {
	f.Helper()
	for _, o := range f.tools.Operations() {
		if o.Name == name {
			return o
		}
	}
	f.Fatalf("no operation %s", name)
	return nil
}

func (f *fixture) caller() *Caller {
	f.Helper()
	c, err := f.tools.Authenticate(f.Context(), f.key)
	if err != nil {
		f.Fatal(err)
	}
	return c
}
