package sqlite_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tellhook/tellhook/store"
	"github.com/tellhook/tellhook/store/seal"
	"github.com/tellhook/tellhook/store/sqlite"
)

func defaultTeam(t *testing.T, s store.Store) string {
	t.Helper()
	team, err := s.FindTeam(t.Context(), store.DefaultTeam)
	if err != nil {
		t.Fatal(err)
	}
	return team.ID
}

func addHook(t *testing.T, s store.Store, team string, events ...string) *store.Webhook {
	t.Helper()
	w, _, err := s.CreateWebhook(t.Context(), team, &store.Webhook{
		Kind: store.KindWebhook, URL: "https://example.com/", Events: events, Status: store.StatusActive,
		Secrets: []store.Secret{{Value: "whsec_first-canary-secret", CreatedAt: time.Now()}},
		Headers: map[string]string{"Authorization": "Bearer canary-token"},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func publish(t *testing.T, s store.Store, team, data string) *store.Event {
	t.Helper()
	answers, err := s.PublishEvents(t.Context(), team, []store.Publish{{Type: "a", Data: json.RawMessage(data)}})
	if err != nil {
		t.Fatal(err)
	}
	return answers[0].Event
}

// TestTwoStoresOneFile publishes and claims through two stores on one file at
// once, as two processes do.
func TestTwoStoresOneFile(t *testing.T) {
	t.Parallel()
	path, key := filepath.Join(t.TempDir(), "tellhook.db"), seal.GenerateKey()
	stores := []*sqlite.Store{openAt(t, path, key), openAt(t, path, key)}
	team := defaultTeam(t, stores[0])
	addHook(t, stores[0], team, "*")

	const rounds, size = 10, 10
	const total = 2 * rounds * size
	var (
		group errgroup.Group
		mu    sync.Mutex
		taken = map[string]int{}
		stop  = time.Now().Add(20 * time.Second)
	)
	count := func() int { mu.Lock(); defer mu.Unlock(); return len(taken) }
	for _, s := range stores {
		group.Go(func() error {
			for range rounds {
				batch := slices.Repeat([]store.Publish{{Type: "a", Data: json.RawMessage(`{}`)}}, size)
				if _, err := s.PublishEvents(t.Context(), team, batch); err != nil {
					return err
				}
			}
			return nil
		})
		for range 2 {
			group.Go(func() error {
				for count() < total && time.Now().Before(stop) {
					claims, err := s.ClaimDeliveries(t.Context(), 3, time.Minute, nil)
					if err != nil {
						return err
					}
					mu.Lock()
					for _, c := range claims {
						taken[c.Delivery.ID]++
					}
					mu.Unlock()
					if len(claims) == 0 {
						time.Sleep(2 * time.Millisecond)
					}
				}
				return nil
			})
		}
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	for id, times := range taken {
		if times != 1 {
			t.Errorf("%s was claimed %d times", id, times)
		}
	}
	if len(taken) != total {
		t.Errorf("%d of %d deliveries claimed", len(taken), total)
	}
}

// TestBusyStoreStarvesNobody writes without a pause in one store and looks how
// long a few writes of another take: SQLite alone would look for the lock every
// 100 ms, and nearly always find it taken.
func TestBusyStoreStarvesNobody(t *testing.T) {
	t.Parallel()
	path, key := filepath.Join(t.TempDir(), "tellhook.db"), seal.GenerateKey()
	busy, other := openAt(t, path, key), openAt(t, path, key)
	team := defaultTeam(t, busy)
	batch := slices.Repeat([]store.Publish{{Type: "a", Data: json.RawMessage(`{}`)}}, 100)
	var commits atomic.Int64 // of the busy store
	stop, begun := make(chan struct{}), make(chan struct{}, 1)
	var writers sync.WaitGroup
	defer func() { close(stop); writers.Wait() }()
	for range 8 {
		writers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := busy.PublishEvents(context.WithoutCancel(t.Context()), team, batch); err != nil {
					t.Errorf("the busy store itself: %v", err)
					return
				}
				commits.Add(1)
				select {
				case begun <- struct{}{}:
				default:
				}
			}
		})
	}
	<-begun
	const writes = 30
	var passed int64 // commits of the busy store while a write of the other waits
	for range writes {
		time.Sleep(20 * time.Millisecond) // the busy store gets going again
		before := commits.Load()
		publish(t, other, team, `{}`)
		passed += commits.Load() - before
	}
	t.Logf("%d commits went before %d writes", passed, writes)
	if passed > 5*writes {
		t.Errorf("%d commits of the busy store went before %d writes of another", passed, writes)
	}
}

// TestStoppedWriterStopsNobody holds the turn as a process does that was stopped
// in it.
func TestStoppedWriterStopsNobody(t *testing.T) {
	t.Parallel()
	path, key := filepath.Join(t.TempDir(), "tellhook.db"), seal.GenerateKey()
	s := openAt(t, path, key)
	f, err := os.OpenFile(path+"-turn", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	publish(t, s, defaultTeam(t, s), `{}`)
}

func TestAnnounce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tellhook.db")
	announced := func() bool {
		t.Helper()
		is, err := sqlite.Announced(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		return is
	}
	if announced() {
		t.Error("announced before anybody did")
	}
	var releases []func()
	for range 2 { // a serve and a dispatch
		release, err := sqlite.Announce(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		releases = append(releases, release)
	}
	for _, release := range releases {
		if !announced() {
			t.Error("not announced while one dispatches")
		}
		release()
	}
	if announced() {
		t.Error("announced after all have ended")
	}
}
