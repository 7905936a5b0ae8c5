package storetest

import (
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tellhook/tellhook/store"
)

var teamTests = []test{
	{"FindByIDExternalIDName", func(f *fixture) {
		plain, err := f.s.CreateTeam(f.ctx(), "both", nil)
		f.must(err)
		external, err := f.s.CreateTeam(f.ctx(), "other", new("both"))
		f.must(err)
		byID, err := f.s.CreateTeam(f.ctx(), "third", new(plain.ID))
		f.must(err)
		if got := f.findTeam("both"); got.ID != external.ID {
			f.t.Errorf("FindTeam(both) answers %s, want the external id's team before the name's", got.Name)
		}
		f.equal("FindTeam by id, which is an external id of another too", f.findTeam(plain.ID), plain)
		f.equal("FindTeam by name", f.findTeam("third"), byID)
		_, err = f.s.FindTeam(f.ctx(), "nobody")
		f.refused(err, store.CodeNotFound, "")
	}},
	{"NameAndExternalIDAreUnique", func(f *fixture) {
		_, err := f.s.CreateTeam(f.ctx(), "one", new("x-1"))
		f.must(err)
		_, err = f.s.CreateTeam(f.ctx(), "one", new("x-2"))
		f.refused(err, store.CodeConflict, "name")
		_, err = f.s.CreateTeam(f.ctx(), "two", new("x-1"))
		f.refused(err, store.CodeConflict, "external_id")
		list, err := f.s.ListTeams(f.ctx(), store.Page{})
		f.must(err)
		if len(list.Data) != 2 || list.Data[0].Name != "one" || list.Data[1].Name != store.DefaultTeam {
			f.t.Errorf("ListTeams answers %+v, want one and default", list.Data)
		}
	}},
	{"Ping", func(f *fixture) { f.must(f.s.Ping(f.ctx())) }},
}

func key(name string) (store.APIKey, string) {
	secret := store.NewKeySecret()
	return store.APIKey{
		Name: name, Prefix: store.KeyPrefix(secret), Hash: store.HashKey(secret),
		Scopes: []store.Scope{store.ScopeEventsWrite, store.ScopeWebhooksRead},
		Tools:  []string{"list_webhooks", "publish_event"},
	}, secret
}

func (f *fixture) addKey(team, name string) *store.APIKey {
	f.t.Helper()
	k, _ := key(name)
	stored, err := f.s.CreateKey(f.ctx(), team, k)
	f.must(err)
	return stored
}

