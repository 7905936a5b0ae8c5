package dispatcher

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/tellhook/tellhook/store"
)

// Whatever the receivers do, every delivery ends, no limit is passed, and the
// attempts in the store are the requests on the wire.
func TestLoopSimulation(t *testing.T) {
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			o := Options{Schedule: Schedule{time.Second, 3 * time.Second}, Concurrency: 1 + random.IntN(40), WebhookConcurrency: 1 + random.IntN(10)}
			q := new(queue)
			for i := range 1 + random.IntN(5) {
				q.add(fmt.Sprint("whk_", i), fmt.Sprintf("http://host%d.example", i), random.IntN(60))
			}
			d, w := onWire(t, q, o, func(w http.ResponseWriter, r *http.Request) {
				n := int(r.Header.Get("webhook-id")[7] - '0')
				switch {
				case n < 2:
					w.WriteHeader(http.StatusInternalServerError)
				case n == 2 && hosted(r, "host0"):
					hang(w, r)
				default:
					time.Sleep(time.Duration(n) * 100 * time.Millisecond)
				}
			})
			stop := start(t, d)
			time.Sleep(10 * time.Minute)
			stop()

			if pending, leased := q.count(store.DeliveryPending); pending != 0 || leased != 0 {
				t.Errorf("seed %d: %d deliveries pending, %d leased", seed, pending, leased)
			}
			if w.most[""] > o.Concurrency {
				t.Errorf("seed %d: %d requests in flight of %d", seed, w.most[""], o.Concurrency)
			}
			attempts := 0
			for _, r := range q.rows {
				attempts += len(r.attempts)
				for i, a := range r.attempts {
					if w.requests[fmt.Sprint(r.Event.ID, " ", i+1)] != 1 || a.Number != i+1 {
						t.Errorf("seed %d: attempt %d of %s: %d requests", seed, i+1, r.Delivery.ID, w.requests[fmt.Sprint(r.Event.ID, " ", i+1)])
					}
				}
			}
			if attempts != len(w.requests) || q.late != 0 {
				t.Errorf("seed %d: %d attempts, %d requests, %d late", seed, attempts, len(w.requests), q.late)
			}
			for host, most := range w.most {
				if host != "" && most > o.WebhookConcurrency {
					t.Errorf("seed %d: %d requests in flight to %s of %d", seed, most, host, o.WebhookConcurrency)
				}
			}
		})
	}
}

// A hung webhook with a backlog takes its own slots and nobody else's.
func TestHungWebhookLeavesOthersAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := new(queue)
		q.add("whk_hung", "http://hung.example", 500)
		d, w := onWire(t, q, Options{}, func(w http.ResponseWriter, r *http.Request) {
			if hosted(r, "hung") {
				hang(w, r)
			}
		})
		stop := start(t, d)
		time.Sleep(time.Second)
		for range 50 {
			q.add("whk_well", "http://well.example", 20)
			time.Sleep(time.Second)
			if n, _ := q.count(store.DeliverySucceeded); n%20 != 0 {
				t.Errorf("%d of 20 deliveries took more than a second", n%20)
			}
		}
		stop()
		if n, _ := q.count(store.DeliverySucceeded); n != 1000 || w.most["hung.example"] != 32 {
			t.Errorf("%d deliveries, %d in flight to the hung webhook", n, w.most["hung.example"])
		}
		if n := q.unknown(); n != 0 || q.late != 0 {
			t.Errorf("%d claims were held until their leases lapsed, %d outcomes came late", n, q.late)
		}
	})
}

// A process that was stopped after it claimed gives the claims back: too much
// of their lease is gone to send under it.
func TestStaleClaimsAreGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &queue{stall: maxHold + time.Second}
		q.add("whk_1", "http://one.example", 10)
		d, w := onWire(t, q, Options{}, func(http.ResponseWriter, *http.Request) {})
		stop := start(t, d)
		time.Sleep(10 * time.Second)
		stop()
		if _, leased := q.count(store.DeliveryPending); leased != 0 || len(w.requests) != 0 || q.rows[0].Delivery.Attempts != 0 {
			t.Errorf("%d requests under stale claims, %d left to their leases", len(w.requests), leased)
		}
	})
}

// What a claim brings after the drain has begun is given back.
func TestLateClaimsAreGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &queue{stall: time.Second}
		q.add("whk_1", "http://one.example", 10)
		d, w := onWire(t, q, Options{}, func(http.ResponseWriter, *http.Request) {})
		stop := start(t, d)
		time.Sleep(500 * time.Millisecond)
		stop()
		if _, leased := q.count(store.DeliveryPending); leased != 0 || len(w.requests) != 0 {
			t.Errorf("%d requests after the drain had begun, %d left to their leases", len(w.requests), leased)
		}
	})
}

