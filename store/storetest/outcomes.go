package storetest

import (
	"time"

	"github.com/tellhook/tellhook/store"
)

var outcomeTests = []test{
	{"Success", func(f *fixture) {
		f.addHook(hook("https://example.com/", "*"))
		f.publish("a", `{}`)
		r := success(f.claim(1, time.Minute)[0])
		f.equal("applied", f.record(r)[0], store.Recorded{Applied: true})
		d, attempts := f.delivery(r.Attempt.DeliveryID)
		f.equal("attempts", attempts, []store.Attempt{r.Attempt})
		if d.Status != store.DeliverySucceeded || d.Reason != "" || d.InFlight || d.NextAttemptAt != nil || d.FinishedAt == nil ||
			d.LastErrorKind != "" || d.LastStatusCode == nil || *d.LastStatusCode != 200 {
			f.t.Errorf("delivery after success: %+v", d)
		}
		f.equal("repeated record", f.record(r)[0], store.Recorded{})
		f.claimNothing("it has ended")
	}},
	{"RetryWaits", func(f *fixture) {
		f.addHook(hook("https://example.com/", "*"))
		f.publish("a", `{}`)
		c := f.claim(1, time.Minute)[0]
		const wait = 400 * time.Millisecond
		start := time.Now()
		f.record(retry(c, wait))
		f.claimNothing("it waits")
		d, _ := f.delivery(c.Delivery.ID)
		if d.Status != store.DeliveryPending || d.InFlight || d.Step != 1 || d.FinishedAt != nil || d.NextAttemptAt == nil ||
			d.NextAttemptAt.Before(start.Add(wait-5*time.Millisecond)) || d.NextAttemptAt.After(time.Now().Add(wait+5*time.Millisecond)) {
			f.t.Errorf("delivery that waits %v from %v: %+v", wait, start, d)
		}
		again := f.claim(1, time.Minute)[0]
		if waited := time.Since(start); waited < wait-5*time.Millisecond {
			f.t.Errorf("claimed after %v, want %v", waited, wait)
		}
		f.equal("number and step", []int{again.Delivery.Attempts, again.Delivery.Step}, []int{2, 1})
		f.equal("MaxAttempts by a schedule of three", again.Delivery.MaxAttempts(3), 4)
	}},
	{"Failure", func(f *fixture) {
		f.addHook(hook("https://example.com/", "*"))
		f.publish("a", `{}`)
		c := f.claim(1, time.Minute)[0]
		f.record(retry(c, 0))
		f.record(failure(f.claim(1, time.Minute)[0], store.ReasonExhausted))
		d, attempts := f.delivery(c.Delivery.ID)
		if d.Status != store.DeliveryFailed || d.Reason != store.ReasonExhausted || d.FinishedAt == nil || d.NextAttemptAt != nil || d.Attempts != 2 || d.Step != 2 {
			f.t.Errorf("delivery after its last attempt: %+v", d)
		}
		f.equal("attempts", len(attempts), 2)
		f.claimNothing("it has ended")
	}},
	{"GonePauses", func(f *fixture) {
		w := f.addHook(hook("https://example.com/", "*"))
		f.publishN(2)
		claims := f.claim(1, time.Minute)
		r := failure(claims[0], store.ReasonGone)
		r.Gone = true
		got := f.record(r)[0].Webhook
		if got == nil || got.ID != w.ID || got.Status != store.StatusPaused || got.PausedReason != store.PausedGone || got.Secrets != nil {
			f.t.Fatalf("RecordAttempts of a 410 answers the webhook %+v", got)
		}
		stored := f.getHook(w.ID)
		f.equal("stored status", []any{stored.Status, stored.PausedReason}, []any{store.StatusPaused, store.PausedGone})
		f.publishN(1)
		f.claimNothing("the webhook is paused")
		f.equal("deliveries that wait", len(f.deliveries(store.DeliveryQuery{Status: store.DeliveryPending})), 2)
	}},
	{"EachByItself", func(f *fixture) {
		f.addHook(hook("https://example.com/", "*"))
		f.publishN(2)
		claims := f.claim(2, time.Minute)
		unknown := success(claims[0])
		unknown.Attempt.DeliveryID = "dlv_nothing"
		wrong := success(claims[0])
		wrong.Attempt.Number = 2
		recorded := f.record(unknown, success(claims[1]), wrong, success(claims[0]))
		for i, applied := range []bool{false, true, false, true} {
			f.equal("applied", recorded[i].Applied, applied)
		}
		f.record()
	}},
}

