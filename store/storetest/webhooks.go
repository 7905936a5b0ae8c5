package storetest

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tellhook/tellhook/store"
)

var errChange = errors.New("refused by the caller")

// fullHook has every field that an owner can set.
func fullHook() *store.Webhook {
	w := hook("https://example.com/in?a=1", "scan.*", "form_submit")
	w.Description = "with all, ünïcode and 100% too"
	w.Filter = store.Filter{"country": json.RawMessage(`["DE","AT"]`), "n": json.RawMessage(`42`), "text": json.RawMessage(`"<&>"`)}
	w.Metadata = map[string]string{"owner": "ops"}
	w.Headers = map[string]string{"Authorization": "Bearer topsecret", "X-Tenant": "7"}
	w.RateLimit = new(5)
	w.Status, w.PausedReason = store.StatusPaused, store.PausedByOwner
	ends := time.Date(2026, 2, 10, 14, 30, 0, 123_000_000, time.UTC)
	w.Secrets = append(w.Secrets, store.Secret{Value: "an older one, mine", CreatedAt: ends.Add(-time.Hour), ExpiresAt: &ends})
	return w
}

var webhookTests = []test{
	{"CreateGetList", func(f *fixture) {
		given := fullHook()
		stored := f.addHook(given)
		if !strings.HasPrefix(stored.ID, store.PrefixWebhook) || time.Since(stored.CreatedAt).Abs() > time.Minute ||
			!stored.UpdatedAt.Equal(stored.CreatedAt) || stored.CreatedAt.Location() != time.UTC {
			f.t.Errorf("CreateWebhook answers id %q, created %v, updated %v", stored.ID, stored.CreatedAt, stored.UpdatedAt)
		}
		want := given.Clone()
		want.ID, want.TeamID, want.CreatedAt, want.UpdatedAt = stored.ID, f.team, stored.CreatedAt, stored.UpdatedAt
		want.SecretHint = store.Hint(given.Secrets[0].Value)
		f.equal("CreateWebhook", stored, want)
		f.equal("GetWebhook", f.getHook(stored.ID), want)
		list, err := f.s.ListWebhooks(f.ctx(), f.team, store.WebhookQuery{})
		f.must(err)
		want.Secrets = nil
		f.equal("ListWebhooks", list.Data, []store.Webhook{*want})
	}},
	{"Idempotent", func(f *fixture) {
		idem := &store.Idempotency{Key: "k-1", Fingerprint: []byte("one")}
		var (
			group   errgroup.Group
			mu      sync.Mutex
			created int
			ids     = map[string]bool{}
		)
		for range 8 {
			group.Go(func() error {
				w, isNew, err := f.s.CreateWebhook(f.ctx(), f.team, hook("https://example.com/"), idem)
				if err != nil {
					return err
				}
				mu.Lock()
				defer mu.Unlock()
				ids[w.ID] = true
				if isNew {
					created++
				}
				return nil
			})
		}
		f.must(group.Wait())
		if created != 1 || len(ids) != 1 {
			f.t.Fatalf("eight identical creations made %d webhooks with %d ids", created, len(ids))
		}
		_, _, err := f.s.CreateWebhook(f.ctx(), f.team, hook("https://example.com/"), &store.Idempotency{Key: "k-1", Fingerprint: []byte("two")})
		f.refused(err, store.CodeConflict, "idempotency_key")
		for id := range ids {
			f.pause(id)
			now, _, err := f.s.CreateWebhook(f.ctx(), f.team, hook("https://example.com/"), idem)
			f.must(err)
			f.equal("repeated CreateWebhook answers the webhook as it is now", now.Status, store.StatusPaused)
			_, err = f.s.DeleteWebhook(f.ctx(), f.team, id)
			f.must(err)
		}
		_, _, err = f.s.CreateWebhook(f.ctx(), f.team, hook("https://example.com/"), idem)
		f.refused(err, store.CodeConflict, "")
	}},
	{"ListFilters", func(f *fixture) {
		star := f.addHook(hook("https://one.example/STAR", "*")).ID
		prefix := f.addHook(hook("https://two.example/a_b", "scan.*")).ID
		described := hook("https://three.example/", "form_submit", store.TypeWebhookFailing)
		described.Description = "100% for Billing, Île-de-France"
		form := f.addHook(described).ID
		sub := hook("https://four.example/", "*")
		sub.Kind = store.KindSubscription
		subscription := f.addHook(sub).ID
		f.pause(prefix)
		for _, c := range []struct {
			name string
			q    store.WebhookQuery
			want []string
		}{
			{"none", store.WebhookQuery{}, []string{form, prefix, star}},
			{"kind", store.WebhookQuery{Kind: store.KindSubscription}, []string{subscription}},
			{"search URL, other case", store.WebhookQuery{Search: "/star"}, []string{star}},
			{"search description", store.WebhookQuery{Search: "bILLing"}, []string{form}},
			{"search beyond ASCII, other case", store.WebhookQuery{Search: "îLE"}, []string{form}},
			{"search id", store.WebhookQuery{Search: star}, []string{star}},
			{"percent is no wildcard", store.WebhookQuery{Search: "%"}, []string{form}},
			{"underscore is no wildcard", store.WebhookQuery{Search: "a_b"}, []string{prefix}},
			{"backslash is no escape", store.WebhookQuery{Search: `\`}, nil},
			{"event by prefix and star", store.WebhookQuery{Event: "scan.created"}, []string{prefix, star}},
			{"operational event by name alone", store.WebhookQuery{Event: store.TypeWebhookFailing}, []string{form}},
			{"test event", store.WebhookQuery{Event: store.TypeTest}, nil},
			{"status", store.WebhookQuery{Status: store.StatusPaused}, []string{prefix}},
			{"health", store.WebhookQuery{Health: store.HealthFailing}, nil},
			{"all at once", store.WebhookQuery{Search: "example", Event: "scan.x", Status: store.StatusActive, Health: store.HealthHealthy}, []string{star}},
		} {
			list, err := f.s.ListWebhooks(f.ctx(), f.team, c.q)
			f.must(err)
			var ids []string
			for _, w := range list.Data {
				ids = append(ids, w.ID)
			}
			f.equal("ListWebhooks, "+c.name, ids, c.want)
		}
	}},
	{"UpdateAlone", func(f *fixture) {
		id := f.addHook(hook("https://example.com/", "*")).ID
		const workers, rounds = 8, 5
		var group errgroup.Group
		for range workers {
			group.Go(func() error {
				for range rounds {
					_, err := f.s.UpdateWebhook(f.ctx(), f.team, id, func(w *store.Webhook) error {
						n, _ := strconv.Atoi(w.Metadata["n"])
						w.Metadata = map[string]string{"n": strconv.Itoa(n + 1)}
						return nil
					})
					if err != nil {
						return err
					}
				}
				return nil
			})
		}
		f.must(group.Wait())
		f.equal("increments by updates at once", f.getHook(id).Metadata["n"], strconv.Itoa(workers*rounds))
	}},
	{"UpdateStoresOwnersFields", func(f *fixture) {
		before := f.addHook(hook("https://example.com/", "*"))
		time.Sleep(3 * time.Millisecond)
		full := fullHook()
		after, err := f.s.UpdateWebhook(f.ctx(), f.team, before.ID, func(w *store.Webhook) error {
			f.equal("the webhook that change gets", w, before)
			w.URL, w.Description, w.Events, w.Filter = full.URL, full.Description, full.Events, full.Filter
			w.Metadata, w.Headers, w.RateLimit = full.Metadata, full.Headers, full.RateLimit
			w.Status, w.PausedReason, w.Secrets = full.Status, full.PausedReason, full.Secrets
			w.ID, w.TeamID, w.CreatedAt, w.SecretHint = "whk_mine", "team_mine", time.Time{}, "no"
			w.Health, w.ConsecutiveFailures, w.LastDeliveryAt = store.HealthFailing, 7, new(time.Now())
			return nil
		})
		f.must(err)
		if !after.UpdatedAt.After(before.UpdatedAt) {
			f.t.Errorf("UpdatedAt was %v and is %v", before.UpdatedAt, after.UpdatedAt)
		}
		full.ID, full.TeamID, full.CreatedAt, full.UpdatedAt = before.ID, f.team, before.CreatedAt, after.UpdatedAt
		full.SecretHint = store.Hint(full.Secrets[0].Value)
		f.equal("UpdateWebhook", after, full)
		f.equal("GetWebhook after UpdateWebhook", f.getHook(before.ID), full)
	}},
	{"RefusedChangeStoresNothing", func(f *fixture) {
		before := f.addHook(fullHook())
		_, err := f.s.UpdateWebhook(f.ctx(), f.team, before.ID, func(w *store.Webhook) error {
			w.URL, w.Secrets = "https://evil.example/", nil
			w.Headers["Authorization"] = "changed in place"
			return errChange
		})
		if err != errChange { //nolint:errorlint // the contract says unchanged
			f.t.Errorf("UpdateWebhook answers %v, want the error of change itself", err)
		}
		f.equal("the webhook after a refused change", f.getHook(before.ID), before)
	}},
}
