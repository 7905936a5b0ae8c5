// Package store holds Tellhook's vocabulary (teams, keys, webhooks, events,
// deliveries, attempts, their errors and ids) and the Store interface. Two
// databases implement it: store/postgres and store/sqlite; store/storetest
// holds both to the same behaviour. The package imports nothing of ours.
package store

import (
	"context"
	"crypto/sha256"
	"time"
)

// Store keeps everything. All methods are safe for concurrent use and answer
// errors of type *Error; a database that is away or too busy is CodeUnavailable.
// A row of another team is CodeNotFound. Each write is one transaction: after an
// error nothing of it has happened, except where the error is CodeUnavailable
// and the commit's answer was lost. Times are UTC, at least in milliseconds.
type Store interface {
	// CreateTeam: a name or external id in use is CodeConflict.
	CreateTeam(ctx context.Context, name string, externalID *string) (*Team, error)
	// ListTeams answers teams, newest first.
	ListTeams(ctx context.Context, p Page) (List[Team], error)
	// FindTeam finds a team by id, external id or name, tried in this order.
	FindTeam(ctx context.Context, ref string) (*Team, error)

	// CreateKey stores k with a new id; ID and CreatedAt are set in the answer.
	// An unknown team is CodeNotFound.
	CreateKey(ctx context.Context, teamID string, k APIKey) (*APIKey, error)
	// CreateFirstKey is CreateKey where the database has no key at all, revoked
	// ones included; else it changes nothing and answers nil, nil.
	CreateFirstKey(ctx context.Context, teamID string, k APIKey) (*APIKey, error)
	// ListKeys answers a team's keys, revoked ones included, newest first.
	ListKeys(ctx context.Context, teamID string, p Page) (List[APIKey], error)
	// FindKey finds a key in any team by id or prefix, for the command line. A
	// prefix that fits several is CodeConflict and lists their ids.
	FindKey(ctx context.Context, ref string) (*APIKey, error)
	// AuthenticateKey finds a key by its hash, revoked and expired ones too;
	// unknown is CodeNotFound.
	AuthenticateKey(ctx context.Context, hash [sha256.Size]byte) (*APIKey, error)
	// UpdateKey changes a key; a revoked one is CodeConflict.
	UpdateKey(ctx context.Context, teamID, keyID string, patch KeyPatch) (*APIKey, error)
	// RevokeKey revokes a key for good; revoking it again changes nothing.
	RevokeKey(ctx context.Context, teamID, keyID string) (*APIKey, error)
	// TouchKeys sets LastUsedAt of keys by id, never backwards; unknown ids are
	// passed over.
	TouchKeys(ctx context.Context, used map[string]time.Time) error

	// CreateWebhook stores w: the caller has set everything but ID, TeamID,
	// SecretHint, CreatedAt, UpdatedAt and the observed fields. With a non-nil
	// idem, a second call under the same key answers the first one's webhook, as
	// it is now, with created false; with another fingerprint it is KeyReused,
	// and if that webhook is gone, KeySpent.
	CreateWebhook(ctx context.Context, teamID string, w *Webhook, idem *Idempotency) (stored *Webhook, created bool, err error)
	// GetWebhook answers a webhook, secrets opened.
	GetWebhook(ctx context.Context, teamID, id string) (*Webhook, error)
	// ListWebhooks answers webhooks, newest first, Secrets nil.
	ListWebhooks(ctx context.Context, teamID string, q WebhookQuery) (List[Webhook], error)
	// UpdateWebhook lets change alter the owner's fields (and Secrets) of a
	// webhook, alone on it, and stores them with a new UpdatedAt. An error of
	// change is answered unchanged and nothing is stored.
	UpdateWebhook(ctx context.Context, teamID, id string, change func(*Webhook) error) (*Webhook, error)
	// DeleteWebhook deletes a webhook and cancels its pending deliveries with
	// ReasonWebhookDeleted, of which it answers the number. Deliveries and
	// attempts stay readable. An attempt in flight is still recorded.
	DeleteWebhook(ctx context.Context, teamID, id string) (cancelled int, err error)

	// PublishEvents appends a batch to the team's event log in one transaction,
	// in order, with a delivery for each active or paused webhook that takes the
	// event, and derived first_scan events. Answers stand in the batch's order;
	// an item that fails leaves the others alone. When it returns nil, what it
	// answers is durable. An unknown team is CodeNotFound.
	PublishEvents(ctx context.Context, teamID string, batch []Publish) ([]Published, error)
	// GetEvent answers an event.
	GetEvent(ctx context.Context, teamID, id string) (*Event, error)
	// ListEvents answers events, newest position first.
	ListEvents(ctx context.Context, teamID string, q EventQuery) (List[Event], error)

	// ListDeliveries answers deliveries, newest first.
	ListDeliveries(ctx context.Context, teamID string, q DeliveryQuery) (List[Delivery], error)
	// GetDelivery answers a delivery and its attempts in order.
	GetDelivery(ctx context.Context, teamID, id string) (*Delivery, []Attempt, error)

	// ClaimDeliveries takes up to limit due deliveries of active webhooks, oldest
	// due first, leaving out the webhooks in full: each gets the next attempt
	// number and a lease, committed before it answers. No delivery is in two
	// claims whose leases overlap. Deliveries of a webhook whose secrets do not
	// open are put off for a minute.
	ClaimDeliveries(ctx context.Context, limit int, lease time.Duration, full []string) ([]Claim, error)
	// RecordAttempts writes the attempts and moves their deliveries on, each
	// only where Attempt.Number is still the delivery's newest and under lease; a
	// delivery cancelled meanwhile keeps its state and gets the attempt. Health
	// of the webhooks is folded in, in the order of results. Answers stand in
	// that order.
	RecordAttempts(ctx context.Context, results []Result) ([]Recorded, error)
	// ReleaseDeliveries gives back claims of which nothing was sent, due at once,
	// as if never taken. The fence of RecordAttempts holds.
	ReleaseDeliveries(ctx context.Context, claims []Claim) error
	// ReclaimLapsed finds up to limit deliveries whose lease has lapsed, writes
	// the lost attempt as ErrorUnknown and makes them due now, without a step of
	// the schedule; MaxUnknown in a row fail the delivery with ReasonLost. It
	// answers how many it took.
	ReclaimLapsed(ctx context.Context, limit int) (int, error)
	// Wakeups answers a channel that gets a value soon after work may have become
	// due by a publish; it is lossy, so poll behind it. It closes with ctx.
	Wakeups(ctx context.Context) <-chan struct{}

	// Prune deletes events, and deliveries that have ended with their attempts,
	// older than before, and idempotency keys past IdempotencyTTL; a delivery
	// still pending then is cancelled with ReasonExpired. Memory of first scans
	// stays. It works in short transactions and disturbs nobody.
	Prune(ctx context.Context, before time.Time) (Pruned, error)

	// Ping answers nil where the database can be reached.
	Ping(ctx context.Context) error
	// Close releases connections and waits for none of the callers.
	Close() error
}

// Pruned counts what Prune did.
type Pruned struct {
	Events, Deliveries, Attempts, Keys int
	Expired                            int // deliveries that were still pending
}
