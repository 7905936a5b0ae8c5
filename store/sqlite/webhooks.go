package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"github.com/tellhook/tellhook/store"
	"github.com/tellhook/tellhook/store/seal"
)

const webhookColumns = `id, team_id, kind, url, description, events, filter, metadata, sealed, secret_hint, rate_limit,
	status, paused_reason, health, failing_since, consecutive_failures, last_delivery_at, created_at, updated_at`

// storedWebhook is a row: what is secret of it is still sealed.
type storedWebhook struct {
	store.Webhook
	sealed []byte
}

func scanWebhook(row scanner) (storedWebhook, error) {
	var w storedWebhook
	err := row.Scan(&w.ID, &w.TeamID, &w.Kind, &w.URL, &w.Description, asJSON{&w.Events}, asJSON{&w.Filter}, asJSON{&w.Metadata},
		&w.sealed, &w.SecretHint, &w.RateLimit, &w.Status, &w.PausedReason, &w.Health, maybeInstant{&w.FailingSince},
		&w.ConsecutiveFailures, maybeInstant{&w.LastDeliveryAt}, instant{&w.CreatedAt}, instant{&w.UpdatedAt})
	return w, err
}

// confidential is what is sealed of a webhook, in one piece.
type confidential struct {
	Secrets []store.Secret    `json:"secrets"`
	Headers map[string]string `json:"headers"`
}

func (s *Store) seal(w *store.Webhook) ([]byte, error) {
	plain, err := json.Marshal(confidential{w.Secrets, w.Headers})
	if err != nil {
		return nil, err
	}
	return s.keys.Seal(plain, seal.Context(w.TeamID, w.ID))
}

func (s *Store) open(row *storedWebhook) (*store.Webhook, error) {
	plain, err := s.keys.Open(row.sealed, seal.Context(row.TeamID, row.ID))
	if err != nil {
		return nil, &store.Error{Code: store.CodeInternal, Message: "the secrets of webhook " + row.ID + " do not open", Err: err}
	}
	var c confidential
	if err := json.Unmarshal(plain, &c); err != nil {
		return nil, &store.Error{Code: store.CodeInternal, Message: "the secrets of webhook " + row.ID + " are malformed"} // err may quote them
	}
	row.Secrets, row.Headers = c.Secrets, c.Headers
	return &row.Webhook, nil
}

// findWebhook reads a webhook, secrets opened.
func (s *Store) findWebhook(ctx context.Context, q queryer, teamID, id string) (*store.Webhook, error) {
	row, err := scanWebhook(q.QueryRowContext(ctx, `SELECT `+webhookColumns+` FROM webhooks WHERE team_id = ? AND id = ?`, teamID, id))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, notFound("webhook", id)
	}
	if err != nil {
		return nil, translate(err)
	}
	return s.open(&row)
}

// CreateWebhook implements store.Store.
func (s *Store) CreateWebhook(ctx context.Context, teamID string, given *store.Webhook, idem *store.Idempotency) (stored *store.Webhook, created bool, err error) {
	w := given.Clone()
	w.ID, w.TeamID, w.CreatedAt = store.NewID(store.PrefixWebhook), teamID, now()
	w.UpdatedAt = w.CreatedAt
	w.Health, w.FailingSince, w.ConsecutiveFailures, w.LastDeliveryAt = store.HealthHealthy, nil, 0, nil
	w.SecretHint = hint(w.Secrets)
	err = s.write(ctx, func(tx *sql.Tx) error {
		if err := checkTeam(ctx, tx, teamID); err != nil {
			return err
		}
		if idem != nil {
			id, err := rememberedID(ctx, tx, teamID, routeCreateWebhook, idem)
			if err != nil {
				return err
			}
			if id != "" {
				if w, err = s.findWebhook(ctx, tx, teamID, id); store.CodeOf(err) == store.CodeNotFound {
					return store.KeySpent(idem.Key)
				}
				return err
			}
			if err := remember(ctx, tx, teamID, routeCreateWebhook, idem, w.ID); err != nil {
				return err
			}
		}
		created = true
		return s.insertWebhook(ctx, tx, w)
	})
	if err != nil {
		return nil, false, err
	}
	return w, created, nil
}

func (s *Store) insertWebhook(ctx context.Context, tx *sql.Tx, w *store.Webhook) error {
	sealed, err := s.seal(w)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `
		INSERT INTO webhooks (id, team_id, kind, url, description, events, filter, metadata, sealed, secret_hint, rate_limit,
			status, paused_reason, health, consecutive_failures, created_at, updated_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?)`,
		w.ID, w.TeamID, w.Kind, w.URL, w.Description, asJSON{w.Events}, asJSON{w.Filter}, asJSON{w.Metadata}, sealed, w.SecretHint, w.RateLimit,
		w.Status, w.PausedReason, w.Health, w.CreatedAt.UnixMicro(), w.UpdatedAt.UnixMicro())
	return err
}

