package storetest

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"

	"github.com/tellhook/tellhook/store"
)

// lists are all paged reads: how to add a row, which answers its id, and how to
// read a page.
func (f *fixture) lists() []pagedList {
	n := 0
	numbered := func(name string) string { n++; return name + strconv.Itoa(n) }
	return []pagedList{
		{"teams", func() string { return f.addTeam(numbered("t")) }, func(ctx context.Context, p store.Page) ([]string, string, error) {
			return idsOf(func(t store.Team) string { return t.ID })(f.s.ListTeams(ctx, p))
		}},
		{"keys", func() string { return f.addKey(f.team, numbered("k")).ID }, func(ctx context.Context, p store.Page) ([]string, string, error) {
			return idsOf(func(k store.APIKey) string { return k.ID })(f.s.ListKeys(ctx, f.team, p))
		}},
		{"webhooks", func() string { return f.addHook(hook("https://example.com/", "never")).ID }, func(ctx context.Context, p store.Page) ([]string, string, error) {
			return idsOf(func(w store.Webhook) string { return w.ID })(f.s.ListWebhooks(ctx, f.team, store.WebhookQuery{Page: p, Event: "never"}))
		}},
		{"events", func() string { return f.publish("logged", `{}`).ID }, func(ctx context.Context, p store.Page) ([]string, string, error) {
			return idsOf(func(e store.Event) string { return e.ID })(f.s.ListEvents(ctx, f.team, store.EventQuery{Page: p, Type: "logged"}))
		}},
		{"deliveries", func() string {
			id := numbered("owed-")
			f.publishAll(f.team, store.Publish{Type: "owed", Data: json.RawMessage(`{}`), ID: id})
			return id
		}, func(ctx context.Context, p store.Page) ([]string, string, error) {
			return idsOf(func(d store.Delivery) string { return d.EventID })(f.s.ListDeliveries(ctx, f.team, store.DeliveryQuery{Page: p}))
		}},
	}
}

type pagedList struct {
	name string
	add  func() string
	read func(context.Context, store.Page) (ids []string, next string, err error)
}

func idsOf[T any](id func(T) string) func(store.List[T], error) ([]string, string, error) {
	return func(list store.List[T], err error) ([]string, string, error) {
		ids := make([]string, len(list.Data))
		for i, row := range list.Data {
			ids[i] = id(row)
		}
		return ids, list.NextCursor, err
	}
}

var pagingTests = []test{
	{"NeitherSkipsNorRepeats", func(f *fixture) {
		f.addHook(hook("https://example.com/", "owed"))
		for _, l := range f.lists() {
			var want []string
			for range 25 {
				want = append(want, l.add())
			}
			slices.Reverse(want)
			var got []string
			for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
				ids, next, err := l.read(f.ctx(), store.Page{Limit: 7, Cursor: cursor})
				f.must(err)
				if len(ids) > 7 || (next != "" && len(ids) < 7) || pages > 10 {
					f.t.Fatalf("%s: page %d has %d rows of 7, next %q", l.name, pages, len(ids), next)
				}
				got, cursor = append(got, ids...), next
				l.add() // newer ones must not move the pages that follow
			}
			// Beside the added ones there is at most the team that was there before.
			if len(got) < len(want) || len(got) > len(want)+1 || !slices.Equal(got[:len(want)], want) {
				f.t.Errorf("%s: pages hold %v, want %v", l.name, got, want)
			}
		}
	}},
	{"Limits", func(f *fixture) {
		f.addHook(hook("https://example.com/", "owed"))
		for _, l := range f.lists() {
			for range store.DefaultPageLimit + 1 {
				l.add()
			}
			for _, c := range []struct{ limit, want int }{{0, store.DefaultPageLimit}, {-1, store.DefaultPageLimit}, {1, 1}} {
				ids, next, err := l.read(f.ctx(), store.Page{Limit: c.limit})
				f.must(err)
				if len(ids) != c.want || next == "" {
					f.t.Errorf("%s: limit %d answers %d rows, next %q, want %d", l.name, c.limit, len(ids), next, c.want)
				}
			}
		}
		f.publishN(store.MaxPageLimit + 1)
		f.equal("rows of a page at most", len(f.events(store.EventQuery{Page: store.Page{Limit: 1 << 30}})), store.MaxPageLimit)
	}},
	{"BadCursor", func(f *fixture) {
		f.addHook(hook("https://example.com/", "owed"))
		lists := f.lists()
		cursors := make([]string, len(lists))
		for i, l := range lists {
			l.add()
			l.add()
			_, next, err := l.read(f.ctx(), store.Page{Limit: 1})
			f.must(err)
			cursors[i] = next
		}
		for i, l := range lists {
			foreign := slices.Delete(slices.Clone(cursors), i, i+1)
			for _, cursor := range append(foreign, "nonsense", "!", "ZXZlbnRzOg", l.add()) {
				_, _, err := l.read(f.ctx(), store.Page{Cursor: cursor})
				f.t.Log(l.name, cursor)
				f.refused(err, store.CodeInvalid, "cursor")
			}
			_, _, err := l.read(f.ctx(), store.Page{Cursor: cursors[i]})
			f.must(err)
		}
	}},
	{"ExactlyFullPageIsTheLast", func(f *fixture) {
		f.publishN(3)
		list, err := f.s.ListEvents(f.ctx(), f.team, store.EventQuery{Page: store.Page{Limit: 3}})
		f.must(err)
		f.equal("next cursor", list.NextCursor, "")
	}},
}
