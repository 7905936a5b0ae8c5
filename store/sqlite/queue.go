package sqlite

import (
	"context"
	"database/sql"
	"slices"
	"time"

	"github.com/tellhook/tellhook/store"
)

// dueQuery finds due deliveries. A pending delivery always has its webhook and
// its event: publishing and deleting are serial, and pruning keeps the event.
const dueQuery = `
	SELECT ` + deliveryColumns + `, e.position
	FROM deliveries d
	CROSS JOIN webhooks w ON w.id = d.webhook_id -- CROSS JOIN keeps this order of loops, so the index gives the rows by due time
	CROSS JOIN events e ON e.team_id = d.team_id AND e.id = d.event_id
	WHERE d.next_attempt_at <= ?1 AND w.status = 'active' AND d.webhook_id NOT IN (SELECT value FROM json_each(?2))
	ORDER BY d.next_attempt_at, d.id LIMIT ?3`

// dueDelivery is a delivery that can be claimed.
type dueDelivery struct {
	store.Delivery
	position int64 // of its event
}

func scanDue(row scanner) (dueDelivery, error) {
	var d dueDelivery
	err := row.Scan(append(deliveryFields(&d.Delivery), &d.position)...)
	return d, err
}

// ClaimDeliveries implements store.Store.
func (s *Store) ClaimDeliveries(ctx context.Context, limit int, lease time.Duration, full []string) ([]store.Claim, error) {
	if limit <= 0 {
		return nil, nil
	}
	var claims []store.Claim
	err := s.write(ctx, func(tx *sql.Tx) error {
		at := now()
		due, webhooks, err := s.claimable(ctx, tx, at, limit, full)
		if err != nil || len(due) == 0 {
			return err
		}
		ids, positions := make([]string, len(due)), make([]int64, len(due))
		for i, d := range due {
			ids[i], positions[i] = d.ID, d.position
		}
		events, err := eventsAt(ctx, tx, positions)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `
			UPDATE deliveries SET attempts = attempts + 1, claimed_at = ?, lease_until = ?, next_attempt_at = NULL
			WHERE id IN (SELECT value FROM json_each(?))`, at.UnixMicro(), at.Add(lease).UnixMicro(), asJSON{ids})
		if err != nil {
			return err
		}
		claims = make([]store.Claim, len(due))
		for i, d := range due {
			d.Attempts, d.InFlight, d.NextAttemptAt = d.Attempts+1, true, nil
			claims[i] = store.Claim{Delivery: d.Delivery, Event: events[d.position], Webhook: webhooks[d.WebhookID]}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return claims, nil
}

// putOff is how long deliveries wait whose webhook's secrets do not open.
const putOff = time.Minute

// claimable answers due deliveries and their webhooks, opened. Those of a webhook
// whose secrets do not open are put off, so that one bad row stops nobody else.
func (s *Store) claimable(ctx context.Context, tx *sql.Tx, at time.Time, limit int, full []string) ([]dueDelivery, map[string]*store.Webhook, error) {
	if full == nil {
		full = []string{}
	}
	due, err := collect(ctx, tx, scanDue, dueQuery, at.UnixMicro(), asJSON{full}, limit)
	if err != nil || len(due) == 0 {
		return nil, nil, err
	}
	ids := map[string]bool{}
	for _, d := range due {
		ids[d.WebhookID] = true
	}
	rows, err := collect(ctx, tx, scanWebhook, `
		SELECT `+webhookColumns+` FROM webhooks WHERE id IN (SELECT key FROM json_each(?))`, asJSON{ids})
	if err != nil {
		return nil, nil, err
	}
	webhooks := make(map[string]*store.Webhook, len(rows))
	for i := range rows {
		w, err := s.open(&rows[i])
		if err != nil {
			s.log.Error().Err(err).Str("webhook_id", rows[i].ID).Dur("put_off", putOff).Msg("deliveries of a webhook are put off")
			continue
		}
		webhooks[w.ID] = w
	}
	var later []string
	due = slices.DeleteFunc(due, func(d dueDelivery) bool {
		if webhooks[d.WebhookID] != nil {
			return false
		}
		later = append(later, d.ID)
		return true
	})
	if len(later) > 0 {
		_, err = tx.ExecContext(ctx, `
			UPDATE deliveries SET next_attempt_at = ? WHERE id IN (SELECT value FROM json_each(?))`, at.Add(putOff).UnixMicro(), asJSON{later})
	}
	return due, webhooks, err
}

func eventsAt(ctx context.Context, tx *sql.Tx, positions []int64) (map[int64]*store.Event, error) {
	events, err := collect(ctx, tx, scanEvent, `
		SELECT `+eventColumns+` FROM events WHERE position IN (SELECT value FROM json_each(?))`, asJSON{positions})
	if err != nil {
		return nil, err
	}
	at := make(map[int64]*store.Event, len(events))
	for i := range events {
		at[events[i].Position] = &events[i]
	}
	return at, nil
}

// ReleaseDeliveries implements store.Store.
func (s *Store) ReleaseDeliveries(ctx context.Context, claims []store.Claim) error {
	if len(claims) == 0 {
		return nil
	}
	return s.write(ctx, func(tx *sql.Tx) error {
		for _, c := range claims { // due when claimed: before what has become due since
			_, err := tx.ExecContext(ctx, `
				UPDATE deliveries SET attempts = attempts - 1, claimed_at = NULL, lease_until = NULL,
					next_attempt_at = CASE status WHEN 'pending' THEN claimed_at END
				WHERE id = ? AND attempts = ? AND lease_until IS NOT NULL`, c.Delivery.ID, c.Delivery.Attempts)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// ReclaimLapsed implements store.Store.
func (s *Store) ReclaimLapsed(ctx context.Context, limit int) (int, error) {
	if limit <= 0 {
		return 0, nil
	}
	taken := 0
	err := s.write(ctx, func(tx *sql.Tx) error {
		at := now()
		lost, err := collect(ctx, tx, func(row scanner) (a store.Attempt, err error) {
			return a, row.Scan(&a.DeliveryID, &a.Number, instant{&a.StartedAt})
		}, `SELECT id, attempts, claimed_at FROM deliveries WHERE lease_until <= ? ORDER BY lease_until LIMIT ?`, at.UnixMicro(), limit)
		if err != nil {
			return err
		}
		for _, a := range lost {
			a.ID, a.ErrorKind, a.Error = store.NewID(store.PrefixAttempt), store.ErrorUnknown, store.LostText
			if err := insertAttempt(ctx, tx, &a); err != nil {
				return err
			}
			if err := reclaim(ctx, tx, a.DeliveryID, at); err != nil {
				return err
			}
		}
		taken = len(lost)
		return nil
	})
	if err != nil {
		return 0, err
	}
	return taken, nil
}

// reclaim ends a lapsed lease: the delivery is due, or has failed with one loss
// too many. A cancelled one stays as it is.
func reclaim(ctx context.Context, tx *sql.Tx, id string, at time.Time) error {
	_, err := tx.ExecContext(ctx, `
		UPDATE deliveries SET
			lost = lost + 1, claimed_at = NULL, lease_until = NULL, last_status_code = NULL, last_error_kind = @unknown,
			status          = CASE WHEN status = 'pending' AND lost + 1 >= @max THEN 'failed' ELSE status END,
			reason          = CASE WHEN status = 'pending' AND lost + 1 >= @max THEN @lost ELSE reason END,
			finished_at     = CASE WHEN status = 'pending' AND lost + 1 >= @max THEN @at ELSE finished_at END,
			next_attempt_at = CASE WHEN status = 'pending' AND lost + 1 < @max THEN @at END
		WHERE id = @id`,
		sql.Named("id", id), sql.Named("at", at.UnixMicro()), sql.Named("max", store.MaxUnknown),
		sql.Named("unknown", store.ErrorUnknown), sql.Named("lost", store.ReasonLost))
	return err
}
