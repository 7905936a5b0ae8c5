package tools

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/tellhook/tellhook/dispatcher"
	"github.com/tellhook/tellhook/store"
	"github.com/tellhook/tellhook/store/seal"
	"github.com/tellhook/tellhook/store/sqlite"
)

// fixture is the real thing on a database of its own: the table, the REST face,
// two teams.
type fixture struct {
	*testing.T
	tools *Tools
	store store.Store
	team  *store.Team // the team default
	other *store.Team
	key   string // of team, every team scope, every tool
	log   *bytes.Buffer
	rest  http.Handler
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	ring, err := seal.Parse(seal.GenerateKey())
	if err != nil {
		t.Fatal(err)
	}
	log := &bytes.Buffer{}
	s, err := sqlite.Open(t.Context(), sqlite.Config{
		Path: filepath.Join(t.TempDir(), "tellhook.db"), Keys: ring, DeriveFirstScan: true, Log: zerolog.Nop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	tools, err := New(Config{
		Store: s, Schedule: dispatcher.Schedule{time.Minute, 5 * time.Minute, 30 * time.Minute},
		SignatureHeader: "X-NearNode-Signature", PublicURL: "https://tellhook.example", Version: "test",
		Log: zerolog.New(zerolog.SyncWriter(log)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		tools.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	f := &fixture{T: t, tools: tools, store: s, log: log}
	if f.team, err = s.FindTeam(t.Context(), store.DefaultTeam); err != nil {
		t.Fatal(err)
	}
	if f.other, err = s.CreateTeam(t.Context(), "other", new("ext-7")); err != nil {
		t.Fatal(err)
	}
	f.key = f.newKey(f.team, store.TeamScopes()...)
	f.rest = authenticated(tools)
	return f
}

// authenticated does what the server does in front of the REST face.
func authenticated(tools *Tools) http.Handler {
	rest := tools.REST()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if key, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
			c, err := tools.Authenticate(r.Context(), key)
			if err != nil {
				WriteError(w, r, err)
				return
			}
			r = r.WithContext(WithCaller(r.Context(), c))
		}
		rest.ServeHTTP(w, r)
	})
}

func (f *fixture) newKey(team *store.Team, scopes ...store.Scope) string {
	f.Helper()
	secret := store.NewKeySecret()
	_, err := f.store.CreateKey(f.Context(), team.ID, store.APIKey{
		Name: "test", Prefix: store.KeyPrefix(secret), Scopes: scopes, Tools: KnownTools(), Hash: store.HashKey(secret),
	})
	if err != nil {
		f.Fatal(err)
	}
	return secret
}

// answer is a response, decoded.
type answer struct {
	*testing.T
	status int
	header http.Header
	raw    []byte
	body   map[string]any // nil for no JSON object
}

// call makes a request under f.key. header lists names and values in turn.
func (f *fixture) call(method, path, body string, header ...string) *answer {
	f.Helper()
	return f.callAs(f.key, method, path, body, header...)
}

func (f *fixture) callAs(key, method, path, body string, header ...string) *answer {
	f.Helper()
	r := httptest.NewRequestWithContext(f.Context(), method, "/api/v1"+path, strings.NewReader(body))
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for pair := range slices.Chunk(header, 2) {
		r.Header.Set(pair[0], pair[1])
	}
	w := httptest.NewRecorder()
	f.rest.ServeHTTP(w, r)
	a := &answer{T: f.T, status: w.Code, header: w.Header(), raw: w.Body.Bytes()}
	if strings.Contains(w.Header().Get("Content-Type"), "json") {
		if err := json.Unmarshal(a.raw, &a.body); err != nil {
			f.Fatalf("%s %s: %v in %s", method, path, err, a.raw)
		}
	}
	if !strings.HasPrefix(w.Header().Get("X-Request-Id"), "req_") {
		f.Errorf("%s %s: X-Request-Id %q", method, path, w.Header().Get("X-Request-Id"))
	}
	return a
}

// ok asks for a status and answers the body.
func (a *answer) ok(status int) map[string]any {
	a.Helper()
	if a.status != status {
		a.Fatalf("status %d, want %d: %s", a.status, status, a.raw)
	}
	return a.body
}

// problem asks for a failure, in the contract's shape, that says all of words.
func (a *answer) problem(status int, code store.Code, field string, words ...string) {
	a.Helper()
	if a.status != status || a.body["code"] != string(code) || a.body["status"] != float64(status) {
		a.Fatalf("status %d, want %d %s: %s", a.status, status, code, a.raw)
	}
	if got, _ := a.body["field"].(string); got != field {
		a.Errorf("field %q, want %q: %s", got, field, a.raw)
	}
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		a.Errorf("Content-Type %q", got)
	}
	want := []string{"code", "detail", "field", "request_id", "retryable", "status", "title", "type"}
	if got := slices.Sorted(maps.Keys(a.body)); !slices.Equal(got, want) {
		a.Errorf("members %v, want %v", got, want)
	}
	if a.body["request_id"] != a.header.Get("X-Request-Id") {
		a.Errorf("request_id %v, X-Request-Id %q", a.body["request_id"], a.header.Get("X-Request-Id"))
	}
	if a.body["retryable"] != code.Retryable() {
		a.Errorf("retryable %v", a.body["retryable"])
	}
	detail, _ := a.body["detail"].(string)
	for _, w := range words {
		if !strings.Contains(detail, w) {
			a.Errorf("detail %q lacks %q", detail, w)
		}
	}
}

// createWebhook makes a webhook and answers its id.
func (f *fixture) createWebhook(body string) string {
	f.Helper()
	return f.call(http.MethodPost, "/webhooks", body).ok(http.StatusCreated)["id"].(string)
}

// publish publishes a scan and answers its id.
func (f *fixture) publish() string {
	f.Helper()
	return f.call(http.MethodPost, "/events", `{"event":"scan","data":{"qr_code_id":42}}`).ok(http.StatusAccepted)["id"].(string)
}

const hook = `{"url":"https://example.com/hooks","events":["scan.*","scan"]}`
