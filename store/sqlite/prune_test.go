package sqlite

import (
	"testing"
	"time"

	"github.com/tellhook/tellhook/store"
)

// TestPruneWaitsForTheLastAttempt prunes a cancelled delivery whose last attempt
// is in flight: it stays until that attempt is in the log.
func TestPruneWaitsForTheLastAttempt(t *testing.T) {
	t.Parallel()
	s, _, team, w := fresh(t)
	if err := publishOne(t.Context(), s, team, `{}`); err != nil {
		t.Fatal(err)
	}
	claims, err := s.ClaimDeliveries(t.Context(), 1, time.Minute, nil)
	if err != nil || len(claims) != 1 {
		t.Fatalf("%d claims, %v", len(claims), err)
	}
	if _, err := s.DeleteWebhook(t.Context(), team, w.ID); err != nil {
		t.Fatal(err)
	}
	if pruned, err := s.Prune(t.Context(), time.Now().Add(time.Hour)); err != nil || pruned.Deliveries != 0 {
		t.Fatalf("Prune while an attempt is in flight: %+v, %v", pruned, err)
	}
	if err := s.ReleaseDeliveries(t.Context(), claims); err != nil {
		t.Fatal(err)
	}
	if pruned, err := s.Prune(t.Context(), time.Now().Add(time.Hour)); err != nil || pruned.Deliveries != 1 {
		t.Errorf("Prune afterwards: %+v, %v", pruned, err)
	}
}

// TestPruneKeepsEventsThatAreOwed ages an event below its pending delivery, as
// when an old event is sent again.
func TestPruneKeepsEventsThatAreOwed(t *testing.T) {
	t.Parallel()
	s, _, team, _ := fresh(t)
	if err := publishOne(t.Context(), s, team, `{}`); err != nil {
		t.Fatal(err)
	}
	mustExec(t, s.writer, `UPDATE events SET created_at = 1`)
	if pruned, err := s.Prune(t.Context(), time.Now().Add(-time.Hour)); err != nil || pruned != (store.Pruned{}) {
		t.Errorf("Prune of an event with a young pending delivery: %+v, %v", pruned, err)
	}
	if claims, err := s.ClaimDeliveries(t.Context(), 1, time.Minute, nil); err != nil || len(claims) != 1 {
		t.Errorf("%d claims afterwards, %v", len(claims), err)
	}
}
