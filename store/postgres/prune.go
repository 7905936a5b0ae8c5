package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tellhook/tellhook/store"
)

// pruneBatch is how many rows one short transaction of Prune looks at.
const pruneBatch = 500

// Prune deletes what is older than before. A delivery's age counts from its end,
// so that what expires now stays readable for as long as anything else.
func (s *Store) Prune(ctx context.Context, before time.Time) (store.Pruned, error) {
	var total store.Pruned
	if err := s.pruneDeliveries(ctx, before, &total); err != nil {
		return total, err
	}
	if err := s.pruneEvents(ctx, before, &total); err != nil {
		return total, err
	}
	return total, s.pruneKeys(ctx, &total)
}

// pruneDeliveries walks the deliveries from the oldest id. Ids order by the
// clocks of the processes that made them, so the walk ends at a batch of which
// no row is old.
func (s *Store) pruneDeliveries(ctx context.Context, before time.Time, total *store.Pruned) error {
	for after, more := "", true; more; {
		var seen, old, attempts, deliveries int
		var last *string
		err := s.tx(ctx, plain, func(ctx context.Context, tx pgx.Tx) error {
			err := tx.QueryRow(ctx, `
				SELECT count(*), count(*) FILTER (WHERE created_at < $2), max(id) FROM (
					SELECT id, created_at FROM tellhook.deliveries WHERE id > $1 ORDER BY id LIMIT $3
				) AS batch`, after, before, pruneBatch).Scan(&seen, &old, &last)
			if err != nil || old == 0 {
				return err
			}
			return tx.QueryRow(ctx, `
				WITH gone AS MATERIALIZED (
					SELECT id FROM tellhook.deliveries
					WHERE id > $1 AND id <= $2 AND finished_at < $3 AND lease_until IS NULL
					ORDER BY id FOR UPDATE SKIP LOCKED
				), a AS (
					DELETE FROM tellhook.attempts USING gone WHERE delivery_id = gone.id RETURNING 1
				), d AS (
					DELETE FROM tellhook.deliveries d USING gone WHERE d.id = gone.id RETURNING 1
				)
				SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM d)`, after, last, before).Scan(&attempts, &deliveries)
		})
		if err != nil {
			return err
		}
		total.Attempts += attempts
		total.Deliveries += deliveries
		if more = seen == pruneBatch && old > 0; more {
			after = *last
		}
	}
	return nil
}

// pruneEvents takes events from the log's oldest end, where the database's
// clock and the positions go together, and cancels what is still owed of them.
func (s *Store) pruneEvents(ctx context.Context, before time.Time, total *store.Pruned) error {
	for more := true; more; {
		var expired, events int
		err := s.tx(ctx, plain, func(ctx context.Context, tx pgx.Tx) error {
			rows, _ := tx.Query(ctx, `
				SELECT team_id, id FROM (
					SELECT team_id, id, created_at FROM tellhook.events ORDER BY position LIMIT $2
				) AS oldest WHERE created_at < $1`, before, pruneBatch)
			var teams, ids []string
			var team, id string
			_, err := pgx.ForEachRow(rows, []any{&team, &id}, func() error {
				teams, ids = append(teams, team), append(ids, id)
				return nil
			})
			if err != nil {
				return err
			}
			expired, events, err = expire(ctx, tx, teams, ids)
			return err
		})
		if err != nil {
			return err
		}
		total.Expired += expired
		total.Events += events
		more = events == pruneBatch
	}
	return nil
}

func expire(ctx context.Context, tx pgx.Tx, teams, ids []string) (expired, events int, err error) {
	tag, err := tx.Exec(ctx, `
		WITH owed AS (
			SELECT d.id FROM unnest($1::text[], $2::text[]) AS e (team_id, id)
			JOIN tellhook.deliveries d ON d.team_id = e.team_id AND d.event_id = e.id
			WHERE d.status = 'pending' ORDER BY d.id FOR NO KEY UPDATE OF d
		)
		UPDATE tellhook.deliveries d
		SET status = 'cancelled', reason = $3, due_at = NULL, finished_at = clock_timestamp()
		FROM owed WHERE d.id = owed.id`, teams, ids, store.ReasonExpired)
	if err != nil {
		return 0, 0, err
	}
	expired = int(tag.RowsAffected())
	tag, err = tx.Exec(ctx, `
		DELETE FROM tellhook.events e USING unnest($1::text[], $2::text[]) AS old (team_id, id)
		WHERE e.team_id = old.team_id AND e.id = old.id`, teams, ids)
	return expired, int(tag.RowsAffected()), err
}

func (s *Store) pruneKeys(ctx context.Context, total *store.Pruned) error {
	for more := true; more; {
		var keys int
		err := s.tx(ctx, plain, func(ctx context.Context, tx pgx.Tx) error {
			tag, err := tx.Exec(ctx, `
				DELETE FROM tellhook.idempotency_keys WHERE ctid = ANY (ARRAY(
					SELECT ctid FROM tellhook.idempotency_keys WHERE created_at < clock_timestamp() - $1::interval
					ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED))`, store.IdempotencyTTL, pruneBatch)
			keys = int(tag.RowsAffected())
			return err
		})
		if err != nil {
			return err
		}
		total.Keys += keys
		more = keys == pruneBatch
	}
	return nil
}
