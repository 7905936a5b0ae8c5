package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"errors"

	"github.com/tellhook/tellhook/store"
)

// Routes that remember idempotency keys, each apart.
const (
	routeCreateWebhook = "create_webhook"
	routePublishEvent  = "publish_event"
)

// rememberedID answers what the first request under the key made, "" where this
// is the first one. Another request under the key is CodeConflict.
func rememberedID(ctx context.Context, tx *sql.Tx, teamID, route string, idem *store.Idempotency) (string, error) {
	var (
		id          string
		fingerprint []byte
	)
	err := tx.QueryRowContext(ctx, `
		SELECT resource_id, fingerprint FROM idempotency_keys WHERE team_id = ? AND route = ? AND key = ? AND created_at > ?`,
		teamID, route, idem.Key, now().Add(-store.IdempotencyTTL).UnixMicro()).Scan(&id, &fingerprint)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if !bytes.Equal(fingerprint, idem.Fingerprint) {
		return "", store.KeyReused(idem.Key)
	}
	return id, nil
}

// remember writes a key down, over an expired one.
func remember(ctx context.Context, tx *sql.Tx, teamID, route string, idem *store.Idempotency, id string) error {
	_, err := tx.ExecContext(ctx, `
		INSERT OR REPLACE INTO idempotency_keys (team_id, route, key, fingerprint, resource_id, created_at) VALUES (?, ?, ?, ?, ?, ?)`,
		teamID, route, idem.Key, idem.Fingerprint, id, now().UnixMicro())
	return err
}
