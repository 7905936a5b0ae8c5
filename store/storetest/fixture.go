package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tellhook/tellhook/store"
)

// fixture is a store with the steps that many tests share; each step ends the
// test where the store answers an error.
type fixture struct {
	t    *testing.T
	s    store.Store
	team string // id of the default team
}

// patience bounds every wait for something that must happen.
const patience = 10 * time.Second

func (f *fixture) ctx() context.Context { return f.t.Context() }

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatalf("unexpected error: %v (code %s)", err, store.CodeOf(err))
	}
}

// refused checks an error's code and, where field is given, its field.
func (f *fixture) refused(err error, code store.Code, field string) {
	f.t.Helper()
	var e *store.Error
	switch {
	case !errors.As(err, &e):
		f.t.Errorf("error %v, want a store.Error with code %s", err, code)
	case e.Code != code:
		f.t.Errorf("error %v has code %s, want %s", err, e.Code, code)
	case field != "" && e.Field != field:
		f.t.Errorf("error %v has field %q, want %q", err, e.Field, field)
	case e.Message == "":
		f.t.Errorf("error with code %s has no message", e.Code)
	}
}

// equal compares; nil and empty maps and slices are the same.
func (f *fixture) equal(what string, got, want any) {
	f.t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		f.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func (f *fixture) findTeam(ref string) *store.Team {
	f.t.Helper()
	team, err := f.s.FindTeam(f.ctx(), ref)
	f.must(err)
	return team
}

func (f *fixture) addTeam(name string) string {
	f.t.Helper()
	team, err := f.s.CreateTeam(f.ctx(), name, nil)
	f.must(err)
	return team.ID
}

// hook is a registration as a caller would make it.
func hook(url string, events ...string) *store.Webhook {
	return &store.Webhook{
		Kind: store.KindWebhook, URL: url, Events: events,
		Status: store.StatusActive, Health: store.HealthHealthy,
		Secrets: []store.Secret{{Value: "whsec_c2VjcmV0LW9mLXRlc3Rz", CreatedAt: time.Date(2026, 2, 9, 14, 30, 0, 0, time.UTC)}},
	}
}

func (f *fixture) addHook(w *store.Webhook) *store.Webhook {
	f.t.Helper()
	return f.addHookTo(f.team, w)
}

func (f *fixture) addHookTo(team string, w *store.Webhook) *store.Webhook {
	f.t.Helper()
	stored, created, err := f.s.CreateWebhook(f.ctx(), team, w, nil)
	f.must(err)
	if !created {
		f.t.Fatal("CreateWebhook without an idempotency key answers created false")
	}
	return stored
}

func (f *fixture) getHook(id string) *store.Webhook {
	f.t.Helper()
	w, err := f.s.GetWebhook(f.ctx(), f.team, id)
	f.must(err)
	return w
}

func (f *fixture) pause(id string) {
	f.t.Helper()
	_, err := f.s.UpdateWebhook(f.ctx(), f.team, id, func(w *store.Webhook) error {
		w.Status, w.PausedReason = store.StatusPaused, store.PausedByOwner
		return nil
	})
	f.must(err)
}

// publish publishes one event to the default team.
func (f *fixture) publish(eventType, data string) *store.Event {
	f.t.Helper()
	return f.publishAll(f.team, store.Publish{Type: eventType, Data: json.RawMessage(data)})[0]
}

// publishN publishes n events "tick" in one batch, numbered from 0.
func (f *fixture) publishN(n int) []*store.Event {
	f.t.Helper()
	batch := make([]store.Publish, n)
	for i := range batch {
		batch[i] = store.Publish{Type: "tick", Data: json.RawMessage(`{"n":` + strconv.Itoa(i) + `}`)}
	}
	return f.publishAll(f.team, batch...)
}

func (f *fixture) publishAll(team string, batch ...store.Publish) []*store.Event {
	f.t.Helper()
	answers, err := f.s.PublishEvents(f.ctx(), team, batch)
	f.must(err)
	if len(answers) != len(batch) {
		f.t.Fatalf("%d answers to %d publishes", len(answers), len(batch))
	}
	events := make([]*store.Event, len(answers))
	for i, a := range answers {
		f.must(a.Err)
		events[i] = a.Event
	}
	return events
}

func (f *fixture) events(q store.EventQuery) []store.Event {
	f.t.Helper()
	list, err := f.s.ListEvents(f.ctx(), f.team, q)
	f.must(err)
	return list.Data
}

func (f *fixture) deliveries(q store.DeliveryQuery) []store.Delivery {
	f.t.Helper()
	list, err := f.s.ListDeliveries(f.ctx(), f.team, q)
	f.must(err)
	return list.Data
}

func (f *fixture) delivery(id string) (*store.Delivery, []store.Attempt) {
	f.t.Helper()
	d, attempts, err := f.s.GetDelivery(f.ctx(), f.team, id)
	f.must(err)
	return d, attempts
}

// claim takes exactly n deliveries under the lease, waiting for them to be due.
func (f *fixture) claim(n int, lease time.Duration) []store.Claim {
	f.t.Helper()
	var claims []store.Claim
	for deadline := time.Now().Add(patience); len(claims) < n; {
		more, err := f.s.ClaimDeliveries(f.ctx(), n-len(claims), lease, nil)
		f.must(err)
		claims = append(claims, more...)
		if time.Now().After(deadline) {
			f.t.Fatalf("claimed %d of %d deliveries in %v", len(claims), n, patience)
		}
		if len(more) == 0 {
			time.Sleep(5 * time.Millisecond)
		}
	}
	return claims
}

// claimNothing checks that nothing can be claimed now.
func (f *fixture) claimNothing(why string) {
	f.t.Helper()
	claims, err := f.s.ClaimDeliveries(f.ctx(), 100, time.Minute, nil)
	f.must(err)
	if len(claims) != 0 {
		f.t.Errorf("claimed %d deliveries: %s", len(claims), why)
	}
}

func (f *fixture) record(results ...store.Result) []store.Recorded {
	f.t.Helper()
	recorded, err := f.s.RecordAttempts(f.ctx(), results)
	f.must(err)
	if len(recorded) != len(results) {
		f.t.Fatalf("%d answers to %d results", len(recorded), len(results))
	}
	return recorded
}

// reclaim runs ReclaimLapsed until it has taken n.
func (f *fixture) reclaim(n int) {
	f.t.Helper()
	taken := 0
	for deadline := time.Now().Add(patience); taken < n; time.Sleep(2 * time.Millisecond) {
		got, err := f.s.ReclaimLapsed(f.ctx(), 100)
		f.must(err)
		taken += got
		if time.Now().After(deadline) {
			break
		}
	}
	if taken != n {
		f.t.Fatalf("reclaimed %d lapsed leases, want %d", taken, n)
	}
}

// attempt is the attempt of a claim, as a sender would report it.
func attempt(c store.Claim) store.Attempt {
	return store.Attempt{
		ID: store.NewID(store.PrefixAttempt), DeliveryID: c.Delivery.ID, Number: c.Delivery.Attempts,
		StartedAt: time.Now().UTC().Truncate(time.Millisecond), Duration: 12 * time.Millisecond,
	}
}

func success(c store.Claim) store.Result {
	a := attempt(c)
	a.StatusCode = new(200)
	return store.Result{Attempt: a, Status: store.DeliverySucceeded}
}

func retry(c store.Claim, in time.Duration) store.Result {
	a := attempt(c)
	a.StatusCode, a.ErrorKind, a.Error = new(500), store.ErrorStatus, "the receiver answered 500"
	return store.Result{Attempt: a, Status: store.DeliveryPending, RetryIn: in}
}

func failure(c store.Claim, reason string) store.Result {
	r := retry(c, 0)
	r.Status, r.Reason = store.DeliveryFailed, reason
	return r
}
