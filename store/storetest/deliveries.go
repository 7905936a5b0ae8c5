package storetest

import (
	"encoding/json"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tellhook/tellhook/store"
)

var deliveryTests = []test{
	{"GetAndFilters", func(f *fixture) {
		one := f.addHook(hook("https://one.example/", "a", "b"))
		f.addHook(hook("https://two.example/", "a"))
		a := f.publish("a", `{}`)
		time.Sleep(5 * time.Millisecond)
		f.publish("b", `{}`)
		all := f.deliveries(store.DeliveryQuery{})
		if len(all) != 3 || all[0].EventType != "b" {
			f.t.Fatalf("ListDeliveries answers %+v, want three, newest first", all)
		}
		b := all[0]
		got, attempts := f.delivery(b.ID)
		f.equal("GetDelivery", *got, b)
		f.equal("attempts of a new delivery", attempts, []store.Attempt{})
		if !strings.HasPrefix(b.ID, store.PrefixDelivery) || b.CreatedAt.Location() != time.UTC || b.FinishedAt != nil {
			f.t.Errorf("delivery %+v", b)
		}
		for _, c := range f.claim(3, time.Minute) {
			if c.Delivery.ID == b.ID {
				f.record(success(c))
			}
		}
		for _, c := range []struct {
			name string
			q    store.DeliveryQuery
			want int
		}{
			{"webhook", store.DeliveryQuery{WebhookID: one.ID}, 2},
			{"event", store.DeliveryQuery{EventID: a.ID}, 2},
			{"webhook and event", store.DeliveryQuery{WebhookID: one.ID, EventID: a.ID}, 1},
			{"type", store.DeliveryQuery{EventType: "a"}, 2},
			{"pending", store.DeliveryQuery{Status: store.DeliveryPending}, 2},
			{"succeeded", store.DeliveryQuery{Status: store.DeliverySucceeded}, 1},
			{"since is inclusive", store.DeliveryQuery{Since: b.CreatedAt}, 1},
			{"until is exclusive", store.DeliveryQuery{Until: b.CreatedAt}, 2},
			{"unknown webhook", store.DeliveryQuery{WebhookID: "whk_nothing"}, 0},
		} {
			f.equal("ListDeliveries by "+c.name, len(f.deliveries(c.q)), c.want)
		}
		_, _, err := f.s.GetDelivery(f.ctx(), f.team, "dlv_nothing")
		f.refused(err, store.CodeNotFound, "")
	}},
	{"AttemptIsKept", func(f *fixture) {
		f.addHook(hook("https://example.com/", "*"))
		f.publish("a", `{}`)
		r := retry(f.claim(1, time.Minute)[0], time.Hour)
		r.Attempt.Duration = 1234 * time.Millisecond
		r.Attempt.Phases = store.Phases{DNS: time.Millisecond, Connect: 2 * time.Millisecond, TLS: 3 * time.Millisecond, FirstByte: 4 * time.Millisecond}
		r.Attempt.ResponseHeaders = map[string][]string{"Set-Cookie": {"a=1", "b=2"}}
		r.Attempt.ResponseBody = []byte("\x00\xff<script>\xf0")
		r.Attempt.ResponseTruncated = true
		r.Attempt.RemoteIP = "2001:db8::1"
		f.record(r)
		d, attempts := f.delivery(r.Attempt.DeliveryID)
		f.equal("attempts", attempts, []store.Attempt{r.Attempt})
		f.equal("LastStatusCode", d.LastStatusCode, new(500))
		f.equal("LastErrorKind", d.LastErrorKind, store.ErrorStatus)
	}},
	{"HostileTextIsNoPoison", func(f *fixture) {
		f.addHook(hook("https://example.com/", "*"))
		f.publish("a", `{}`)
		r := retry(f.claim(1, time.Minute)[0], time.Hour)
		r.Attempt.Error = "malformed response \"\xff\x00\xfe\""
		r.Attempt.ResponseHeaders = map[string][]string{"X-\xff": {"\x00\xff", "fine"}}
		f.equal("applied", f.record(r)[0].Applied, true)
		_, attempts := f.delivery(r.Attempt.DeliveryID)
		f.equal("attempts kept", len(attempts), 1)
	}},
	{"DeleteCancels", func(f *fixture) {
		w := f.addHook(hook("https://example.com/", "*"))
		other := f.addHook(hook("https://other.example/", "keep"))
		f.publishN(4)
		f.publish("keep", `{}`)
		claims := f.claim(2, time.Minute)
		f.record(success(claims[0]))
		cancelled, err := f.s.DeleteWebhook(f.ctx(), f.team, w.ID)
		f.must(err)
		f.equal("cancelled", cancelled, 4)
		for range 2 { // deleting what is gone is not found, each time
			_, err = f.s.DeleteWebhook(f.ctx(), f.team, w.ID)
			f.refused(err, store.CodeNotFound, "")
		}
		_, err = f.s.GetWebhook(f.ctx(), f.team, w.ID)
		f.refused(err, store.CodeNotFound, "")

		recorded := f.record(success(claims[1]))
		f.equal("the attempt in flight is recorded", recorded[0].Applied, true)
		d, attempts := f.delivery(claims[1].Delivery.ID)
		f.equal("its attempts", len(attempts), 1)
		f.equal("state stays", []any{d.Status, d.Reason, d.InFlight}, []any{store.DeliveryCancelled, store.ReasonWebhookDeleted, false})
		for _, d := range f.deliveries(store.DeliveryQuery{WebhookID: w.ID, Status: store.DeliveryCancelled}) {
			if d.Reason != store.ReasonWebhookDeleted || d.FinishedAt == nil || d.NextAttemptAt != nil {
				f.t.Errorf("cancelled delivery %+v", d)
			}
		}
		d, _ = f.delivery(claims[0].Delivery.ID)
		f.equal("what had ended stays", d.Status, store.DeliverySucceeded)
		last := f.claim(1, time.Minute)
		f.equal("what is left to claim", last[0].Webhook.ID, other.ID)
		f.claimNothing("their webhook is deleted")
	}},
	{"DeleteRacesWithPublish", func(f *fixture) {
		for range 6 {
			w := f.addHook(hook("https://example.com/", "*"))
			var group errgroup.Group
			for range 3 {
				group.Go(func() error {
					for range 3 {
						if _, err := f.s.PublishEvents(f.ctx(), f.team, []store.Publish{{Type: "a", Data: json.RawMessage(`{}`)}}); err != nil {
							return err
						}
					}
					return nil
				})
			}
			group.Go(func() error {
				_, err := f.s.DeleteWebhook(f.ctx(), f.team, w.ID)
				return err
			})
			f.must(group.Wait())
		}
		pending := store.DeliveryQuery{Status: store.DeliveryPending}
		for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
			f.claimNothing("every webhook is deleted")
			left := f.deliveries(pending)
			if len(left) == 0 {
				break
			}
			if time.Now().After(deadline) {
				f.t.Fatalf("%d deliveries of deleted webhooks stay pending for ever", len(left))
			}
		}
		for _, d := range f.deliveries(store.DeliveryQuery{Page: store.Page{Limit: store.MaxPageLimit}}) {
			f.equal("reason", []any{d.Status, d.Reason, d.Attempts}, []any{store.DeliveryCancelled, store.ReasonWebhookDeleted, 0})
		}
	}},
}
