package storetest

import (
	"encoding/json"

	"golang.org/x/sync/errgroup"

	"github.com/tellhook/tellhook/store"
)

var firstScanTests = []test{
	{"OnceForEachThing", func(f *fixture) {
		w := f.addHook(hook("https://example.com/", store.TypeFirstScan))
		scan := f.publish(store.TypeScan, `{"qr_code_id":42,"country":"DE"}`)
		for _, again := range []string{`{"qr_code_id":42}`, `{"qr_code_id":42.0}`, `{"qr_code_id":4.2e1}`, `{"qr_code_id":null}`, `{}`} {
			f.publish(store.TypeScan, again)
		}
		derived := f.firstScans(1)[0]
		f.equal("data of the derived event", string(derived.Data), string(scan.Data))
		f.equal("timestamp of the derived event", derived.Timestamp, scan.Timestamp)
		if derived.Position <= scan.Position || derived.ID == scan.ID || derived.IdempotencyKey != "" {
			f.t.Errorf("scan %+v\nderived %+v", scan, derived)
		}
		f.equal("deliveries of the derived event", len(f.deliveries(store.DeliveryQuery{WebhookID: w.ID, EventID: derived.ID})), 1)
		f.publish(store.TypeScan, `{"qr_code_id":"42"}`) // the string is another thing
		f.publish("scan.created", `{"qr_code_id":43}`)   // another type
		f.firstScans(2)
	}},
	{"OnceAtOnce", func(f *fixture) {
		var group errgroup.Group
		for range 12 {
			group.Go(func() error {
				_, err := f.s.PublishEvents(f.ctx(), f.team, []store.Publish{
					{Type: store.TypeScan, Data: json.RawMessage(`{"qr_code_id":7}`)},
					{Type: store.TypeScan, Data: json.RawMessage(`{"qr_code_id":"x"}`)},
				})
				return err
			})
		}
		f.must(group.Wait())
		f.firstScans(2)
	}},
	{"PublishedOneCounts", func(f *fixture) {
		published := f.publish(store.TypeFirstScan, `{"qr_code_id":1}`)
		f.publish(store.TypeScan, `{"qr_code_id":1}`)
		f.equal("first scans", f.firstScans(1)[0].ID, published.ID)
		f.publishAll(f.team,
			store.Publish{Type: store.TypeFirstScan, Data: json.RawMessage(`{"qr_code_id":2}`)},
			store.Publish{Type: store.TypeScan, Data: json.RawMessage(`{"qr_code_id":2}`)},
		)
		f.firstScans(2)
		f.publishAll(f.team,
			store.Publish{Type: store.TypeScan, Data: json.RawMessage(`{"qr_code_id":3}`)},
			store.Publish{Type: store.TypeScan, Data: json.RawMessage(`{"qr_code_id":3}`)},
		)
		f.firstScans(3)
	}},
	{"RepeatedPublishDerivesNothing", func(f *fixture) {
		p := store.Publish{Type: store.TypeScan, Data: json.RawMessage(`{"qr_code_id":1}`), ID: "s", IdempotencyKey: "k"}
		first := f.publishAll(f.team, p)[0]
		f.duplicate(p, first)
		f.firstScans(1)
	}},
	{"EachTeamItsOwn", func(f *fixture) {
		other := f.addTeam("other")
		f.publishAll(other, store.Publish{Type: store.TypeScan, Data: json.RawMessage(`{"qr_code_id":1}`)})
		f.publish(store.TypeScan, `{"qr_code_id":1}`)
		f.firstScans(1)
	}},
}

func (f *fixture) firstScans(n int) []store.Event {
	f.t.Helper()
	events := f.events(store.EventQuery{Type: store.TypeFirstScan})
	if len(events) != n {
		f.t.Fatalf("%d first_scan events, want %d", len(events), n)
	}
	return events
}
