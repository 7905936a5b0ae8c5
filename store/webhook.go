package store

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Webhook is a registration: where to send which events.
type Webhook struct {
	ID          string
	TeamID      string
	Kind        WebhookKind
	URL         string
	Description string
	Events      []string // type names, prefixes ("scan.*") or ["*"]
	Filter      Filter   // nil: every event of those types
	Metadata    map[string]string
	Headers     map[string]string // sent with each delivery; the values are secret
	RateLimit   *int              // attempts a second, 1 to 1000; nil: no limit

	Status       WebhookStatus // chosen by the owner
	PausedReason PausedReason  // empty while active

	Health              WebhookHealth // observed by the dispatcher
	FailingSince        *time.Time
	ConsecutiveFailures int
	LastDeliveryAt      *time.Time // last attempt's end, within about a second

	Secrets    []Secret // newest first; during a rotation the plain signature stays on the oldest
	SecretHint string   // last four characters of the newest secret

	CreatedAt time.Time
	UpdatedAt time.Time
}

// WebhookKind tells who made a webhook.
type WebhookKind string

// The kinds: made by a person, program or tool; or by MCP events/subscribe.
const (
	KindWebhook      WebhookKind = "webhook"
	KindSubscription WebhookKind = "subscription"
)

// WebhookStatus is the owner's choice.
type WebhookStatus string

// A paused webhook holds its deliveries: they stay pending.
const (
	StatusActive WebhookStatus = "active"
	StatusPaused WebhookStatus = "paused"
)

// PausedReason tells who paused a webhook.
type PausedReason string

// The reasons. PausedGone: the receiver answered 410. PausedOperator: only an
// admin lifts it.
const (
	PausedByOwner    PausedReason = "owner"
	PausedGone       PausedReason = "gone"
	PausedByOperator PausedReason = "operator"
)

// WebhookHealth is what the dispatcher observed.
type WebhookHealth string

// A failing webhook stays active.
const (
	HealthHealthy WebhookHealth = "healthy"
	HealthFailing WebhookHealth = "failing"
)

// FailingAfter is how many failed attempts in a row make a webhook failing.
const FailingAfter = 3

// Secret is one signing secret of a webhook. During a rotation there are two.
type Secret struct {
	Value     string     `json:"value"` // as its owner sees it, "whsec_" included
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"` // end of the overlap, on the older one
}

// Hint is the part of a secret that may be shown again.
func Hint(secret string) string {
	return secret[max(0, len(secret)-4):]
}

// Clone copies w deeply enough that changing the copy leaves w alone.
func (w *Webhook) Clone() *Webhook {
	c := *w
	c.Events = slices.Clone(w.Events)
	c.Filter = maps.Clone(w.Filter)
	c.Metadata = maps.Clone(w.Metadata)
	c.Headers = maps.Clone(w.Headers)
	c.Secrets = slices.Clone(w.Secrets)
	return &c
}

// WebhookQuery narrows ListWebhooks. Empty fields do not.
type WebhookQuery struct {
	Page
	Search string // substring of URL, description or id; case-insensitive
	Event  string // webhooks that would take this type, wildcards included
	Status WebhookStatus
	Health WebhookHealth
	Kind   WebhookKind // empty means KindWebhook
}

// Finds tells whether Search and Event let w pass. Both stores ask here, since
// databases differ in what they hold to be the same letter in another case.
func (q *WebhookQuery) Finds(w *Webhook) bool {
	if q.Event != "" && !w.Subscribes(q.Event) {
		return false
	}
	search := strings.ToLower(q.Search)
	return strings.Contains(strings.ToLower(w.URL), search) ||
		strings.Contains(strings.ToLower(w.Description), search) || strings.Contains(w.ID, search)
}

// Observe folds an attempt that was recorded, in the order in which attempts
// ended, into what the dispatcher observes of the webhook, and pauses it where
// the receiver is gone. It answers whether Health or Status changed.
func (w *Webhook) Observe(r *Result) (changed bool) {
	health, status := w.Health, w.Status
	ended := r.Attempt.StartedAt.Add(r.Attempt.Duration).UTC().Truncate(time.Microsecond)
	if w.LastDeliveryAt == nil || w.LastDeliveryAt.Before(ended) {
		w.LastDeliveryAt = &ended
	}
	if r.Attempt.ErrorKind == "" {
		w.Health, w.ConsecutiveFailures, w.FailingSince = HealthHealthy, 0, nil
	} else {
		w.ConsecutiveFailures++
		if w.ConsecutiveFailures >= FailingAfter && w.Health != HealthFailing {
			w.Health, w.FailingSince = HealthFailing, &ended
		}
	}
	if r.Gone && w.Status == StatusActive { // a pause of the owner's or operator's stays theirs
		w.Status, w.PausedReason = StatusPaused, PausedGone
	}
	return w.Health != health || w.Status != status
}
