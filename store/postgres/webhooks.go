package postgres

import (
	"bytes"
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/tellhook/tellhook/store"
)

// Routes under which idempotency keys are remembered.
const (
	routeWebhooks = "webhooks"
	routeEvents   = "events"
)

// CreateWebhook stores w with a new id.
func (s *Store) CreateWebhook(ctx context.Context, teamID string, w *store.Webhook, idem *store.Idempotency) (stored *store.Webhook, created bool, err error) {
	given := w.Clone()
	given.ID, given.TeamID = store.NewID(store.PrefixWebhook), teamID
	args, err := s.ownersArgs(given)
	if err != nil {
		return nil, false, translate(err)
	}
	err = s.tx(ctx, plain, func(ctx context.Context, tx pgx.Tx) error {
		id := given.ID
		if idem != nil {
			if id, err = remember(ctx, tx, teamID, routeWebhooks, idem, given.ID); err != nil {
				return err
			}
		}
		if created = id == given.ID; created {
			stored, err = s.insertWebhook(ctx, tx, given.Kind, args)
			return err
		}
		if stored, err = s.readWebhook(ctx, tx, teamID, id, ""); store.CodeOf(err) == store.CodeNotFound {
			return store.KeySpent(idem.Key)
		}
		return err
	})
	if violates(err, foreignKeyViolation, "") {
		return nil, false, noTeam(teamID)
	}
	if err != nil {
		return nil, false, err
	}
	return stored, created, nil
}

// remember stores id under an idempotency key, also over one whose time is over,
// or answers the id that is stored there. It waits for a transaction that is
// storing one.
func remember(ctx context.Context, tx pgx.Tx, teamID, route string, idem *store.Idempotency, id string) (string, error) {
	tag, err := tx.Exec(ctx, `
		INSERT INTO tellhook.idempotency_keys AS k (team_id, route, key, fingerprint, resource_id)
		VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (team_id, route, key) DO UPDATE
			SET fingerprint = excluded.fingerprint, resource_id = excluded.resource_id, created_at = excluded.created_at
			WHERE k.created_at <= clock_timestamp() - $6::interval`,
		teamID, route, idem.Key, idem.Fingerprint, id, store.IdempotencyTTL)
	if err != nil || tag.RowsAffected() == 1 {
		return id, err
	}
	var fingerprint []byte
	err = tx.QueryRow(ctx, `
		SELECT fingerprint, resource_id FROM tellhook.idempotency_keys WHERE team_id = $1 AND route = $2 AND key = $3`,
		teamID, route, idem.Key).Scan(&fingerprint, &id)
	if err != nil {
		return "", err
	}
	if !bytes.Equal(fingerprint, idem.Fingerprint) {
		return "", store.KeyReused(idem.Key)
	}
	return id, nil
}

func (s *Store) insertWebhook(ctx context.Context, tx pgx.Tx, kind store.WebhookKind, args []any) (*store.Webhook, error) {
	rows, _ := tx.Query(ctx, `
		INSERT INTO tellhook.webhooks (id, team_id, url, description, events, filter, metadata, rate_limit,
			status, paused_reason, sealed, secret_hint, kind, health, consecutive_failures, created_at, updated_at)
		SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 'healthy', 0, now, now
		FROM (SELECT clock_timestamp() AS now) AS clock
		RETURNING `+webhookColumns, append(args, kind)...)
	row, err := pgx.CollectExactlyOneRow(rows, scanWebhook)
	if err != nil {
		return nil, err
	}
	return s.open(&row)
}

// readWebhook reads one webhook, secrets opened; lock may be a locking clause.
func (s *Store) readWebhook(ctx context.Context, tx pgx.Tx, teamID, id, lock string) (*store.Webhook, error) {
	rows, _ := tx.Query(ctx, `SELECT `+webhookColumns+` FROM tellhook.webhooks WHERE team_id = $1 AND id = $2 `+lock, teamID, id)
	list, err := pgx.CollectRows(rows, scanWebhook)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, notFound("webhook", id)
	}
	return s.open(&list[0])
}

// GetWebhook answers a webhook, secrets opened.
func (s *Store) GetWebhook(ctx context.Context, teamID, id string) (*store.Webhook, error) {
	row, err := one(ctx, s, "webhook", id, scanWebhook, `
		SELECT `+webhookColumns+` FROM tellhook.webhooks WHERE team_id = $1 AND id = $2`, teamID, id)
	if err != nil {
		return nil, err
	}
	return s.open(row)
}

