package postgres

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tellhook/tellhook/store"
)

// claimSQL takes due deliveries in one statement. It also takes those whose
// webhook is gone, which ClaimDeliveries then cancels. statement_timestamp, not
// clock_timestamp, lets the index find what is due.
const claimSQL = `
	WITH due (key) AS MATERIALIZED (
		SELECT d.id FROM tellhook.deliveries d LEFT JOIN tellhook.webhooks w ON w.id = d.webhook_id
		WHERE d.status = 'pending' AND d.lease_until IS NULL AND d.due_at <= statement_timestamp()
			AND d.webhook_id <> ALL ($3::text[]) AND (w.id IS NULL OR w.status = 'active')
		ORDER BY d.due_at, d.id LIMIT $1
		FOR NO KEY UPDATE OF d SKIP LOCKED
	)
	UPDATE tellhook.deliveries d
	SET attempts = d.attempts + 1, claimed_at = clock_timestamp(), lease_until = clock_timestamp() + $2::interval
	FROM due WHERE d.id = due.key
	RETURNING ` + deliveryColumns + `, d.due_at`

type claimed struct {
	store.Delivery
	due time.Time
}

func scanClaimed(row pgx.CollectableRow) (c claimed, err error) {
	err = row.Scan(append(deliveryFields(&c.Delivery), &c.due)...)
	return c, err
}

// ClaimDeliveries takes up to limit due deliveries of active webhooks.
func (s *Store) ClaimDeliveries(ctx context.Context, limit int, lease time.Duration, full []string) ([]store.Claim, error) {
	if limit <= 0 {
		return nil, nil
	}
	var claims []store.Claim
	err := s.tx(ctx, queue, func(ctx context.Context, tx pgx.Tx) error {
		claims = nil
		rows, _ := tx.Query(ctx, claimSQL, limit, lease, texts(full))
		taken, err := pgx.CollectRows(rows, scanClaimed)
		if err != nil || len(taken) == 0 {
			return err
		}
		slices.SortFunc(taken, func(a, b claimed) int { return cmp.Or(a.due.Compare(b.due), cmp.Compare(a.ID, b.ID)) })
		loaded, err := s.load(ctx, tx, taken)
		if err != nil {
			return err
		}
		var back unclaimable
		claims = make([]store.Claim, 0, len(taken))
		for i := range taken {
			d := &taken[i].Delivery
			if c, ok := loaded.claim(d, &back); ok {
				claims = append(claims, c)
			}
		}
		return back.write(ctx, tx)
	})
	if err != nil {
		return nil, err
	}
	return claims, nil
}

// loaded is what claims share: each webhook and event once.
type loaded struct {
	webhooks map[string]*store.Webhook // nil where its secrets do not open
	events   map[[2]string]*store.Event
}

func (s *Store) load(ctx context.Context, tx pgx.Tx, taken []claimed) (*loaded, error) {
	n := len(taken)
	webhooks, teams, events := make([]string, n), make([]string, n), make([]string, n)
	for i := range taken {
		webhooks[i], teams[i], events[i] = taken[i].WebhookID, taken[i].TeamID, taken[i].EventID
	}
	slices.Sort(webhooks)
	l := &loaded{webhooks: map[string]*store.Webhook{}, events: map[[2]string]*store.Event{}}
	var b pgx.Batch
	b.Queue(`SELECT `+webhookColumns+` FROM tellhook.webhooks WHERE id = ANY ($1)`, slices.Compact(webhooks)).
		Query(func(rows pgx.Rows) error {
			list, err := pgx.CollectRows(rows, scanWebhook)
			for i := range list {
				w, err := s.open(&list[i])
				if err != nil { // the others go on
					s.log.Error().Err(err).Str("webhook_id", list[i].ID).Dur("put_off", putOff).Msg("deliveries of a webhook are put off")
				}
				l.webhooks[list[i].ID] = w
			}
			return err
		})
	b.Queue(`
		SELECT DISTINCT ON (e.team_id, e.id) `+eventColumns+` FROM unnest($1::text[], $2::text[]) AS k (team_id, id)
		JOIN tellhook.events e ON e.team_id = k.team_id AND e.id = k.id`, teams, events).
		Query(func(rows pgx.Rows) error {
			list, err := pgx.CollectRows(rows, scanEvent)
			for i := range list {
				l.events[[2]string{list[i].TeamID, list[i].ID}] = &list[i]
			}
			return err
		})
	return l, tx.SendBatch(ctx, &b).Close()
}

// claim puts a claim together, or notes in back why it cannot be.
func (l *loaded) claim(d *store.Delivery, back *unclaimable) (store.Claim, bool) {
	w, exists := l.webhooks[d.WebhookID]
	e := l.events[[2]string{d.TeamID, d.EventID}]
	switch {
	case !exists:
		back.cancel(d.ID, store.ReasonWebhookDeleted)
	case e == nil:
		back.cancel(d.ID, store.ReasonExpired)
	case w == nil:
		back.later = append(back.later, d.ID)
	default:
		return store.Claim{Delivery: *d, Event: e, Webhook: w}, true
	}
	return store.Claim{}, false
}

