package tools

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/tellhook/tellhook/store"
)

// request writes a valid request for any operation, from the table: bodies of
// the schema's examples, ids of what the team has.
func (f *fixture) request(o *Operation, ids map[string]string) (path, body string) {
	f.Helper()
	path = o.Path
	thing, _, _ := strings.Cut(strings.TrimPrefix(o.Path, "/"), "/")
	path = strings.Replace(path, "{id}", ids[thing], 1)
	if o.needsBody() {
		text, err := json.Marshal(bodyMedia(o).Example)
		if err != nil {
			f.Fatal(err)
		}
		body = string(text)
		if o.Name == "create_webhook" {
			body = hook
		}
	} else if o.takesBody() {
		body = "{}"
	}
	return path, body
}

// have makes one of each thing in the team default and answers the ids.
func (f *fixture) have() map[string]string {
	f.Helper()
	ids := map[string]string{"webhooks": f.createWebhook(hook), "events": f.publish()}
	rows := f.call(http.MethodGet, "/deliveries", "").ok(http.StatusOK)["data"].([]any)
	ids["deliveries"] = rows[0].(map[string]any)["id"].(string)
	return ids
}

// TestAuthorization walks the whole table: no key, a revoked key, each wrong
// scope, another team, an unknown field. Then the call itself, whose answer must
// fit its own schema.
func TestAuthorization(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	strangers := f.newKey(f.other, store.TeamScopes()...)
	revoked := f.newKey(f.team, store.TeamScopes()...)
	key, err := f.store.FindKey(t.Context(), store.KeyPrefix(revoked))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.store.RevokeKey(t.Context(), f.team.ID, key.ID); err != nil {
		t.Fatal(err)
	}
	for _, o := range f.tools.Operations() {
		t.Run(o.Name, func(t *testing.T) {
			f := *f
			f.T = t
			path, body := f.request(o, f.have())
			for _, key := range []string{"", "thk_x", store.NewKeySecret(), revoked} {
				a := f.callAs(key, o.Method, path, body)
				a.problem(http.StatusUnauthorized, store.CodeUnauthenticated, "", "Authorization: Bearer thk_")
				if !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer") {
					t.Errorf("WWW-Authenticate %q", a.header.Get("WWW-Authenticate"))
				}
			}
			if o.Scope != "" {
				others := slices.DeleteFunc(store.TeamScopes(), func(s store.Scope) bool { return s == o.Scope })
				f.callAs(f.newKey(f.team, others...), o.Method, path, body).problem(http.StatusForbidden, store.CodeForbidden, "", string(o.Scope))
				f.callAs(f.newKey(f.team), o.Method, path, "no JSON").problem(http.StatusForbidden, store.CodeForbidden, "", string(o.Scope))
			}
			if _, err := o.Call(WithCaller(t.Context(), &Caller{Team: *f.team}), Args{}); (store.CodeOf(err) == store.CodeForbidden) != (o.Scope != "") {
				t.Errorf("called without a scope: %v", err)
			}
			if strings.Contains(o.Path, "{id}") {
				f.callAs(strangers, o.Method, path, body).problem(http.StatusNotFound, store.CodeNotFound, "id")
			}
			if o.takesBody() {
				f.call(o.Method, path, strings.Replace(body, "{", `{"wrong_field":1,`, 1)+" ").ok(http.StatusBadRequest)
				f.call(o.Method, path, strings.Replace(body, "}", "", 1)).ok(http.StatusBadRequest)
				f.call(o.Method, path, body, "Content-Type", "application/x-www-form-urlencoded").
					problem(http.StatusUnsupportedMediaType, store.CodeUnsupported, "", "application/json")
			}
			f.call(o.Method, path+"?wrong_field=1", body).problem(http.StatusBadRequest, store.CodeInvalid, "wrong_field")

			a := f.callAs(f.newKey(f.team, slices.DeleteFunc([]store.Scope{o.Scope}, func(s store.Scope) bool { return s == "" })...), o.Method, path, body)
			a.ok(o.Status)
			if o.Status != http.StatusNoContent {
				f.fits(o, a.raw)
			}
		})
	}
}