var keyTests = []test{
	{"AuthenticateByHash", func(f *fixture) {
		k, secret := key("ci")
		k.ExpiresAt = new(time.Date(2030, 1, 2, 3, 4, 5, 678_000_000, time.UTC))
		stored, err := f.s.CreateKey(f.ctx(), f.team, k)
		f.must(err)
		want := k
		want.ID, want.TeamID, want.CreatedAt = stored.ID, f.team, stored.CreatedAt
		f.equal("CreateKey", stored, &want)
		if !strings.HasPrefix(stored.ID, store.PrefixKey) || time.Since(stored.CreatedAt).Abs() > time.Minute {
			f.t.Errorf("CreateKey answers id %q, created at %v", stored.ID, stored.CreatedAt)
		}
		got, err := f.s.AuthenticateKey(f.ctx(), store.HashKey(secret))
		f.must(err)
		f.equal("AuthenticateKey", got, stored)
		_, err = f.s.AuthenticateKey(f.ctx(), store.HashKey(secret+"x"))
		f.refused(err, store.CodeNotFound, "")
	}},
	{"FindByIDOrPrefix", func(f *fixture) {
		alone := f.addKey(f.team, "alone")
		for _, ref := range []string{alone.ID, alone.Prefix} {
			got, err := f.s.FindKey(f.ctx(), ref)
			f.must(err)
			f.equal("FindKey", got, alone)
		}
		twin, _ := key("twin")
		twin.Prefix = alone.Prefix
		other, err := f.s.CreateKey(f.ctx(), f.addTeam("other"), twin)
		f.must(err)
		_, err = f.s.FindKey(f.ctx(), alone.Prefix)
		f.refused(err, store.CodeConflict, "")
		if err != nil && (!strings.Contains(err.Error(), alone.ID) || !strings.Contains(err.Error(), other.ID)) {
			f.t.Errorf("the error %q does not list both ids", err)
		}
		_, err = f.s.FindKey(f.ctx(), "thk_nothing")
		f.refused(err, store.CodeNotFound, "")
	}},
	{"Update", func(f *fixture) {
		k := f.addKey(f.team, "before")
		got, err := f.s.UpdateKey(f.ctx(), f.team, k.ID, store.KeyPatch{Name: new("after")})
		f.must(err)
		k.Name = "after"
		f.equal("UpdateKey of the name alone", got, k)
		expires := time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)
		k.Scopes, k.Tools, k.ExpiresAt = []store.Scope{store.ScopeKeysWrite}, []string{}, &expires
		got, err = f.s.UpdateKey(f.ctx(), f.team, k.ID, store.KeyPatch{Scopes: &k.Scopes, Tools: &k.Tools, ExpiresAt: &k.ExpiresAt})
		f.must(err)
		f.equal("UpdateKey of the rest", got, k)
		k.ExpiresAt = nil
		got, err = f.s.UpdateKey(f.ctx(), f.team, k.ID, store.KeyPatch{ExpiresAt: &k.ExpiresAt})
		f.must(err)
		f.equal("UpdateKey that lifts the expiry", got, k)
		found, err := f.s.FindKey(f.ctx(), k.ID)
		f.must(err)
		f.equal("FindKey after UpdateKey", found, k)
	}},
	{"ScopesAreSorted", func(f *fixture) {
		mixed := []store.Scope{store.ScopeWebhooksRead, store.ScopeEventsWrite}
		k, _ := key("mixed")
		k.Scopes = mixed
		made, err := f.s.CreateKey(f.ctx(), f.team, k)
		f.must(err)
		f.equal("scopes of CreateKey", made.Scopes, []store.Scope{store.ScopeEventsWrite, store.ScopeWebhooksRead})
		changed, err := f.s.UpdateKey(f.ctx(), f.team, made.ID, store.KeyPatch{Scopes: &mixed})
		f.must(err)
		f.equal("scopes of UpdateKey", changed.Scopes, made.Scopes)
	}},
	{"RevokeIsForGood", func(f *fixture) {
		k := f.addKey(f.team, "old")
		first, err := f.s.RevokeKey(f.ctx(), f.team, k.ID)
		f.must(err)
		if first.RevokedAt == nil {
			f.t.Fatal("RevokeKey answers no RevokedAt")
		}
		time.Sleep(3 * time.Millisecond)
		again, err := f.s.RevokeKey(f.ctx(), f.team, k.ID)
		f.must(err)
		f.equal("RevokeKey again", again, first)
		_, err = f.s.UpdateKey(f.ctx(), f.team, k.ID, store.KeyPatch{Name: new("new")})
		f.refused(err, store.CodeConflict, "")
		got, err := f.s.AuthenticateKey(f.ctx(), k.Hash)
		f.must(err)
		f.equal("AuthenticateKey of a revoked key", got, first)
		list, err := f.s.ListKeys(f.ctx(), f.team, store.Page{})
		f.must(err)
		f.equal("ListKeys with a revoked key", list.Data, []store.APIKey{*first})
	}},
	{"TouchNeverBackwards", func(f *fixture) {
		k := f.addKey(f.team, "used")
		at := time.Date(2026, 2, 9, 14, 30, 0, 5_000_000, time.UTC)
		for _, used := range []time.Time{at, at.Add(-time.Hour)} {
			f.must(f.s.TouchKeys(f.ctx(), map[string]time.Time{k.ID: used, "key_unknown": used}))
		}
		got, err := f.s.FindKey(f.ctx(), k.ID)
		f.must(err)
		f.equal("LastUsedAt", got.LastUsedAt, &at)
		f.must(f.s.TouchKeys(f.ctx(), nil))
	}},
	{"FirstKeyOnce", func(f *fixture) {
		var made atomic.Int32
		var group errgroup.Group
		for range 8 {
			group.Go(func() error {
				k, _ := key("first")
				stored, err := f.s.CreateFirstKey(f.ctx(), f.team, k)
				if stored != nil {
					made.Add(1)
				}
				return err
			})
		}
		f.must(group.Wait())
		list, err := f.s.ListKeys(f.ctx(), f.team, store.Page{})
		f.must(err)
		if made.Load() != 1 || len(list.Data) != 1 {
			f.t.Fatalf("eight calls at once made %d first keys, %d are stored", made.Load(), len(list.Data))
		}
		_, err = f.s.RevokeKey(f.ctx(), f.team, list.Data[0].ID)
		f.must(err)
		k, _ := key("second")
		stored, err := f.s.CreateFirstKey(f.ctx(), f.addTeam("other"), k)
		f.must(err)
		if stored != nil {
			f.t.Error("CreateFirstKey made a key although a revoked one exists")
		}
	}},
	{"ListNewestFirst", func(f *fixture) {
		var want []store.APIKey
		for _, name := range []string{"a", "b", "c"} {
			want = append(want, *f.addKey(f.team, name))
		}
		slices.Reverse(want)
		list, err := f.s.ListKeys(f.ctx(), f.team, store.Page{})
		f.must(err)
		f.equal("ListKeys", list.Data, want)
	}},
}