var healthTests = []test{
	{"ThreeInARow", func(f *fixture) {
		w := f.addHook(hook("https://example.com/", "*"))
		f.publishN(5)
		c := f.claim(5, time.Minute)
		for i := range 2 { // consecutive over batches
			f.equal("webhook after a failure", f.record(retry(c[i], time.Hour))[0].Webhook, (*store.Webhook)(nil))
		}
		third := retry(c[2], time.Hour)
		got := f.record(third)[0].Webhook
		if got == nil || got.Health != store.HealthFailing || got.ConsecutiveFailures != 3 || got.Secrets != nil || got.Status != store.StatusActive {
			f.t.Fatalf("webhook after the third failure: %+v", got)
		}
		ended := third.Attempt.StartedAt.Add(third.Attempt.Duration)
		f.equal("failing since", got.FailingSince, &ended)
		f.equal("webhook after a fourth failure", f.record(retry(c[3], time.Hour))[0].Webhook, (*store.Webhook)(nil))
		stored := f.getHook(w.ID)
		f.equal("stored", []any{stored.Health, stored.ConsecutiveFailures, stored.FailingSince}, []any{store.HealthFailing, 4, &ended})
		if stored.LastDeliveryAt == nil || stored.LastDeliveryAt.Before(ended) {
			f.t.Errorf("LastDeliveryAt is %v, want %v or later", stored.LastDeliveryAt, ended)
		}
		list, err := f.s.ListWebhooks(f.ctx(), f.team, store.WebhookQuery{Health: store.HealthFailing})
		f.must(err)
		f.equal("failing webhooks", len(list.Data), 1)

		got = f.record(success(c[4]))[0].Webhook
		if got == nil || got.Health != store.HealthHealthy || got.ConsecutiveFailures != 0 || got.FailingSince != nil {
			f.t.Errorf("webhook after a success: %+v", got)
		}
		f.equal("stored health", f.getHook(w.ID).Health, store.HealthHealthy)
	}},
	{"OrderInABatch", func(f *fixture) {
		w := f.addHook(hook("https://example.com/", "*"))
		f.publishN(9)
		c := f.claim(9, time.Minute)
		for _, r := range f.record(retry(c[0], time.Hour), retry(c[1], time.Hour), success(c[2]), retry(c[3], time.Hour), retry(c[4], time.Hour)) {
			f.equal("webhook", r.Webhook, (*store.Webhook)(nil))
		}
		f.equal("failures in a row", f.getHook(w.ID).ConsecutiveFailures, 2)
		recorded := f.record(retry(c[5], time.Hour), retry(c[6], time.Hour), success(c[7]), retry(c[8], time.Hour))
		for i, changed := range []bool{true, false, true, false} {
			if (recorded[i].Webhook != nil) != changed {
				f.t.Errorf("result %d of the batch: webhook %+v, want one: %v", i, recorded[i].Webhook, changed)
			}
		}
		stored := f.getHook(w.ID)
		f.equal("stored", []any{stored.Health, stored.ConsecutiveFailures}, []any{store.HealthHealthy, 1})
	}},
	{"EachWebhookItsOwn", func(f *fixture) {
		f.addHook(hook("https://one.example/", "*"))
		f.addHook(hook("https://two.example/", "*"))
		f.publishN(2)
		var results []store.Result
		for _, c := range f.claim(4, time.Minute) {
			results = append(results, retry(c, time.Hour))
		}
		for _, r := range f.record(results...) {
			f.equal("webhook", r.Webhook, (*store.Webhook)(nil))
		}
	}},
	{"UpdateLeavesHealth", func(f *fixture) {
		w := f.addHook(hook("https://example.com/", "*"))
		f.publishN(1)
		f.record(retry(f.claim(1, time.Minute)[0], time.Hour))
		before := f.getHook(w.ID)
		f.pause(w.ID)
		after := f.getHook(w.ID)
		f.equal("observed", []any{after.ConsecutiveFailures, after.LastDeliveryAt}, []any{1, before.LastDeliveryAt})
	}},
}