// fits validates an answer against both of its schemas, and asks that REST's
// names every member.
func (f *fixture) fits(o *Operation, answer []byte) {
	f.Helper()
	v := map[string]any{}
	if err := json.Unmarshal(answer, &v); err != nil {
		f.Fatal(err)
	}
	if err := mustCompile(o.Name+":out", o.Out).Validate(any(v)); err != nil {
		f.Errorf("answer and Out: %v", err)
	}
	if err := mustCompile(o.Name+":slim", o.SlimOut).Validate(any(v)); err != nil {
		f.Errorf("answer and SlimOut: %v", err)
	}
	for name := range v {
		if o.Out.Properties[name] == nil {
			f.Errorf("%s is not in the schema", name)
		}
	}
}

func TestOtherTeamsListsAreEmpty(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ids := f.have()
	strangers := f.newKey(f.other, store.TeamScopes()...)
	for _, path := range []string{"/webhooks", "/events", "/deliveries", "/deliveries?webhook_id=" + ids["webhooks"]} {
		if rows := f.callAs(strangers, http.MethodGet, path, "").ok(http.StatusOK)["data"].([]any); len(rows) != 0 {
			t.Errorf("%s: another team's rows: %v", path, rows)
		}
	}
	f.callAs(strangers, http.MethodGet, "/webhooks/"+ids["webhooks"]+"/deliveries", "").problem(http.StatusNotFound, store.CodeNotFound, "id")
}

func TestTeamHeader(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	admin := f.newKey(f.team, store.ScopeAdmin)
	for _, ref := range []string{f.other.ID, "ext-7"} {
		got := f.callAs(admin, http.MethodGet, "/whoami", "", "Tellhook-Team", ref).ok(http.StatusOK)["team"].(map[string]any)
		if got["id"] != f.other.ID {
			t.Errorf("%s: acting for %v", ref, got)
		}
	}
	for _, ref := range []string{"other", "team_none", "\x00", ""} { // a name is no reference here
		f.callAs(admin, http.MethodGet, "/whoami", "", "Tellhook-Team", ref).problem(http.StatusNotFound, store.CodeNotFound, "Tellhook-Team")
	}
	f.call(http.MethodGet, "/whoami", "", "Tellhook-Team", f.other.ID).problem(http.StatusForbidden, store.CodeForbidden, "Tellhook-Team", "admin")
}

