package storetest

import (
	"time"

	"github.com/tellhook/tellhook/store"
)

// short is a lease that lapses while the test looks on.
const short = 100 * time.Millisecond

var lapsedTests = []test{
	{"LostAttemptIsWritten", func(f *fixture) {
		w := f.addHook(hook("https://example.com/", "*"))
		f.publishN(2)
		held := f.claim(1, time.Minute)[0]
		lost := f.claim(1, short)[0]
		f.claimNothing("a lease is still held")
		time.Sleep(short + 20*time.Millisecond)
		f.claimNothing("a lapsed lease has to be reclaimed first, or its attempt is lost")
		f.reclaim(1)
		d, attempts := f.delivery(lost.Delivery.ID)
		if len(attempts) != 1 {
			f.t.Fatalf("%d attempts after reclaiming, want one", len(attempts))
		}
		a := attempts[0]
		if a.Number != 1 || a.ErrorKind != store.ErrorUnknown || a.StatusCode != nil || a.Error == "" || a.ID == "" ||
			time.Since(a.StartedAt).Abs() > time.Minute {
			f.t.Errorf("the lost attempt is %+v", a)
		}
		if d.Status != store.DeliveryPending || d.InFlight || d.Attempts != 1 || d.Step != 0 || d.NextAttemptAt == nil || d.LastErrorKind != store.ErrorUnknown {
			f.t.Errorf("the delivery is %+v, want due without a step", d)
		}
		f.equal("failures in a row", f.getHook(w.ID).ConsecutiveFailures, 0)
		taken, err := f.s.ReclaimLapsed(f.ctx(), 100)
		f.must(err)
		f.equal("reclaimed again", taken, 0)
		f.equal("claimed again", f.claim(1, time.Minute)[0].Delivery.Attempts, 2)
		f.equal("the held lease is untouched", f.record(success(held))[0].Applied, true)
	}},
	{"LateOutcomeIsRefused", func(f *fixture) {
		w := f.addHook(hook("https://example.com/", "*"))
		f.publishN(1)
		late := f.claim(1, time.Millisecond)[0]
		f.reclaim(1)
		f.unchangedBy(late, w.ID) // due, nobody has it
		newer := f.claim(1, time.Minute)[0]
		f.unchangedBy(late, w.ID) // another has it
		f.equal("the newer outcome", f.record(success(newer))[0].Applied, true)
		f.unchangedBy(late, w.ID) // ended
	}},
	{"TenInARowFail", func(f *fixture) {
		f.addHook(hook("https://example.com/", "*"))
		f.publishN(1)
		lose := func(times int) (d *store.Delivery) {
			for range times {
				id := f.claim(1, time.Millisecond)[0].Delivery.ID
				f.reclaim(1)
				d, _ = f.delivery(id)
			}
			return d
		}
		lose(store.MaxUnknown - 1)
		f.record(retry(f.claim(1, time.Minute)[0], 0)) // ends the row
		if d := lose(store.MaxUnknown - 1); d.Status != store.DeliveryPending || d.Step != 1 {
			f.t.Fatalf("delivery after nine lost attempts in a row: %+v", d)
		}
		d := lose(1)
		if d.Status != store.DeliveryFailed || d.Reason != store.ReasonLost || d.FinishedAt == nil || d.NextAttemptAt != nil || d.Attempts != 2*store.MaxUnknown {
			f.t.Errorf("delivery after ten lost attempts in a row: %+v", d)
		}
		_, attempts := f.delivery(d.ID)
		for i, a := range attempts {
			f.equal("number", a.Number, i+1)
		}
		f.equal("attempts", len(attempts), 2*store.MaxUnknown)
		f.claimNothing("it has failed")
	}},
	{"LostAfterCancelling", func(f *fixture) {
		w := f.addHook(hook("https://example.com/", "*"))
		f.publishN(1)
		c := f.claim(1, time.Millisecond)[0]
		_, err := f.s.DeleteWebhook(f.ctx(), f.team, w.ID)
		f.must(err)
		f.reclaim(1)
		d, attempts := f.delivery(c.Delivery.ID)
		f.equal("state", []any{d.Status, d.Reason, d.InFlight, len(attempts)}, []any{store.DeliveryCancelled, store.ReasonWebhookDeleted, false, 1})
		f.claimNothing("it is cancelled")
	}},
	{"UpToLimit", func(f *fixture) {
		f.addHook(hook("https://example.com/", "*"))
		f.publishN(5)
		f.claim(5, time.Millisecond)
		time.Sleep(20 * time.Millisecond)
		for _, want := range []int{3, 2, 0} {
			taken, err := f.s.ReclaimLapsed(f.ctx(), 3)
			f.must(err)
			f.equal("reclaimed", taken, want)
		}
	}},
}

// unchangedBy checks that an outcome reported too late changes nothing.
func (f *fixture) unchangedBy(late store.Claim, webhookID string) {
	f.t.Helper()
	delivery, attempts := f.delivery(late.Delivery.ID)
	webhook := f.getHook(webhookID)
	r := failure(late, store.ReasonGone)
	r.Gone = true
	f.equal("answer to a late outcome", f.record(r)[0], store.Recorded{})
	f.must(f.s.ReleaseDeliveries(f.ctx(), []store.Claim{late}))
	after, attemptsAfter := f.delivery(late.Delivery.ID)
	f.equal("delivery after a late outcome", after, delivery)
	f.equal("attempts after a late outcome", attemptsAfter, attempts)
	f.equal("webhook after a late outcome", f.getHook(webhookID), webhook)
}
