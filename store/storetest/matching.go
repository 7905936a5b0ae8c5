package storetest

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/tellhook/tellhook/store"
)

var matchTests = []test{
	{"Names", func(f *fixture) {
		paused := hook("https://example.com/", "scan")
		paused.Status, paused.PausedReason = store.StatusPaused, store.PausedByOwner
		f.takes(
			[]store.Publish{
				{Type: "scan.created", Data: json.RawMessage(`{}`)},
				{Type: "scan", Data: json.RawMessage(`{}`)},
				{Type: "scanner", Data: json.RawMessage(`{}`)},
				{Type: store.TypeTest, Data: json.RawMessage(`{}`)},
				{Type: store.TypeDeliveryFailed, Data: json.RawMessage(`{}`)},
			},
			taker{hook("https://example.com/", "scan"), []int{1}},
			taker{paused, []int{1}},
			taker{hook("https://example.com/", "scan.*"), []int{0}},
			taker{hook("https://example.com/", "*"), []int{0, 1, 2}},
			taker{hook("https://example.com/", "*", "scan", "scan.*"), []int{0, 1, 2}},
			taker{hook("https://example.com/", store.TypeDeliveryFailed), []int{4}},
			taker{hook("https://example.com/"), nil},
		)
	}},
	{"Filters", func(f *fixture) {
		filtered := func(field, value string) *store.Webhook {
			w := hook("https://example.com/", "a")
			w.Filter = store.Filter{field: json.RawMessage(value)}
			return w
		}
		both := filtered("n", `42`)
		both.Filter["country"] = json.RawMessage(`"DE"`)
		f.takes(
			[]store.Publish{
				{Type: "a", Data: json.RawMessage(`{"n":42,"country":"DE"}`)},
				{Type: "a", Data: json.RawMessage(`{"n":"42","country":"AT"}`)},
				{Type: "a", Data: json.RawMessage(`{"n":42.0,"fields":{"email":"x@example.com"}}`)},
				{Type: "a", Data: json.RawMessage(`{"n":null}`)},
			},
			taker{filtered("n", `42`), []int{0, 2}},
			taker{filtered("n", `"42"`), []int{1}},
			taker{filtered("n", `null`), []int{3}},
			taker{filtered("country", `["DE","AT"]`), []int{0, 1}},
			taker{filtered("fields.email", `"x@example.com"`), []int{2}},
			taker{filtered("missing", `null`), nil},
			taker{both, []int{0}},
		)
	}},
	{"OnlyItsOwnTeam", func(f *fixture) {
		other := f.addTeam("other")
		theirs := f.addHookTo(other, hook("https://example.com/", "*"))
		mine := f.addHook(hook("https://example.com/", "*"))
		e := f.publish("a", `{}`)
		for _, d := range f.deliveries(store.DeliveryQuery{}) {
			f.equal("webhook, event and team of the delivery", []string{d.WebhookID, d.EventID, d.TeamID}, []string{mine.ID, e.ID, f.team})
		}
		list, err := f.s.ListDeliveries(f.ctx(), other, store.DeliveryQuery{WebhookID: theirs.ID})
		f.must(err)
		f.equal("the other team's deliveries", list.Data, []store.Delivery{})
		f.equal("claims", len(f.claim(1, time.Minute)), 1)
	}},
}

// taker is a webhook and the indices of the events that it takes.
type taker struct {
	hook  *store.Webhook
	takes []int
}

func (f *fixture) takes(batch []store.Publish, takers ...taker) {
	f.t.Helper()
	ids := make([]string, len(takers))
	for i, tk := range takers {
		ids[i] = f.addHook(tk.hook).ID
	}
	events := f.publishAll(f.team, batch...)
	for i, tk := range takers {
		got := f.deliveries(store.DeliveryQuery{WebhookID: ids[i]})
		var want, took []string
		for _, n := range tk.takes {
			want = append(want, events[n].ID)
		}
		for _, d := range got {
			took = append(took, d.EventID)
			if d.Status != store.DeliveryPending || d.Attempts != 0 || d.NextAttemptAt == nil || d.InFlight {
				f.t.Errorf("a new delivery is %+v, want pending and due", d)
			}
		}
		slices.Sort(want)
		slices.Sort(took)
		f.equal("events taken by "+describe(tk.hook), took, want)
	}
}

func describe(w *store.Webhook) string {
	b, _ := json.Marshal(map[string]any{"events": w.Events, "filter": w.Filter, "status": w.Status})
	return string(b)
}
