package storetest

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tellhook/tellhook/store"
)

var publishTests = []test{
	{"KeepsWhatIsGiven", func(f *fixture) {
		// Member order, duplicate-looking numbers, escapes and characters that
		// encoders like to rewrite.
		data := `{"z":1.0,"a":1e2,"big":12345678901234567890,"s":"<&>\u2028\u00e9é","o":{"b":null,"a":[]}}`
		given := time.Date(2026, 2, 9, 16, 30, 0, 123_456_789, time.FixedZone("", 7200))
		e := f.publishAll(f.team, store.Publish{Type: "scan.created", Data: json.RawMessage(data), Timestamp: given, ID: "Mine_1-x", IdempotencyKey: "k"})[0]
		f.equal("data", string(e.Data), data)
		f.equal("timestamp", e.Timestamp, time.Date(2026, 2, 9, 14, 30, 0, 123_000_000, time.UTC))
		f.equal("id", e.ID, "Mine_1-x")
		got, err := f.s.GetEvent(f.ctx(), f.team, e.ID)
		f.must(err)
		f.equal("GetEvent", got, e)
		if got.Timestamp.Location() != time.UTC || got.CreatedAt.Location() != time.UTC {
			f.t.Error("times are not in UTC")
		}
	}},
	{"FillsWhatIsLeftOut", func(f *fixture) {
		before := time.Now().Add(-time.Second)
		e := f.publish("scan.created", `{}`)
		if !strings.HasPrefix(e.ID, store.PrefixEvent) || e.TeamID != f.team || e.Position <= 0 {
			f.t.Errorf("PublishEvents answers %+v", e)
		}
		if e.Timestamp.Before(before) || e.Timestamp.After(time.Now().Add(time.Second)) || !e.Timestamp.Equal(e.Timestamp.Truncate(time.Millisecond)) {
			f.t.Errorf("timestamp %v is not the time of publishing in whole milliseconds", e.Timestamp)
		}
		_, err := f.s.GetEvent(f.ctx(), f.team, "evt_nothing")
		f.refused(err, store.CodeNotFound, "")
		answers, err := f.s.PublishEvents(f.ctx(), f.team, nil)
		f.must(err)
		f.equal("answers to an empty batch", answers, []store.Published{})
	}},
	{"SameIDIsSameEvent", func(f *fixture) {
		f.addHook(hook("https://example.com/", "*"))
		p := store.Publish{Type: "a", Data: json.RawMessage(`{"n":1}`), ID: "one", Timestamp: time.Now()}
		first := f.publishAll(f.team, p)[0]
		open := p
		open.Timestamp = time.Time{}
		for _, again := range []store.Publish{p, open} {
			f.duplicate(again, first)
		}
		for name, change := range map[string]func(*store.Publish){
			"data": func(p *store.Publish) { p.Data = json.RawMessage(`{"n":2}`) },
			"type": func(p *store.Publish) { p.Type = "b" },
			"time": func(p *store.Publish) { p.Timestamp = p.Timestamp.Add(time.Second) },
		} {
			other := p
			change(&other)
			answers, err := f.s.PublishEvents(f.ctx(), f.team, []store.Publish{other})
			f.must(err)
			f.t.Log("other", name)
			f.refused(answers[0].Err, store.CodeConflict, "event_id")
		}
		f.equal("deliveries of one event", len(f.deliveries(store.DeliveryQuery{})), 1)
	}},
	{"SameKeyIsSameEvent", func(f *fixture) {
		p := store.Publish{Type: "a", Data: json.RawMessage(`{"n":1}`), IdempotencyKey: "key"}
		first := f.publishAll(f.team, p)[0]
		f.duplicate(p, first)
		for _, other := range []store.Publish{
			{Type: "a", Data: json.RawMessage(`{"n":2}`), IdempotencyKey: "key"},
			{Type: "a", Data: json.RawMessage(`{"n":1}`), IdempotencyKey: "key", ID: "named"},
		} {
			answers, err := f.s.PublishEvents(f.ctx(), f.team, []store.Publish{other})
			f.must(err)
			f.refused(answers[0].Err, store.CodeConflict, "idempotency_key")
		}
		_, err := f.s.GetEvent(f.ctx(), f.team, "named")
		f.refused(err, store.CodeNotFound, "")
		// The key of a creation is another thing.
		_, created, err := f.s.CreateWebhook(f.ctx(), f.team, hook("https://example.com/"), &store.Idempotency{Key: "key", Fingerprint: []byte("x")})
		f.must(err)
		f.equal("webhook created under a key that a publish has used", created, true)
	}},
	{"IdenticalAtOnce", func(f *fixture) {
		f.addHook(hook("https://example.com/", "*"))
		f.identicalAtOnce(store.Publish{Type: "a", Data: json.RawMessage(`{}`), ID: "same"})
		f.identicalAtOnce(store.Publish{Type: "a", Data: json.RawMessage(`{}`), IdempotencyKey: "same"})
		f.equal("events", len(f.events(store.EventQuery{})), 2)
		f.equal("deliveries", len(f.deliveries(store.DeliveryQuery{})), 2)
	}},
	{"OneBadItemLeavesTheOthers", func(f *fixture) {
		f.publishAll(f.team, store.Publish{Type: "a", Data: json.RawMessage(`{}`), ID: "taken", IdempotencyKey: "used"})
		answers, err := f.s.PublishEvents(f.ctx(), f.team, []store.Publish{
			{Type: "a", Data: json.RawMessage(`{"n":0}`), ID: "new"},
			{Type: "b", Data: json.RawMessage(`{}`), ID: "taken"},
			{Type: "a", Data: json.RawMessage(`{"n":2}`), IdempotencyKey: "used"},
			{Type: "a", Data: json.RawMessage(`{"n":0}`), ID: "new"},
			{Type: "a", Data: json.RawMessage(`{"n":4}`), ID: "new"},
			{Type: "a", Data: json.RawMessage(`{"n":5}`), IdempotencyKey: "fresh"},
			{Type: "a", Data: json.RawMessage(`{"n":5}`), IdempotencyKey: "fresh"},
			{Type: "a", Data: json.RawMessage(`{"n":7}`), ID: "last"},
		})
		f.must(err)
		if len(answers) != 8 {
			f.t.Fatalf("%d answers to 8 publishes", len(answers))
		}
		f.refused(answers[1].Err, store.CodeConflict, "event_id")
		f.refused(answers[2].Err, store.CodeConflict, "idempotency_key")
		f.refused(answers[4].Err, store.CodeConflict, "event_id")
		for i, first := range map[int]int{3: 0, 6: 5} {
			if answers[i].Err != nil || !answers[i].Duplicate {
				f.t.Fatalf("answer %d is %+v, want a duplicate", i, answers[i])
			}
			f.equal("duplicate within a batch", answers[i].Event, answers[first].Event)
		}
		var last int64
		for _, i := range []int{0, 5, 7} {
			if answers[i].Err != nil || answers[i].Duplicate || answers[i].Event.Position <= last {
				f.t.Fatalf("answer %d is %+v after position %d", i, answers[i], last)
			}
			last = answers[i].Event.Position
		}
		f.equal("events", len(f.events(store.EventQuery{})), 4)
	}},
	{"Wakes", func(f *fixture) {
		f.addHook(hook("https://example.com/", "*"))
		ctx, cancel := context.WithCancel(f.ctx())
		wakeups := f.s.Wakeups(ctx)
		f.woken(wakeups)
		cancel()
		for deadline := time.After(patience); ; {
			select {
			case _, open := <-wakeups:
				if !open {
					return
				}
			case <-deadline:
				f.t.Fatal("the channel does not close with its context")
			}
		}
	}},
}

