package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/tellhook/tellhook/store"
)

// recording is one RecordAttempts: its transaction and the webhooks that it has
// touched, without secrets; nil stands for one that is gone.
type recording struct {
	tx       *sql.Tx
	now      time.Time
	webhooks map[string]*store.Webhook
}

// RecordAttempts implements store.Store. An outcome that comes after its lease
// lapsed, and before anybody reclaimed it, still counts: it is the truth.
func (s *Store) RecordAttempts(ctx context.Context, results []store.Result) ([]store.Recorded, error) {
	recorded := make([]store.Recorded, len(results))
	if len(results) == 0 {
		return recorded, nil
	}
	err := s.write(ctx, func(tx *sql.Tx) (err error) {
		r := &recording{tx: tx, now: now(), webhooks: map[string]*store.Webhook{}}
		for i := range results {
			if recorded[i], err = r.record(ctx, &results[i]); err != nil {
				return err
			}
		}
		return r.saveWebhooks(ctx)
	})
	if err != nil {
		return nil, err
	}
	return recorded, nil
}

func (r *recording) record(ctx context.Context, result *store.Result) (store.Recorded, error) {
	webhookID, err := r.moveOn(ctx, result)
	if errors.Is(err, sql.ErrNoRows) {
		return store.Recorded{}, nil // the fence
	}
	if err != nil {
		return store.Recorded{}, err
	}
	if err := insertAttempt(ctx, r.tx, &result.Attempt); err != nil {
		return store.Recorded{}, err
	}
	w, err := r.webhook(ctx, webhookID)
	if err != nil || w == nil {
		return store.Recorded{Applied: true}, err
	}
	status := w.Status
	if !w.Observe(result) {
		return store.Recorded{Applied: true}, nil
	}
	if w.Status != status {
		w.UpdatedAt = later(w.UpdatedAt)
	}
	return store.Recorded{Applied: true, Webhook: w.Clone()}, nil
}

// moveOn ends the claim and answers the delivery's webhook; sql.ErrNoRows where
// the claim is no longer the sender's. A delivery cancelled meanwhile keeps its
// state.
func (r *recording) moveOn(ctx context.Context, result *store.Result) (webhookID string, err error) {
	err = r.tx.QueryRowContext(ctx, `
		UPDATE deliveries SET
			step = step + 1, lost = 0, claimed_at = NULL, lease_until = NULL, last_status_code = @code, last_error_kind = @kind,
			status          = CASE status WHEN 'pending' THEN @status ELSE status END,
			reason          = CASE status WHEN 'pending' THEN @reason ELSE reason END,
			finished_at     = CASE WHEN status = 'pending' AND @status <> 'pending' THEN @now ELSE finished_at END,
			next_attempt_at = CASE WHEN status = 'pending' AND @status = 'pending' THEN @due END
		WHERE id = @id AND attempts = @number AND lease_until IS NOT NULL
		RETURNING webhook_id`,
		sql.Named("id", result.Attempt.DeliveryID), sql.Named("number", result.Attempt.Number),
		sql.Named("code", result.Attempt.StatusCode), sql.Named("kind", result.Attempt.ErrorKind),
		sql.Named("status", result.Status), sql.Named("reason", result.Reason),
		sql.Named("now", r.now.UnixMicro()), sql.Named("due", r.now.Add(result.RetryIn).UnixMicro())).Scan(&webhookID)
	return webhookID, err
}

func (r *recording) webhook(ctx context.Context, id string) (*store.Webhook, error) {
	if w, ok := r.webhooks[id]; ok {
		return w, nil
	}
	row, err := scanWebhook(r.tx.QueryRowContext(ctx, `SELECT `+webhookColumns+` FROM webhooks WHERE id = ?`, id))
	if errors.Is(err, sql.ErrNoRows) {
		r.webhooks[id] = nil
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r.webhooks[id] = &row.Webhook
	return &row.Webhook, nil
}

func (r *recording) saveWebhooks(ctx context.Context) error {
	for _, w := range r.webhooks {
		if w == nil {
			continue
		}
		_, err := r.tx.ExecContext(ctx, `
			UPDATE webhooks SET health = ?, failing_since = ?, consecutive_failures = ?, last_delivery_at = ?,
				status = ?, paused_reason = ?, updated_at = ? WHERE id = ?`,
			w.Health, micros(w.FailingSince), w.ConsecutiveFailures, micros(w.LastDeliveryAt),
			w.Status, w.PausedReason, w.UpdatedAt.UnixMicro(), w.ID)
		if err != nil {
			return err
		}
	}
	return nil
}