func TestWhoami(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	secret := store.NewKeySecret()
	key, err := f.store.CreateKey(t.Context(), f.team.ID, store.APIKey{
		Name: "robot", Prefix: store.KeyPrefix(secret), Hash: store.HashKey(secret),
		Scopes: []store.Scope{store.ScopeWebhooksRead}, Tools: []string{"list_webhooks", "create_webhook"},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := f.callAs(secret, http.MethodGet, "/whoami", "").ok(http.StatusOK)
	tools := map[string]any{}
	for _, s := range got["tools"].([]any) {
		s := s.(map[string]any)
		tools[s["name"].(string)] = s["reason"]
		if s["enabled"] != (s["reason"] == nil) {
			t.Errorf("%v", s)
		}
	}
	want := map[string]any{}
	for _, name := range KnownTools() {
		want[name] = "not enabled on this key"
	}
	want["whoami"], want["list_webhooks"], want["create_webhook"] = nil, nil, "needs scope webhooks:write"
	if diff := cmp.Diff(want, tools); diff != "" {
		t.Errorf("tools (-want +got):\n%s", diff)
	}
	wantKey := map[string]any{"id": key.ID, "name": "robot", "prefix": secret[:12]}
	if diff := cmp.Diff(wantKey, got["key"]); diff != "" {
		t.Errorf("key (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]any{"webhooks:read"}, got["scopes"]); diff != "" {
		t.Error(diff)
	}
}

func TestPresets(t *testing.T) {
	t.Parallel()
	all, _ := Preset("all")
	if len(all) != len(known()) || !slices.Contains(all, "whoami") {
		t.Errorf("all is %v", all)
	}
	for name, want := range map[string][]string{
		"seed": {"create_webhook", "list_webhooks", "delete_webhook"},
		"read": {"list_webhooks", "get_webhook", "list_deliveries", "get_delivery", "list_events", "get_event", "list_event_types", "whoami"},
	} {
		got, ok := Preset(name)
		if diff := cmp.Diff(want, got); !ok || diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if _, ok := Preset("none"); ok {
		t.Error("an unknown preset is one")
	}
}

// keyStore is a store with one key alone: it counts look-ups, takes time, and
// can change under a cache's eyes.
type keyStore struct {
	store.Store
	hash [32]byte

	mu      sync.Mutex
	key     store.APIKey
	err     error
	lookups int
	touched []map[string]time.Time
}

func (s *keyStore) AuthenticateKey(_ context.Context, hash [32]byte) (*store.APIKey, error) {
	time.Sleep(10 * time.Millisecond)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lookups++
	if s.err != nil {
		return nil, s.err
	}
	if hash != s.hash {
		return nil, store.Errorf(store.CodeNotFound, "", "no such key")
	}
	found := s.key
	return &found, nil
}

func (s *keyStore) FindTeam(context.Context, string) (*store.Team, error) {
	return &store.Team{ID: "team_1"}, nil
}

func (s *keyStore) TouchKeys(_ context.Context, used map[string]time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.touched = append(s.touched, used)
	return nil
}

// set changes the key and what the store answers.
func (s *keyStore) set(revoked *time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.key.RevokedAt, s.err = revoked, err
}

func (s *keyStore) counts() (lookups, touches int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lookups, len(s.touched)
}

func newKeyStore(t *testing.T, key store.APIKey) (tools *Tools, s *keyStore, secret string) {
	t.Helper()
	secret = store.NewKeySecret()
	s = &keyStore{hash: store.HashKey(secret), key: key}
	tools, err := New(Config{Store: s, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	return tools, s, secret
}

func TestAuthenticateCaches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tools, s, secret := newKeyStore(t, store.APIKey{ID: "key_1", TeamID: "team_1"})
		unknown := store.NewKeySecret()
		for range 50 {
			go func() { _, _ = tools.Authenticate(t.Context(), secret) }()
			go func() { _, _ = tools.Authenticate(t.Context(), unknown) }()
		}
		time.Sleep(100 * time.Millisecond)
		if n, _ := s.counts(); n != 2 {
			t.Errorf("%d look-ups for 50 requests under each of 2 keys", n)
		}
		s.set(new(time.Now()), nil)
		time.Sleep(time.Second)
		if _, err := tools.Authenticate(t.Context(), secret); store.CodeOf(err) != store.CodeUnauthenticated {
			t.Errorf("a second after it was revoked: %v", err)
		}
		s.set(nil, store.Errorf(store.CodeUnavailable, "", "away"))
		time.Sleep(time.Second)
		if _, err := tools.Authenticate(t.Context(), secret); store.CodeOf(err) != store.CodeUnavailable {
			t.Errorf("with the database away: %v", err)
		}
		s.set(nil, nil)
		if _, err := tools.Authenticate(t.Context(), secret); err != nil {
			t.Errorf("a failed look-up was remembered: %v", err)
		}
		tools.Close()
	})
}

func TestLastUseIsWrittenOnceAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tools, s, secret := newKeyStore(t, store.APIKey{ID: "key_1", TeamID: "team_1"})
		for minute := range 3 {
			for range 5 {
				if _, err := tools.Authenticate(t.Context(), secret); err != nil {
					t.Fatal(err)
				}
			}
			tools.Close()
			if _, n := s.counts(); n != minute+1 {
				t.Errorf("last use written %d times within %d minutes", n, minute+1)
			}
			time.Sleep(touchEvery)
		}
	})
}

func TestMalformedKeysAreNotLookedUp(t *testing.T) {
	t.Parallel()
	tools, s, secret := newKeyStore(t, store.APIKey{})
	for _, malformed := range []string{"x", "thk_short", secret + "x", "thk_" + strings.Repeat("é", 22)[:43]} {
		if _, err := tools.Authenticate(t.Context(), malformed); store.CodeOf(err) != store.CodeUnauthenticated {
			t.Errorf("%q: %v", malformed, err)
		}
	}
	if n, _ := s.counts(); n != 0 {
		t.Errorf("%d look-ups", n)
	}
}

func TestExpiredKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		expires := time.Now().Add(300 * time.Millisecond)
		tools, _, secret := newKeyStore(t, store.APIKey{ID: "key_1", ExpiresAt: &expires})
		if _, err := tools.Authenticate(t.Context(), secret); err != nil {
			t.Error(err)
		}
		time.Sleep(300 * time.Millisecond) // still in the cache
		if _, err := tools.Authenticate(t.Context(), secret); store.CodeOf(err) != store.CodeUnauthenticated {
			t.Errorf("expired: %v", err)
		}
		tools.Close()
	})
}