// ListWebhooks answers webhooks, newest first, Secrets nil.
func (s *Store) ListWebhooks(ctx context.Context, teamID string, q store.WebhookQuery) (store.List[store.Webhook], error) {
	const kind = "webhooks"
	none := store.List[store.Webhook]{}
	before, err := q.Position(kind)
	if err != nil {
		return none, err
	}
	if q.Kind == "" {
		q.Kind = store.KindWebhook
	}
	batch := q.Rows() + 1
	if q.Search != "" || q.Event != "" {
		batch = 500 // most may not match
	}
	var found []store.Webhook
	for more := true; more && len(found) <= q.Rows(); {
		rows, err := query(ctx, s, scanWebhook, `
			SELECT `+webhookColumns+` FROM tellhook.webhooks
			WHERE team_id = $1 AND ($2 = '' OR id < $2) AND kind = $3 AND ($4 = '' OR status = $4) AND ($5 = '' OR health = $5)
			ORDER BY id DESC LIMIT $6`, teamID, before, q.Kind, q.Status, q.Health, batch)
		if err != nil {
			return none, err
		}
		if more = len(rows) == batch; more {
			before = rows[batch-1].ID
		}
		for i := range rows {
			if len(found) > q.Rows() || !q.Finds(&rows[i].Webhook) {
				continue
			}
			w, err := s.open(&rows[i])
			if err != nil {
				return none, err
			}
			w.Secrets = nil
			found = append(found, *w)
		}
	}
	return store.PageOf(q.Page, kind, found, func(w *store.Webhook) string { return w.ID }), nil
}

var errRefused = errors.New("refused by change")

// UpdateWebhook lets change alter a webhook. change runs again, on the webhook
// as it is then, where the connection broke before the commit.
func (s *Store) UpdateWebhook(ctx context.Context, teamID, id string, change func(*store.Webhook) error) (*store.Webhook, error) {
	var (
		updated *store.Webhook
		refusal error
	)
	err := s.tx(ctx, plain, func(ctx context.Context, tx pgx.Tx) error {
		before, err := s.readWebhook(ctx, tx, teamID, id, "FOR NO KEY UPDATE")
		if err != nil {
			return err
		}
		w := before.Clone()
		if refusal = change(w); refusal != nil {
			return errRefused
		}
		w.ID, w.TeamID = before.ID, before.TeamID
		updated, err = s.storeOwners(ctx, tx, w)
		return err
	})
	if errors.Is(err, errRefused) {
		return nil, refusal
	}
	if err != nil {
		return nil, err
	}
	return updated, nil
}

func (s *Store) storeOwners(ctx context.Context, tx pgx.Tx, w *store.Webhook) (*store.Webhook, error) {
	args, err := s.ownersArgs(w)
	if err != nil {
		return nil, err
	}
	rows, _ := tx.Query(ctx, `
		UPDATE tellhook.webhooks SET url = $3, description = $4, events = $5, filter = $6, metadata = $7, rate_limit = $8,
			status = $9, paused_reason = $10, sealed = $11, secret_hint = $12, updated_at = clock_timestamp()
		WHERE id = $1 AND team_id = $2 RETURNING `+webhookColumns, args...)
	row, err := pgx.CollectExactlyOneRow(rows, scanWebhook)
	if err != nil {
		return nil, err
	}
	return s.open(&row)
}

// DeleteWebhook deletes a webhook and cancels its pending deliveries.
func (s *Store) DeleteWebhook(ctx context.Context, teamID, id string) (cancelled int, err error) {
	err = s.tx(ctx, large, func(ctx context.Context, tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `DELETE FROM tellhook.webhooks WHERE team_id = $1 AND id = $2`, teamID, id)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return notFound("webhook", id)
		}
		tag, err = tx.Exec(ctx, `
			WITH owed AS (
				SELECT id FROM tellhook.deliveries WHERE webhook_id = $1 AND status = 'pending'
				ORDER BY id FOR NO KEY UPDATE
			)
			UPDATE tellhook.deliveries d
			SET status = 'cancelled', reason = $2, due_at = NULL, finished_at = clock_timestamp()
			FROM owed WHERE d.id = owed.id`, id, store.ReasonWebhookDeleted)
		cancelled = int(tag.RowsAffected())
		return err
	})
	if err != nil {
		return 0, err
	}
	return cancelled, nil
}
