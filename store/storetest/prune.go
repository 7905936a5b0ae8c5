package storetest

import (
	"encoding/json"
	"time"

	"github.com/tellhook/tellhook/store"
)

var pruneTests = []test{
	{"OldGoesRecentStays", func(f *fixture) {
		f.addHook(hook("https://example.com/", "tick"))
		ended := f.publishN(2)
		for _, c := range f.claim(2, time.Minute) {
			f.record(success(c))
		}
		pending := f.publishN(1)[0]
		f.record(retry(f.claim(1, time.Minute)[0], time.Hour))
		time.Sleep(10 * time.Millisecond)
		cut := time.Now()
		time.Sleep(10 * time.Millisecond)
		recent := f.publishN(2)
		f.record(success(f.claim(1, time.Minute)[0]))

		pruned, err := f.s.Prune(f.ctx(), cut)
		f.must(err)
		f.equal("Prune", pruned, store.Pruned{Events: 3, Deliveries: 2, Attempts: 2, Expired: 1})
		for _, e := range append(ended, pending) {
			_, err := f.s.GetEvent(f.ctx(), f.team, e.ID)
			f.refused(err, store.CodeNotFound, "")
		}
		f.equal("deliveries of pruned events that had ended", len(f.deliveries(store.DeliveryQuery{EventID: ended[0].ID})), 0)
		for _, d := range f.deliveries(store.DeliveryQuery{EventID: pending.ID}) {
			got, attempts := f.delivery(d.ID)
			if got.Status != store.DeliveryCancelled || got.Reason != store.ReasonExpired || got.FinishedAt == nil || got.NextAttemptAt != nil || len(attempts) != 1 {
				f.t.Errorf("expired delivery %+v with %d attempts", got, len(attempts))
			}
		}
		for _, e := range recent {
			_, err := f.s.GetEvent(f.ctx(), f.team, e.ID)
			f.must(err)
			f.equal("deliveries of a recent event", len(f.deliveries(store.DeliveryQuery{EventID: e.ID})), 1)
		}
		f.claim(1, time.Minute) // the recent one that is pending
		f.claimNothing("the rest has ended or expired")
	}},
	{"AgeCountsFromTheEnd", func(f *fixture) {
		f.addHook(hook("https://example.com/", "*"))
		f.publishN(2)
		c := f.claim(1, time.Minute)[0]
		time.Sleep(5 * time.Millisecond)
		cut := time.Now()
		time.Sleep(5 * time.Millisecond)
		f.record(success(c))
		for range 2 { // the one that expires ends now, and stays for as long
			_, err := f.s.Prune(f.ctx(), cut)
			f.must(err)
		}
		f.equal("deliveries", len(f.deliveries(store.DeliveryQuery{})), 2)
	}},
	{"WaitsForTheLastAttempt", func(f *fixture) {
		w := f.addHook(hook("https://example.com/", "*"))
		f.publishN(1)
		c := f.claim(1, time.Minute)[0]
		_, err := f.s.DeleteWebhook(f.ctx(), f.team, w.ID)
		f.must(err)
		f.equal("deliveries pruned while an attempt is in flight", f.pruneAll().Deliveries, 0)
		f.record(success(c))
		f.equal("deliveries pruned afterwards", f.pruneAll().Deliveries, 1)
	}},
	{"FirstScansAreRemembered", func(f *fixture) {
		f.publish(store.TypeScan, `{"qr_code_id":1}`)
		f.pruneAll()
		f.equal("events", len(f.events(store.EventQuery{})), 0)
		f.publish(store.TypeScan, `{"qr_code_id":1}`)
		f.equal("first scans", len(f.events(store.EventQuery{Type: store.TypeFirstScan})), 0)
	}},
	{"PositionsAreNeverReused", func(f *fixture) {
		last := f.publishN(3)[2].Position
		f.pruneAll()
		if next := f.publishN(1)[0].Position; next <= last {
			f.t.Errorf("position %d after %d was pruned", next, last)
		}
	}},
	{"AttemptInFlightIsRecorded", func(f *fixture) {
		f.addHook(hook("https://example.com/", "*"))
		f.publishN(1)
		c := f.claim(1, time.Minute)[0]
		f.equal("expired", f.pruneAll().Expired, 1)
		f.equal("applied", f.record(success(c))[0].Applied, true)
		d, attempts := f.delivery(c.Delivery.ID)
		f.equal("delivery", []any{d.Status, d.Reason, len(attempts)}, []any{store.DeliveryCancelled, store.ReasonExpired, 1})
	}},
	{"YoungIdempotencyKeysStay", func(f *fixture) {
		idem := &store.Idempotency{Key: "k", Fingerprint: []byte("x")}
		_, _, err := f.s.CreateWebhook(f.ctx(), f.team, hook("https://example.com/"), idem)
		f.must(err)
		f.equal("keys pruned", f.pruneAll().Keys, 0)
		_, created, err := f.s.CreateWebhook(f.ctx(), f.team, hook("https://example.com/"), idem)
		f.must(err)
		f.equal("created again", created, false)
	}},
	{"EachTeamAlike", func(f *fixture) {
		other := f.addTeam("other")
		for _, team := range []string{f.team, other} {
			f.publishAll(team, store.Publish{Type: "a", Data: json.RawMessage(`{}`)})
		}
		f.equal("events pruned", f.pruneAll().Events, 2)
	}},
	{"ManyRows", func(f *fixture) {
		f.addHook(hook("https://example.com/", "*"))
		const n = 1200 // more than one short transaction
		f.publishN(n)
		f.equal("Prune", f.pruneAll(), store.Pruned{Events: n, Expired: n})
	}},
}

// pruneAll prunes everything that there is.
func (f *fixture) pruneAll() store.Pruned {
	f.t.Helper()
	time.Sleep(5 * time.Millisecond)
	pruned, err := f.s.Prune(f.ctx(), time.Now())
	f.must(err)
	return pruned
}
