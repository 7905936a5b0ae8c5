package storetest

import (
	"encoding/json"
	"reflect"
	"time"

	"github.com/tellhook/tellhook/store"
)

// acrossTeams are the methods that take no team, on purpose.
var acrossTeams = []string{
	"CreateTeam", "ListTeams", "FindTeam", "FindKey", "AuthenticateKey", "TouchKeys",
	"ClaimDeliveries", "RecordAttempts", "ReleaseDeliveries", "ReclaimLapsed", "Wakeups",
	"Prune", "Ping", "Close",
}

var tenancyTests = []test{
	{"EveryMethod", func(f *fixture) {
		r := f.rows()
		before := f.everything(f.team, r)
		methods := reflect.TypeFor[store.Store]()
		named := map[string]bool{}
		for _, name := range acrossTeams {
			named[name] = true
		}
		for name, try := range scoped {
			named[name] = true
			try(f, f.addTeam("other-"+name), r)
		}
		for m := range methods.NumMethod() {
			if name := methods.Method(m).Name; !named[name] {
				f.t.Errorf("Store.%s has no tenancy test: add it to scoped or to acrossTeams", name)
			}
		}
		f.equal("the first team's rows afterwards", f.everything(f.team, r), before)
	}},
	{"UnknownTeam", func(f *fixture) {
		const nobody = "team_nothing"
		k, _ := key("k")
		_, err := f.s.CreateKey(f.ctx(), nobody, k)
		f.refused(err, store.CodeNotFound, "")
		_, err = f.s.CreateFirstKey(f.ctx(), nobody, k)
		f.refused(err, store.CodeNotFound, "")
		_, _, err = f.s.CreateWebhook(f.ctx(), nobody, hook("https://example.com/"), nil)
		f.refused(err, store.CodeNotFound, "")
		_, err = f.s.PublishEvents(f.ctx(), nobody, []store.Publish{{Type: "a", Data: json.RawMessage(`{}`)}})
		f.refused(err, store.CodeNotFound, "")
	}},
}

// rows are the first team's, one of each kind.
type rows struct{ key, webhook, event, delivery string }

func (f *fixture) rows() rows {
	r := rows{key: f.addKey(f.team, "mine").ID, webhook: f.addHook(hook("https://mine.example/", "*")).ID}
	r.event = f.publishAll(f.team, store.Publish{Type: "a", Data: json.RawMessage(`{"mine":true}`), ID: "shared", IdempotencyKey: "shared"})[0].ID
	c := f.claim(1, time.Minute)[0]
	f.record(retry(c, time.Hour))
	r.delivery = c.Delivery.ID
	return r
}

// everything is all that a team can read of its rows.
func (f *fixture) everything(team string, r rows) []any {
	f.t.Helper()
	w, err := f.s.GetWebhook(f.ctx(), team, r.webhook)
	f.must(err)
	e, err := f.s.GetEvent(f.ctx(), team, r.event)
	f.must(err)
	d, attempts, err := f.s.GetDelivery(f.ctx(), team, r.delivery)
	f.must(err)
	keys, err := f.s.ListKeys(f.ctx(), team, store.Page{})
	f.must(err)
	events, err := f.s.ListEvents(f.ctx(), team, store.EventQuery{})
	f.must(err)
	deliveries, err := f.s.ListDeliveries(f.ctx(), team, store.DeliveryQuery{})
	f.must(err)
	webhooks, err := f.s.ListWebhooks(f.ctx(), team, store.WebhookQuery{})
	f.must(err)
	return []any{w, e, d, attempts, keys, events, deliveries, webhooks}
}

