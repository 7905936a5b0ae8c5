package storetest

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tellhook/tellhook/store"
)

var claimTests = []test{
	{"CarriesAllThatASenderNeeds", func(f *fixture) {
		full := fullHook()
		full.Status, full.PausedReason, full.Events, full.Filter = store.StatusActive, "", []string{"*"}, nil
		w := f.addHook(full)
		e := f.publish("a", `{"z":1,"a":"<"}`)
		before, _ := f.delivery(f.deliveries(store.DeliveryQuery{})[0].ID)
		c := f.claim(1, time.Minute)[0]
		want := *before
		want.Attempts, want.InFlight, want.NextAttemptAt = 1, true, nil
		f.equal("claimed delivery", c.Delivery, want)
		f.equal("claimed event", c.Event, e)
		f.equal("claimed webhook", c.Webhook, w)
		stored, attempts := f.delivery(c.Delivery.ID)
		f.equal("stored delivery", *stored, want)
		f.equal("attempts before the outcome", attempts, []store.Attempt{})
		f.claimNothing("the only one is under lease")
	}},
	{"EightAtOnceNeverTwice", func(f *fixture) {
		for i := range 3 {
			f.addHook(hook(fmt.Sprintf("https://%d.example/", i), "tick"))
		}
		f.publishN(100)
		const total = 300
		var (
			group errgroup.Group
			mu    sync.Mutex
			taken = map[string]int{}
			stop  = time.Now().Add(patience)
		)
		count := func() int { mu.Lock(); defer mu.Unlock(); return len(taken) }
		for range 8 {
			group.Go(func() error {
				for count() < total && time.Now().Before(stop) {
					claims, err := f.s.ClaimDeliveries(f.ctx(), 7, time.Minute, nil)
					if err != nil {
						return err
					}
					mu.Lock()
					for _, c := range claims {
						taken[c.Delivery.ID]++
						if c.Delivery.Attempts != 1 {
							err = fmt.Errorf("attempt number %d of a first claim", c.Delivery.Attempts)
						}
					}
					mu.Unlock()
					if err != nil {
						return err
					}
				}
				return nil
			})
		}
		f.must(group.Wait())
		for id, times := range taken {
			if times != 1 {
				f.t.Errorf("%s was claimed %d times", id, times)
			}
		}
		f.equal("deliveries claimed", len(taken), total)
		f.claimNothing("all are under lease")
	}},
	{"LeavesOutFullAndPaused", func(f *fixture) {
		open := f.addHook(hook("https://open.example/", "*"))
		full := f.addHook(hook("https://full.example/", "*"))
		paused := f.addHook(hook("https://paused.example/", "*"))
		f.publishN(3)
		f.pause(paused.ID)
		f.publishN(2)
		claims, err := f.s.ClaimDeliveries(f.ctx(), 100, time.Minute, []string{full.ID, "whk_unknown"})
		f.must(err)
		for _, c := range claims {
			f.equal("webhook of the claim", c.Webhook.ID, open.ID)
		}
		f.equal("claims of the open webhook", len(claims), 5)
		for _, c := range f.claim(5, time.Minute) {
			f.equal("webhook of the claim", c.Webhook.ID, full.ID)
		}
		f.claimNothing("the rest are paused")
		_, err = f.s.UpdateWebhook(f.ctx(), f.team, paused.ID, func(w *store.Webhook) error {
			w.Status, w.PausedReason = store.StatusActive, ""
			return nil
		})
		f.must(err)
		f.claim(5, time.Minute) // resumed: what was held goes out
	}},
	{"OldestDueFirst", func(f *fixture) {
		f.addHook(hook("https://example.com/", "*"))
		f.publishN(4)
		waits := []time.Duration{300 * time.Millisecond, 100 * time.Millisecond, 400 * time.Millisecond, 200 * time.Millisecond}
		want := make([]string, 4)
		var results []store.Result
		for i, c := range f.claim(4, time.Minute) {
			results = append(results, retry(c, waits[i]))
			want[int(waits[i]/(100*time.Millisecond))-1] = c.Delivery.ID
		}
		f.record(results...)
		time.Sleep(500 * time.Millisecond)
		first := f.claim(1, time.Minute)
		var got []string
		for _, c := range append(first, f.claim(3, time.Minute)...) {
			got = append(got, c.Delivery.ID)
		}
		f.equal("order of claims", got, want)
	}},
	{"ZeroLimit", func(f *fixture) {
		f.addHook(hook("https://example.com/", "*"))
		f.publishN(1)
		claims, err := f.s.ClaimDeliveries(f.ctx(), 0, time.Minute, nil)
		f.must(err)
		f.equal("claims", len(claims), 0)
		taken, err := f.s.ReclaimLapsed(f.ctx(), 0)
		f.must(err)
		f.equal("reclaimed", taken, 0)
	}},
	{"ReleaseIsAsIfNeverTaken", func(f *fixture) {
		f.addHook(hook("https://example.com/", "*"))
		f.publishN(2)
		claims := f.claim(2, time.Minute)
		f.must(f.s.ReleaseDeliveries(f.ctx(), claims[:1]))
		d, attempts := f.delivery(claims[0].Delivery.ID)
		f.equal("attempts", len(attempts), 0)
		f.equal("released", []any{d.Status, d.Attempts, d.Step, d.InFlight}, []any{store.DeliveryPending, 0, 0, false})
		again := f.claim(1, time.Minute)
		f.equal("claimed again", []any{again[0].Delivery.ID, again[0].Delivery.Attempts}, []any{claims[0].Delivery.ID, 1})

		f.record(retry(again[0], 0))
		newer := f.claim(1, time.Minute)
		f.must(f.s.ReleaseDeliveries(f.ctx(), slices.Concat(again, claims[:1]))) // late: number 2 is another's
		d, _ = f.delivery(newer[0].Delivery.ID)
		f.equal("after a late release", []any{d.Attempts, d.InFlight}, []any{2, true})
		f.must(f.s.ReleaseDeliveries(f.ctx(), nil))
	}},
	{"ReleaseKeepsItsPlace", func(f *fixture) {
		f.addHook(hook("https://example.com/", "*"))
		f.publishN(1)
		older := f.claim(1, time.Minute)
		time.Sleep(5 * time.Millisecond)
		f.publishN(1)
		f.must(f.s.ReleaseDeliveries(f.ctx(), older))
		f.equal("claimed first", f.claim(1, time.Minute)[0].Delivery.ID, older[0].Delivery.ID)
	}},
	{"ReleaseOfACancelledOne", func(f *fixture) {
		w := f.addHook(hook("https://example.com/", "*"))
		f.publishN(1)
		claims := f.claim(1, time.Minute)
		_, err := f.s.DeleteWebhook(f.ctx(), f.team, w.ID)
		f.must(err)
		f.must(f.s.ReleaseDeliveries(f.ctx(), claims))
		d, _ := f.delivery(claims[0].Delivery.ID)
		f.equal("released", []any{d.Status, d.Attempts, d.InFlight}, []any{store.DeliveryCancelled, 0, false})
		f.claimNothing("it is cancelled")
	}},
}