// While the database is away nothing spins, and after it nothing is lost.
func TestDatabaseAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := new(queue)
		q.add("whk_1", "http://one.example", 100)
		d, w := onWire(t, q, Options{}, func(http.ResponseWriter, *http.Request) { time.Sleep(time.Second) })
		stop := start(t, d)
		time.Sleep(500 * time.Millisecond) // the first requests are in flight
		q.setErr(&store.Error{Code: store.CodeUnavailable, Message: "away"})
		before := q.called()
		time.Sleep(10 * time.Second)
		if calls := q.called() - before; calls > 60 {
			t.Errorf("%d calls to the database in the 10 s of its absence", calls)
		}
		q.setErr(nil)
		time.Sleep(5 * time.Second)
		stop()
		if n, _ := q.count(store.DeliverySucceeded); n != 100 || len(w.requests) != 100 || q.late != 0 {
			t.Errorf("%d succeeded, %d requests, %d late", n, len(w.requests), q.late)
		}
	})
}

// An outcome that the store cannot take costs its own delivery alone.
func TestPoisonOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &queue{poison: "dlv_0007"}
		q.add("whk_1", "http://one.example", 100)
		var log bytes.Buffer
		d, _ := onWire(t, q, Options{Log: zerolog.New(zerolog.SyncWriter(&log))}, func(http.ResponseWriter, *http.Request) { time.Sleep(time.Second) })
		stop := start(t, d)
		time.Sleep(10 * time.Second)
		stop()
		if n, _ := q.count(store.DeliverySucceeded); n != 99 {
			t.Errorf("%d succeeded", n)
		}
		if text := log.String(); strings.Count(text, "outcome not recorded; ") != 1 || !strings.Contains(text, "dlv_0007") {
			t.Error("the log does not tell of the outcome that was lost")
		}
	})
}

func TestDrain(t *testing.T) {
	for _, c := range []struct {
		name            string
		timeout, answer time.Duration
		least, most     time.Duration
		leased          bool
	}{
		{name: "fast receiver", timeout: 10 * time.Second, answer: time.Millisecond, most: 10 * time.Millisecond},
		{name: "busy receiver", timeout: 10 * time.Second, answer: 2 * time.Second, most: 2100 * time.Millisecond},
		{name: "slow receiver", timeout: 10 * time.Second, answer: 8 * time.Second, most: 9 * time.Second},
		{name: "hung receiver", timeout: 10 * time.Second, answer: time.Hour, most: 11 * time.Second},
		{name: "timeout beyond the drain", timeout: time.Minute, answer: time.Hour, least: sendLimit, most: sendLimit + time.Second, leased: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := new(queue)
				q.add("whk_1", "http://one.example", 300)
				d, w := onWire(t, q, Options{Timeout: c.timeout}, func(_ http.ResponseWriter, r *http.Request) {
					select {
					case <-time.After(c.answer):
					case <-r.Context().Done():
					}
				})
				stop := start(t, d)
				time.Sleep(3500 * time.Microsecond)
				if took := stop(); took < c.least || took > c.most {
					t.Errorf("the drain took %s, want %s to %s", took, c.least, c.most)
				}
				_, leased := q.count(store.DeliveryPending)
				if (leased > 0) != c.leased || q.late != 0 {
					t.Errorf("%d deliveries leased, %d late", leased, q.late)
				}
				recorded := 0
				for _, r := range q.rows {
					recorded += len(r.attempts)
				}
				if recorded+leased != len(w.requests) || len(w.requests) == 0 {
					t.Errorf("%d requests, %d attempts recorded, %d left to their leases", len(w.requests), recorded, leased)
				}
			})
		})
	}
}

// The database goes for good while draining: the process still ends in time.
func TestDrainWithoutDatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := new(queue)
		q.add("whk_1", "http://one.example", 100)
		d, _ := onWire(t, q, Options{}, func(http.ResponseWriter, *http.Request) { time.Sleep(time.Second) })
		stop := start(t, d)
		time.Sleep(500 * time.Millisecond)
		q.setErr(&store.Error{Code: store.CodeUnavailable, Message: "away"})
		if took := stop(); took > drainLimit {
			t.Errorf("the drain took %s", took)
		}
	})
}
