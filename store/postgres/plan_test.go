package postgres

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"github.com/tellhook/tellhook/store"
	"github.com/tellhook/tellhook/store/postgres/pgtest"
	"github.com/tellhook/tellhook/store/seal"
)

func openInternal(t *testing.T, params ...string) *Store {
	t.Helper()
	url := pgtest.New(t)
	if err := Migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	keys, err := seal.Parse(seal.GenerateKey())
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), Config{URL: url + "&" + strings.Join(params, "&"), Keys: keys, MaxConns: 4, Log: zerolog.New(zerolog.NewTestWriter(t))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// TestQueueUsesItsIndexes: where one webhook dominates the statistics, so that
// the planner expects nothing beside it, the claim still walks the index of what
// is due, in its order, and RecordAttempts finds deliveries by id.
func TestQueueUsesItsIndexes(t *testing.T) {
	t.Parallel()
	s := openInternal(t)
	if _, err := s.pool.Exec(t.Context(), `
		INSERT INTO tellhook.deliveries (id, team_id, webhook_id, event_id, event_type, status, reason, attempts, step, lost, due_at, last_error_kind, created_at)
		SELECT 'dlv_' || n, 'team_1', 'whk_big', 'evt_1', 'a', 'pending', '', 0, 0, 0, now(), '', now() FROM generate_series(1, 20000) n`); err != nil {
		t.Fatal(err)
	}
	if _, err := s.pool.Exec(t.Context(), `ANALYZE tellhook.deliveries`); err != nil {
		t.Fatal(err)
	}
	plan := func(sql string, args ...any) string {
		var lines []string
		err := s.tx(t.Context(), queue, func(ctx context.Context, tx pgx.Tx) error {
			rows, _ := tx.Query(ctx, "EXPLAIN "+sql, args...)
			var err error
			lines, err = pgx.CollectRows(rows, pgx.RowTo[string])
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(lines, "\n")
	}
	for _, full := range [][]string{{}, {"whk_big"}} {
		got := plan(claimSQL, 500, time.Minute, full)
		if !strings.Contains(got, "deliveries_due") || strings.Contains(got, "Seq Scan") || strings.Contains(got, "Sort") {
			t.Errorf("claim without %q: the plan is\n%s", full, got)
		}
	}
	if got := plan(reclaimSQL, 500, store.MaxUnknown, store.ReasonLost, store.ErrorUnknown); !strings.Contains(got, "deliveries_leased") || strings.Contains(got, "Seq Scan") {
		t.Errorf("reclaim: the plan is\n%s", got)
	}
}

// TestClaimPassesOverWhatItCannotSend: deliveries of a webhook that is gone are
// cancelled, those whose secrets do not open put off, and the others go on.
func TestClaimPassesOverWhatItCannotSend(t *testing.T) {
	t.Parallel()
	s := openInternal(t)
	team, err := s.FindTeam(t.Context(), store.DefaultTeam)
	if err != nil {
		t.Fatal(err)
	}
	ids := make([]string, 3)
	for i := range ids {
		w, _, err := s.CreateWebhook(t.Context(), team.ID, &store.Webhook{
			Kind: store.KindWebhook, URL: "https://example.com/", Events: []string{"*"}, Status: store.StatusActive,
			Secrets: []store.Secret{{Value: "whsec_c2VjcmV0LW9mLXRlc3Rz"}},
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = w.ID
	}
	if _, err := s.PublishEvents(t.Context(), team.ID, []store.Publish{{Type: "a", Data: json.RawMessage(`{}`)}}); err != nil {
		t.Fatal(err)
	}
	gone, foreign := ids[0], ids[1]
	for _, sql := range []string{
		`DELETE FROM tellhook.webhooks WHERE id = '` + gone + `'`, // as a delete that a publish overlapped
		`UPDATE tellhook.webhooks SET sealed = (SELECT sealed FROM tellhook.webhooks WHERE id = '` + ids[2] + `') WHERE id = '` + foreign + `'`,
	} {
		if _, err := s.pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	claims, err := s.ClaimDeliveries(t.Context(), 10, time.Minute, nil)
	if err != nil || len(claims) != 1 || claims[0].Webhook.ID != ids[2] {
		t.Fatalf("claims %+v, %v, want the third webhook's", claims, err)
	}
	list, err := s.ListDeliveries(t.Context(), team.ID, store.DeliveryQuery{})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range list.Data {
		switch d.WebhookID {
		case gone:
			if d.Status != store.DeliveryCancelled || d.Reason != store.ReasonWebhookDeleted || d.Attempts != 0 {
				t.Errorf("delivery of the webhook that is gone: %+v", d)
			}
		case foreign:
			if d.Status != store.DeliveryPending || d.InFlight || d.Attempts != 0 || time.Until(*d.NextAttemptAt) < putOff/2 {
				t.Errorf("delivery whose secrets do not open: %+v", d)
			}
		}
	}
}