func hint(secrets []store.Secret) string {
	if len(secrets) == 0 {
		return ""
	}
	return store.Hint(secrets[0].Value)
}

// GetWebhook implements store.Store.
func (s *Store) GetWebhook(ctx context.Context, teamID, id string) (*store.Webhook, error) {
	return s.findWebhook(ctx, s.reader, teamID, id)
}

// ListWebhooks implements store.Store.
func (s *Store) ListWebhooks(ctx context.Context, teamID string, q store.WebhookQuery) (store.List[store.Webhook], error) {
	var none store.List[store.Webhook]
	after, err := q.Position("webhooks")
	if err != nil {
		return none, err
	}
	if q.Kind == "" {
		q.Kind = store.KindWebhook
	}
	var cond where
	cond.and("team_id = ?", teamID)
	cond.and("kind = ?", q.Kind)
	cond.andText("id < ?", after)
	cond.andText("status = ?", string(q.Status))
	cond.andText("health = ?", string(q.Health))
	query := `SELECT ` + webhookColumns + ` FROM webhooks WHERE ` + cond.sql.String() + ` ORDER BY id DESC` //nolint:gosec // the conditions are constants of ours
	rows, err := s.reader.QueryContext(ctx, query, cond.args...)
	if err != nil {
		return none, translate(err)
	}
	defer func() { _ = rows.Close() }() // its error is that of rows.Err
	var found []store.Webhook
	for len(found) <= q.Rows() && rows.Next() {
		row, err := scanWebhook(rows)
		if err != nil {
			return none, translate(err)
		}
		if !q.Finds(&row.Webhook) {
			continue
		}
		w, err := s.open(&row)
		if err != nil {
			return none, err
		}
		w.Secrets = nil
		found = append(found, *w)
	}
	if err := rows.Err(); err != nil {
		return none, translate(err)
	}
	return store.PageOf(q.Page, "webhooks", found, func(w *store.Webhook) string { return w.ID }), nil
}

// UpdateWebhook implements store.Store. change runs inside the transaction, so
// it must not call the store.
func (s *Store) UpdateWebhook(ctx context.Context, teamID, id string, change func(*store.Webhook) error) (*store.Webhook, error) {
	var (
		w       *store.Webhook
		refused error
	)
	err := s.write(ctx, func(tx *sql.Tx) (err error) {
		before, err := s.findWebhook(ctx, tx, teamID, id)
		if err != nil {
			return err
		}
		w = before.Clone()
		if refused = change(w); refused != nil {
			return refused
		}
		w.ID, w.TeamID, w.Kind, w.CreatedAt = before.ID, before.TeamID, before.Kind, before.CreatedAt
		w.Health, w.FailingSince, w.ConsecutiveFailures, w.LastDeliveryAt = before.Health, before.FailingSince, before.ConsecutiveFailures, before.LastDeliveryAt
		w.SecretHint, w.UpdatedAt = hint(w.Secrets), later(before.UpdatedAt)
		sealed, err := s.seal(w)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `
			UPDATE webhooks SET url = ?, description = ?, events = ?, filter = ?, metadata = ?, sealed = ?, secret_hint = ?,
				rate_limit = ?, status = ?, paused_reason = ?, updated_at = ? WHERE team_id = ? AND id = ?`,
			w.URL, w.Description, asJSON{w.Events}, asJSON{w.Filter}, asJSON{w.Metadata}, sealed, w.SecretHint,
			w.RateLimit, w.Status, w.PausedReason, w.UpdatedAt.UnixMicro(), teamID, id)
		return err
	})
	if refused != nil {
		return nil, refused
	}
	if err != nil {
		return nil, err
	}
	return w, nil
}

// later is now, or just after before where the clock has not moved on: each
// change has an UpdatedAt of its own.
func later(before time.Time) time.Time {
	t := now()
	if !t.After(before) {
		return before.Add(time.Microsecond)
	}
	return t
}

// DeleteWebhook implements store.Store.
func (s *Store) DeleteWebhook(ctx context.Context, teamID, id string) (cancelled int, err error) {
	err = s.write(ctx, func(tx *sql.Tx) error {
		r, err := tx.ExecContext(ctx, `DELETE FROM webhooks WHERE team_id = ? AND id = ?`, teamID, id)
		if err != nil {
			return err
		}
		n, err := r.RowsAffected()
		if err != nil {
			return err
		}
		if n == 0 {
			return notFound("webhook", id)
		}
		r, err = tx.ExecContext(ctx, `
			UPDATE deliveries SET status = 'cancelled', reason = ?, next_attempt_at = NULL, finished_at = ?
			WHERE webhook_id = ? AND status = 'pending'`, store.ReasonWebhookDeleted, now().UnixMicro(), id)
		if err != nil {
			return err
		}
		n, err = r.RowsAffected()
		cancelled = int(n)
		return err
	})
	if err != nil {
		return 0, err
	}
	return cancelled, nil
}