// scoped tries each method that takes a team, as the team other, on rows r of
// the first team. Each runs with a team of its own.
var scoped = map[string]func(f *fixture, other string, r rows){
	"CreateKey": func(f *fixture, other string, _ rows) {
		f.equal("team of the key", f.addKey(other, "theirs").TeamID, other)
	},
	"CreateFirstKey": func(f *fixture, other string, _ rows) {
		k, _ := key("theirs")
		got, err := f.s.CreateFirstKey(f.ctx(), other, k)
		f.must(err)
		f.equal("a second first key", got, (*store.APIKey)(nil))
	},
	"ListKeys": func(f *fixture, other string, _ rows) {
		list, err := f.s.ListKeys(f.ctx(), other, store.Page{})
		f.must(err)
		f.equal("ListKeys", list.Data, []store.APIKey{})
	},
	"UpdateKey": func(f *fixture, other string, r rows) {
		_, err := f.s.UpdateKey(f.ctx(), other, r.key, store.KeyPatch{Name: new("taken over")})
		f.refused(err, store.CodeNotFound, "")
	},
	"RevokeKey": func(f *fixture, other string, r rows) {
		_, err := f.s.RevokeKey(f.ctx(), other, r.key)
		f.refused(err, store.CodeNotFound, "")
	},
	"CreateWebhook": func(f *fixture, other string, _ rows) {
		for _, team := range []string{f.addTeam("idem"), other} {
			w, created, err := f.s.CreateWebhook(f.ctx(), team, hook("https://example.com/"), &store.Idempotency{Key: "shared", Fingerprint: []byte(team)})
			f.must(err)
			f.equal("created under a key of another team", []any{created, w.TeamID}, []any{true, team})
		}
	},
	"GetWebhook": func(f *fixture, other string, r rows) {
		_, err := f.s.GetWebhook(f.ctx(), other, r.webhook)
		f.refused(err, store.CodeNotFound, "")
	},
	"ListWebhooks": func(f *fixture, other string, r rows) {
		for _, q := range []store.WebhookQuery{{}, {Search: r.webhook}, {Event: "a"}, {Status: store.StatusActive}} {
			list, err := f.s.ListWebhooks(f.ctx(), other, q)
			f.must(err)
			f.equal("ListWebhooks", list.Data, []store.Webhook{})
		}
	},
	"UpdateWebhook": func(f *fixture, other string, r rows) {
		_, err := f.s.UpdateWebhook(f.ctx(), other, r.webhook, func(*store.Webhook) error {
			f.t.Error("change was called with another team's webhook")
			return nil
		})
		f.refused(err, store.CodeNotFound, "")
	},
	"DeleteWebhook": func(f *fixture, other string, r rows) {
		_, err := f.s.DeleteWebhook(f.ctx(), other, r.webhook)
		f.refused(err, store.CodeNotFound, "")
	},
	"PublishEvents": func(f *fixture, other string, _ rows) {
		// The other team's id and key mean nothing here, and its webhook gets nothing.
		answers, err := f.s.PublishEvents(f.ctx(), other, []store.Publish{{Type: "b", Data: json.RawMessage(`{}`), ID: "shared", IdempotencyKey: "shared"}})
		f.must(err)
		f.must(answers[0].Err)
		f.equal("published", []any{answers[0].Duplicate, answers[0].Event.TeamID}, []any{false, other})
		list, err := f.s.ListDeliveries(f.ctx(), other, store.DeliveryQuery{})
		f.must(err)
		f.equal("ListDeliveries", list.Data, []store.Delivery{})
	},
	"GetEvent": func(f *fixture, other string, r rows) {
		_, err := f.s.GetEvent(f.ctx(), other, r.event)
		f.refused(err, store.CodeNotFound, "")
	},
	"ListEvents": func(f *fixture, other string, _ rows) {
		for _, q := range []store.EventQuery{{}, {Type: "a"}, {Since: time.Unix(0, 0)}} {
			list, err := f.s.ListEvents(f.ctx(), other, q)
			f.must(err)
			f.equal("ListEvents", list.Data, []store.Event{})
		}
	},
	"ListDeliveries": func(f *fixture, other string, r rows) {
		for _, q := range []store.DeliveryQuery{{}, {WebhookID: r.webhook}, {EventID: r.event}, {Status: store.DeliveryPending}} {
			list, err := f.s.ListDeliveries(f.ctx(), other, q)
			f.must(err)
			f.equal("ListDeliveries", list.Data, []store.Delivery{})
		}
	},
	"GetDelivery": func(f *fixture, other string, r rows) {
		_, _, err := f.s.GetDelivery(f.ctx(), other, r.delivery)
		f.refused(err, store.CodeNotFound, "")
	},
}
