package postgres_test

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tellhook/tellhook/store"
	"github.com/tellhook/tellhook/store/postgres"
	"github.com/tellhook/tellhook/store/seal"
)

// TestNobodyDeadlocks runs all writers of webhooks and deliveries at once. A
// deadlock would end one of them with an error.
func TestNobodyDeadlocks(t *testing.T) {
	t.Parallel()
	s := openAt(t, migrated(t), seal.GenerateKey())
	teamID := team(t, s)
	var ids []string
	for range 8 {
		ids = append(ids, addWebhook(t, s, teamID).ID)
	}
	const rounds = 40
	var group errgroup.Group
	repeat := func(workers int, f func(context.Context) error) {
		for range workers {
			group.Go(func() error {
				for range rounds {
					if err := f(t.Context()); err != nil {
						return err
					}
				}
				return nil
			})
		}
	}
	repeat(2, func(ctx context.Context) error {
		_, err := s.PublishEvents(ctx, teamID, slices.Repeat([]store.Publish{{Type: "a", Data: json.RawMessage(`{}`)}}, 5))
		return err
	})
	repeat(4, func(ctx context.Context) error { return sendSome(ctx, s) })
	repeat(2, func(ctx context.Context) error {
		_, err := s.UpdateWebhook(ctx, teamID, ids[rand.IntN(len(ids)-1)], func(w *store.Webhook) error {
			w.Status, w.PausedReason = store.StatusActive, ""
			return nil
		})
		return err
	})
	repeat(1, func(ctx context.Context) error {
		_, err := s.ReclaimLapsed(ctx, 10)
		return err
	})
	repeat(1, func(ctx context.Context) error {
		_, err := s.Prune(ctx, time.Now().Add(-time.Second))
		return err
	})
	group.Go(func() error {
		time.Sleep(50 * time.Millisecond)
		_, err := s.DeleteWebhook(t.Context(), teamID, ids[len(ids)-1])
		return err
	})
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

// sendSome claims a few deliveries, some under a lease that lapses at once, and
// records outcomes in any order.
func sendSome(ctx context.Context, s *postgres.Store) error {
	claims, err := s.ClaimDeliveries(ctx, 20, time.Duration(rand.IntN(300))*time.Millisecond, nil)
	if err != nil {
		return err
	}
	rand.Shuffle(len(claims), func(i, j int) { claims[i], claims[j] = claims[j], claims[i] })
	results := make([]store.Result, len(claims))
	for i, c := range claims {
		results[i] = store.Result{
			Attempt: store.Attempt{ID: store.NewID(store.PrefixAttempt), DeliveryID: c.Delivery.ID, Number: c.Delivery.Attempts, StartedAt: time.Now()},
			Status:  store.DeliverySucceeded,
		}
		if rand.IntN(2) == 0 {
			results[i].Status, results[i].Attempt.ErrorKind = store.DeliveryPending, store.ErrorTimeout
			results[i].Gone = rand.IntN(100) == 0
		}
	}
	if err := s.ReleaseDeliveries(ctx, claims[:len(claims)/4]); err != nil {
		return err
	}
	_, err = s.RecordAttempts(ctx, results[len(claims)/4:])
	return err
}
