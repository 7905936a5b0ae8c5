package sqlite

import (
	"context"
	"database/sql"
	"time"

	"github.com/tellhook/tellhook/store"
)

// pruneBatch is how many rows one of Prune's transactions looks at.
const pruneBatch = 500

// Prune implements store.Store. A delivery's age counts from its end, so what
// expires stays readable for as long as anything else that has ended.
func (s *Store) Prune(ctx context.Context, before time.Time) (store.Pruned, error) {
	var total store.Pruned
	for _, step := range []func(context.Context, *sql.Tx, *store.Pruned) (int, error){
		pruneDeliveries(before), pruneEvents(before), pruneKeys,
	} {
		for seen := pruneBatch; seen == pruneBatch; {
			next := total
			err := s.write(ctx, func(tx *sql.Tx) (err error) {
				seen, err = step(ctx, tx, &next)
				return err
			})
			if err != nil {
				return total, err
			}
			total = next
		}
	}
	return total, nil
}

// pruneDeliveries deletes a batch of deliveries that ended before, with their
// attempts; one whose last attempt is in flight waits for the next time.
func pruneDeliveries(before time.Time) func(context.Context, *sql.Tx, *store.Pruned) (int, error) {
	return func(ctx context.Context, tx *sql.Tx, total *store.Pruned) (int, error) {
		ids, err := collect(ctx, tx, scanText, `
			SELECT id FROM deliveries WHERE finished_at < ? AND lease_until IS NULL LIMIT ?`, before.UnixMicro(), pruneBatch)
		if err != nil || len(ids) == 0 {
			return 0, err
		}
		attempts, err := affected(tx.ExecContext(ctx, `DELETE FROM attempts WHERE delivery_id IN (SELECT value FROM json_each(?))`, asJSON{ids}))
		if err != nil {
			return 0, err
		}
		deliveries, err := affected(tx.ExecContext(ctx, `DELETE FROM deliveries WHERE id IN (SELECT value FROM json_each(?))`, asJSON{ids}))
		total.Attempts, total.Deliveries = total.Attempts+attempts, total.Deliveries+deliveries
		return len(ids), err
	}
}

const (
	oldEventsQuery = `SELECT position FROM events WHERE created_at < ? ORDER BY created_at LIMIT ?`

	expireQuery = `
		UPDATE deliveries SET status = 'cancelled', reason = ?, finished_at = ?, next_attempt_at = NULL
		WHERE status = 'pending' AND (team_id, event_id) IN
			(SELECT team_id, id FROM events WHERE position IN (SELECT value FROM json_each(?)))`
)

// pruneEvents deletes a batch of old events and cancels what is still owed of
// them.
func pruneEvents(before time.Time) func(context.Context, *sql.Tx, *store.Pruned) (int, error) {
	return func(ctx context.Context, tx *sql.Tx, total *store.Pruned) (int, error) {
		scan := func(row scanner) (position int64, err error) { return position, row.Scan(&position) }
		old, err := collect(ctx, tx, scan, oldEventsQuery, before.UnixMicro(), pruneBatch)
		if err != nil || len(old) == 0 {
			return 0, err
		}
		expired, err := affected(tx.ExecContext(ctx, expireQuery, store.ReasonExpired, now().UnixMicro(), asJSON{old}))
		if err != nil {
			return 0, err
		}
		events, err := affected(tx.ExecContext(ctx, `DELETE FROM events WHERE position IN (SELECT value FROM json_each(?))`, asJSON{old}))
		total.Expired, total.Events = total.Expired+expired, total.Events+events
		return len(old), err
	}
}

func pruneKeys(ctx context.Context, tx *sql.Tx, total *store.Pruned) (int, error) {
	keys, err := affected(tx.ExecContext(ctx, `
		DELETE FROM idempotency_keys WHERE (team_id, route, key) IN
			(SELECT team_id, route, key FROM idempotency_keys WHERE created_at <= ? LIMIT ?)`,
		now().Add(-store.IdempotencyTTL).UnixMicro(), pruneBatch))
	total.Keys += keys
	return keys, err
}

func scanText(row scanner) (text string, err error) { return text, row.Scan(&text) }

func affected(r sql.Result, err error) (int, error) {
	if err != nil {
		return 0, err
	}
	n, err := r.RowsAffected()
	return int(n), err
}
