package storetest

import (
	"encoding/json"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tellhook/tellhook/store"
)

var logTests = []test{
	{"ListFilters", func(f *fixture) {
		at := time.Date(2026, 2, 9, 14, 30, 0, 0, time.UTC)
		var events []*store.Event
		for i, eventType := range []string{"a", "b", "a"} {
			events = append(events, f.publishAll(f.team, store.Publish{
				Type: eventType, Data: json.RawMessage(`{}`), Timestamp: at.Add(time.Duration(i) * time.Second),
			})...)
		}
		for _, c := range []struct {
			name string
			q    store.EventQuery
			want []int
		}{
			{"none", store.EventQuery{}, []int{2, 1, 0}},
			{"type", store.EventQuery{Type: "a"}, []int{2, 0}},
			{"since is inclusive", store.EventQuery{Since: at.Add(time.Second)}, []int{2, 1}},
			{"until is exclusive", store.EventQuery{Until: at.Add(time.Second)}, []int{0}},
			{"all", store.EventQuery{Type: "a", Since: at, Until: at.Add(2 * time.Second)}, []int{0}},
		} {
			var want []store.Event
			for _, i := range c.want {
				want = append(want, *events[i])
			}
			f.equal("ListEvents, "+c.name, f.events(c.q), want)
		}
	}},
	{"OrderIsPositionNotTimestamp", func(f *fixture) {
		late := f.publishAll(f.team, store.Publish{Type: "a", Data: json.RawMessage(`{}`), ID: "zzz", Timestamp: time.Now().Add(time.Hour)})[0]
		early := f.publishAll(f.team, store.Publish{Type: "a", Data: json.RawMessage(`{}`), ID: "aaa", Timestamp: time.Now().Add(-time.Hour)})[0]
		f.equal("ListEvents", f.events(store.EventQuery{}), []store.Event{*early, *late})
	}},
	{"NothingAppearsBehindAReader", nothingBehind},
}

// nothingBehind polls the newest page while others publish. Positions are given
// in the order in which commits become visible when no poll finds a new event
// at or below the highest position of an earlier poll.
func nothingBehind(f *fixture) {
	const publishers, rounds = 6, 25
	var group errgroup.Group
	done := make(chan struct{})
	for n := range publishers {
		group.Go(func() error {
			for range rounds {
				batch := slices.Repeat([]store.Publish{{Type: "a", Data: json.RawMessage(`{}`)}}, 1+n%3)
				if _, err := f.s.PublishEvents(f.ctx(), f.team, batch); err != nil {
					return err
				}
			}
			return nil
		})
	}
	var failed error
	go func() { defer close(done); failed = group.Wait() }()

	seen, highest := map[int64]bool{}, int64(0)
	for polls, running := 0, true; running; polls++ {
		select {
		case <-done:
			running = false // and poll once more
		default:
		}
		before := highest
		page := f.events(store.EventQuery{Page: store.Page{Limit: store.MaxPageLimit}})
		for i, e := range page {
			if i > 0 && e.Position >= page[i-1].Position {
				f.t.Fatalf("position %d comes after %d in a list that is newest first", e.Position, page[i-1].Position)
			}
			if !seen[e.Position] && e.Position <= before {
				f.t.Fatalf("poll %d: position %d appeared although %d had been seen", polls, e.Position, before)
			}
			seen[e.Position], highest = true, max(highest, e.Position)
		}
	}
	f.must(failed)
}