// putOff is how long deliveries wait whose webhook's secrets do not open.
const putOff = time.Minute

// unclaimable are deliveries that a claim took and cannot send.
type unclaimable struct {
	cancelled, reasons []string
	later              []string
}

func (u *unclaimable) cancel(id, reason string) {
	u.cancelled, u.reasons = append(u.cancelled, id), append(u.reasons, reason)
}

func (u *unclaimable) write(ctx context.Context, tx pgx.Tx) error {
	if len(u.cancelled) > 0 {
		_, err := tx.Exec(ctx, `
			UPDATE tellhook.deliveries d
			SET attempts = d.attempts - 1, claimed_at = NULL, lease_until = NULL,
				status = 'cancelled', reason = u.reason, due_at = NULL, finished_at = clock_timestamp()
			FROM unnest($1::text[], $2::text[]) AS u (id, reason) WHERE d.id = u.id`, u.cancelled, u.reasons)
		if err != nil {
			return err
		}
	}
	if len(u.later) > 0 {
		_, err := tx.Exec(ctx, `
			UPDATE tellhook.deliveries
			SET attempts = attempts - 1, claimed_at = NULL, lease_until = NULL, due_at = clock_timestamp() + $2::interval
			WHERE id = ANY ($1)`, u.later, putOff)
		return err
	}
	return nil
}

// ReleaseDeliveries gives back claims of which nothing was sent.
func (s *Store) ReleaseDeliveries(ctx context.Context, claims []store.Claim) error {
	if len(claims) == 0 {
		return nil
	}
	ids, numbers := make([]string, len(claims)), make([]int, len(claims))
	for i := range claims {
		ids[i], numbers[i] = claims[i].Delivery.ID, claims[i].Delivery.Attempts
	}
	return s.tx(ctx, queue, func(ctx context.Context, tx pgx.Tx) error {
		// The lease is looked at in the update, not where rows are found: its index
		// bloats. A cancelled delivery has no due_at to keep.
		_, err := tx.Exec(ctx, `
			WITH mine (key) AS MATERIALIZED (
				SELECT d.id FROM tellhook.deliveries d
				JOIN unnest($1::text[], $2::integer[]) AS c (id, number) ON d.id = c.id AND d.attempts = c.number
				ORDER BY d.id FOR NO KEY UPDATE OF d
			)
			UPDATE tellhook.deliveries d
			SET attempts = d.attempts - 1, claimed_at = NULL, lease_until = NULL
			FROM mine WHERE d.id = mine.key AND d.claimed_at IS NOT NULL`, ids, numbers)
		return err
	})
}

// ReclaimLapsed makes deliveries due whose lease has lapsed.
func (s *Store) ReclaimLapsed(ctx context.Context, limit int) (int, error) {
	if limit <= 0 {
		return 0, nil
	}
	var lost []store.Attempt
	err := s.tx(ctx, queue, func(ctx context.Context, tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, reclaimSQL, limit, store.MaxUnknown, store.ReasonLost, store.ErrorUnknown)
		var err error
		lost, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (store.Attempt, error) {
			a := store.Attempt{ID: store.NewID(store.PrefixAttempt), ErrorKind: store.ErrorUnknown, Error: store.LostText}
			err := row.Scan(&a.DeliveryID, &a.Number, &a.StartedAt)
			return a, err
		})
		if err != nil || len(lost) == 0 {
			return err
		}
		return insertAttempts(ctx, tx, lost)
	})
	if err != nil {
		return 0, err
	}
	return len(lost), nil
}

const reclaimSQL = `
	WITH lapsed AS MATERIALIZED (
		SELECT id AS key, claimed_at AS began, lost + 1 AS lost, status = 'pending' AS owed
		FROM tellhook.deliveries WHERE lease_until <= statement_timestamp()
		ORDER BY lease_until, id LIMIT $1
		FOR NO KEY UPDATE SKIP LOCKED
	)
	UPDATE tellhook.deliveries d
	SET lost = l.lost, claimed_at = NULL, lease_until = NULL, last_status_code = NULL, last_error_kind = $4,
		status = CASE WHEN l.owed AND l.lost >= $2 THEN 'failed' ELSE d.status END,
		reason = CASE WHEN l.owed AND l.lost >= $2 THEN $3 ELSE d.reason END,
		due_at = CASE WHEN l.owed AND l.lost < $2 THEN clock_timestamp() END,
		finished_at = CASE WHEN l.owed AND l.lost >= $2 THEN clock_timestamp() ELSE d.finished_at END
	FROM lapsed l WHERE d.id = l.key
	RETURNING d.id, d.attempts, l.began`
