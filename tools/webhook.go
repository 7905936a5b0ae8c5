package tools

import (
	"crypto/sha256"
	"encoding/json"
	"maps"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tellhook/tellhook/dispatcher"
	"github.com/tellhook/tellhook/store"
)

// webhookOut is a webhook as callers see it.
type webhookOut struct {
	ID                  string                     `json:"id" slim:"true"`
	TeamID              string                     `json:"team_id"`
	Kind                store.WebhookKind          `json:"kind" enum:"webhook,subscription"`
	URL                 string                     `json:"url" slim:"true"`
	Description         *string                    `json:"description"`
	Events              []string                   `json:"events" slim:"true"`
	Filter              map[string]json.RawMessage `json:"filter" nullable:"true" doc:"Only events whose data match; null: all."`
	Metadata            map[string]string          `json:"metadata"`
	Status              store.WebhookStatus        `json:"status" slim:"true" enum:"active,paused" doc:"The owner's choice."`
	Health              store.WebhookHealth        `json:"health" slim:"true" enum:"healthy,failing" doc:"What the dispatcher observed."`
	FailingSince        *stamp                     `json:"failing_since" nullable:"true"`
	ConsecutiveFailures int                        `json:"consecutive_failures"`
	PausedReason        *store.PausedReason        `json:"paused_reason" doc:"owner, gone (the receiver answered 410) or operator; null while active."`
	Headers             map[string]string          `json:"headers" doc:"Custom headers; of the values only the end is shown."`
	RateLimit           *int                       `json:"rate_limit"`
	Secret              *string                    `json:"secret,omitempty" slim:"true" doc:"The signing secret, only when it was made just now: store it, it is not shown again."`
	SecretHint          string                     `json:"secret_hint" doc:"The secret's last four characters."`
	CreatedAt           stamp                      `json:"created_at"`
	UpdatedAt           stamp                      `json:"updated_at"`
	LastDeliveryAt      *stamp                     `json:"last_delivery_at" nullable:"true"`
	DashboardURL        *string                    `json:"dashboard_url" slim:"true"`
}

func (w *webhookOut) location() string { return "/api/v1/webhooks/" + w.ID }

func (t *Tools) webhookAnswer(w *store.Webhook) webhookOut {
	return webhookOut{
		ID: w.ID, TeamID: w.TeamID, Kind: w.Kind, URL: w.URL, Description: orNull(w.Description),
		Events: append([]string{}, w.Events...), Filter: w.Filter, Metadata: orEmpty(w.Metadata),
		Status: w.Status, Health: w.Health, FailingSince: stampOf(w.FailingSince),
		ConsecutiveFailures: w.ConsecutiveFailures, PausedReason: orNull(w.PausedReason),
		Headers: maskedHeaders(w.Headers), RateLimit: w.RateLimit, SecretHint: w.SecretHint,
		CreatedAt: stamp(w.CreatedAt), UpdatedAt: stamp(w.UpdatedAt), LastDeliveryAt: stampOf(w.LastDeliveryAt),
		DashboardURL: t.dashboard("/webhooks/" + w.ID),
	}
}

// made answers a webhook whose secret was made by this call.
func (t *Tools) made(w *store.Webhook, secret string) *webhookOut {
	out := t.webhookAnswer(w)
	out.Secret, out.SecretHint = &secret, store.Hint(secret)
	return &out
}

// dashboard links a page, where there is a dashboard.
func (t *Tools) dashboard(path string) *string {
	if t.config.PublicURL == "" {
		return nil
	}
	link := t.config.PublicURL + path
	return &link
}

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// mask shows the last four characters of a header's value, and nothing of one
// so short that they would give it away.
func mask(value string) string {
	const shown, short = 4, 8
	if len(value) < short {
		return "****"
	}
	return "****" + value[len(value)-shown:]
}

func maskedHeaders(headers map[string]string) map[string]string {
	masked := make(map[string]string, len(headers))
	for name, value := range headers {
		masked[name] = mask(value)
	}
	return masked
}

// Limits of metadata.
const (
	maxMetadata      = 20
	maxMetadataName  = 64
	maxMetadataValue = 500 // characters
)

// metadata are strings that a webhook's owner keeps with it.
type metadata map[string]string

// Schema bounds names and values.
func (metadata) Schema(huma.Registry) *huma.Schema {
	return textMap(maxMetadata, maxMetadataName, maxMetadataValue)
}

// headers are custom headers; dispatcher.CheckHeaders judges them.
type headers map[string]string

// Schema tells of strings; the values are secret.
func (headers) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: &huma.Schema{Type: huma.TypeString}, WriteOnly: true}
}

func textMap(entries, name, value int) *huma.Schema {
	least := 1
	return &huma.Schema{
		Type:                 huma.TypeObject,
		MaxProperties:        &entries,
		AdditionalProperties: &huma.Schema{Type: huma.TypeString, MaxLength: &value},
		Extensions:           map[string]any{"propertyNames": &huma.Schema{MinLength: &least, MaxLength: &name}},
	}
}

func (t *Tools) checkHeaders(h map[string]string) error {
	return dispatcher.CheckHeaders(h, t.config.SignatureHeader)
}

// fingerprint tells whether two creations under one idempotency key are the
// same request. Of the secret and the headers' values two bytes of a hash go in:
// a change is noticed, and a stolen database still confirms no guess of a weak
// one.
func (in *createWebhookIn) fingerprint() ([]byte, error) {
	same := *in
	same.IdempotencyKey = ""
	same.Secret = clue(in.Secret)
	same.Headers.V = maps.Clone(in.Headers.V)
	for name, value := range same.Headers.V {
		same.Headers.V[name] = clue(value)
	}
	text, err := json.Marshal(same)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	return sum[:], nil
}

func clue(secret string) string {
	if secret == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(secret))
	return string([]rune{rune(sum[0]), rune(sum[1])})
}