// woken publishes until the channel has a value.
func (f *fixture) woken(wakeups <-chan struct{}) {
	f.t.Helper()
	for deadline := time.After(patience); ; {
		f.publish("a", `{}`) // lossy: the first ones may come before the channel listens
		select {
		case <-wakeups:
			return
		case <-time.After(100 * time.Millisecond):
		case <-deadline:
			f.t.Fatal("no wake-up after a publish")
		}
	}
}

func (f *fixture) duplicate(p store.Publish, first *store.Event) {
	f.t.Helper()
	answers, err := f.s.PublishEvents(f.ctx(), f.team, []store.Publish{p})
	f.must(err)
	f.must(answers[0].Err)
	f.equal("the same publish again", answers[0], store.Published{Event: first, Duplicate: true})
}

func (f *fixture) identicalAtOnce(p store.Publish) {
	f.t.Helper()
	var (
		group     errgroup.Group
		mu        sync.Mutex
		originals int
		positions = map[int64]bool{}
	)
	for range 8 {
		group.Go(func() error {
			answers, err := f.s.PublishEvents(f.ctx(), f.team, []store.Publish{p})
			if err != nil {
				return err
			}
			if answers[0].Err != nil {
				return answers[0].Err
			}
			mu.Lock()
			defer mu.Unlock()
			positions[answers[0].Event.Position] = true
			if !answers[0].Duplicate {
				originals++
			}
			return nil
		})
	}
	f.must(group.Wait())
	if originals != 1 || len(positions) != 1 {
		f.t.Errorf("eight identical publishes at once: %d originals, %d positions", originals, len(positions))
	}
}
