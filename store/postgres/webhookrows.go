package postgres

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/tellhook/tellhook/store"
	"github.com/tellhook/tellhook/store/seal"
)

const webhookColumns = `id, team_id, kind, url, description, events, filter, metadata, rate_limit,
	status, paused_reason, health, failing_since, consecutive_failures, last_delivery_at,
	sealed, secret_hint, created_at, updated_at`

// webhookRow is a webhook as stored: its secrets and headers still sealed.
type webhookRow struct {
	store.Webhook
	sealed []byte
}

// sealedPart is what is sealed of a webhook.
type sealedPart struct {
	Secrets []store.Secret    `json:"secrets"`
	Headers map[string]string `json:"headers,omitempty"`
}

func scanWebhook(row pgx.CollectableRow) (w webhookRow, err error) {
	var filter, metadata []byte
	err = row.Scan(&w.ID, &w.TeamID, &w.Kind, &w.URL, &w.Description, &w.Events, &filter, &metadata, &w.RateLimit,
		&w.Status, &w.PausedReason, &w.Health, &w.FailingSince, &w.ConsecutiveFailures, &w.LastDeliveryAt,
		&w.sealed, &w.SecretHint, &w.CreatedAt, &w.UpdatedAt)
	if err != nil {
		return w, err
	}
	if err := decodeJSON(filter, &w.Filter); err != nil {
		return w, fmt.Errorf("filter of webhook %s: %w", w.ID, err)
	}
	if err := decodeJSON(metadata, &w.Metadata); err != nil {
		return w, fmt.Errorf("metadata of webhook %s: %w", w.ID, err)
	}
	return w, nil
}

// open opens what is sealed; its errors are *store.Error.
func (s *Store) open(w *webhookRow) (*store.Webhook, error) {
	plain, err := s.keys.Open(w.sealed, seal.Context(w.TeamID, w.ID))
	if err != nil {
		return nil, &store.Error{Code: store.CodeInternal, Message: "the secrets of webhook " + w.ID + " do not open under the master keys at hand", Err: err}
	}
	var part sealedPart
	if err := json.Unmarshal(plain, &part); err != nil {
		// Without the cause, which would quote them.
		return nil, store.Errorf(store.CodeInternal, "", "the secrets of webhook %s are malformed", w.ID)
	}
	w.Secrets, w.Headers = part.Secrets, part.Headers
	return &w.Webhook, nil
}

// ownersArgs are the columns that an owner sets: $1 to $12.
func (s *Store) ownersArgs(w *store.Webhook) ([]any, error) {
	plain, err := json.Marshal(sealedPart{Secrets: w.Secrets, Headers: w.Headers})
	if err != nil {
		return nil, err
	}
	sealed, err := s.keys.Seal(plain, seal.Context(w.TeamID, w.ID))
	if err != nil {
		return nil, err
	}
	filter, err := encodeJSON(w.Filter)
	if err != nil {
		return nil, err
	}
	metadata, err := encodeJSON(w.Metadata)
	if err != nil {
		return nil, err
	}
	hint := ""
	if len(w.Secrets) > 0 {
		hint = store.Hint(w.Secrets[0].Value)
	}
	return []any{
		w.ID, w.TeamID, w.URL, w.Description, texts(w.Events), filter, metadata, w.RateLimit,
		w.Status, w.PausedReason, sealed, hint,
	}, nil
}

// encodeJSON answers nil for an empty map. It escapes nothing for HTML: a
// filter's values stay as they came.
func encodeJSON[M ~map[string]V, V any](m M) (*string, error) {
	if len(m) == 0 {
		return nil, nil
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(m)
	return new(strings.TrimSuffix(b.String(), "\n")), err
}

func decodeJSON(b []byte, into any) error {
	if b == nil {
		return nil
	}
	return json.Unmarshal(b, into)
}
