package postgres

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tellhook/tellhook/store"
)

// RecordAttempts writes attempts and moves their deliveries on.
func (s *Store) RecordAttempts(ctx context.Context, results []store.Result) ([]store.Recorded, error) {
	if len(results) == 0 {
		return []store.Recorded{}, nil
	}
	var r *recording
	err := s.tx(ctx, queue, func(ctx context.Context, tx pgx.Tx) error {
		r = &recording{results: results, answers: make([]store.Recorded, len(results))}
		if err := r.lockWebhooks(ctx, tx); err != nil {
			return err
		}
		if err := r.lockDeliveries(ctx, tx); err != nil {
			return err
		}
		r.fold()
		return r.write(ctx, tx)
	})
	if err != nil {
		return nil, err
	}
	return r.answers, nil
}

// recording is a batch of results on its way into one transaction:
// lockWebhooks, lockDeliveries, fold, write.
type recording struct {
	results []store.Result
	answers []store.Recorded

	webhookOf map[string]string // by delivery id
	webhooks  map[string]*store.Webhook
	held      map[string]int // newest number of each delivery under lease
	changed   map[string]*store.Webhook
	applied   []*store.Result
}

// staleAfter is how exact Webhook.LastDeliveryAt is: while all goes well a
// webhook's row is written no more often.
const staleAfter = time.Second

// observed is what decides whether a webhook has to be locked.
type observed struct {
	delivery, webhook string
	steady            bool // healthy, with no failure since the last success
	last              *time.Time
}

// lockWebhooks finds the deliveries' webhooks and locks those whose row will
// change, in the order of ids.
func (r *recording) lockWebhooks(ctx context.Context, tx pgx.Tx) error {
	ids := make([]string, len(r.results))
	for i := range r.results {
		ids[i] = r.results[i].Attempt.DeliveryID
	}
	rows, _ := tx.Query(ctx, `
		SELECT d.id, w.id, w.health = 'healthy' AND w.consecutive_failures = 0, w.last_delivery_at
		FROM tellhook.deliveries d JOIN tellhook.webhooks w ON w.id = d.webhook_id WHERE d.id = ANY ($1)`, ids)
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (o observed, err error) {
		err = row.Scan(&o.delivery, &o.webhook, &o.steady, &o.last)
		return o, err
	})
	if err != nil {
		return err
	}
	touched := r.touched(list)
	r.webhooks = map[string]*store.Webhook{}
	if len(touched) == 0 {
		return nil
	}
	rows, _ = tx.Query(ctx, `
		SELECT `+webhookColumns+` FROM tellhook.webhooks WHERE id = ANY ($1) ORDER BY id FOR NO KEY UPDATE`, touched)
	locked, err := pgx.CollectRows(rows, scanWebhook)
	for i := range locked {
		r.webhooks[locked[i].ID] = &locked[i].Webhook
	}
	return err
}

// touched are the ids of the webhooks whose row the results may change.
func (r *recording) touched(list []observed) []string {
	byDelivery := make(map[string]observed, len(list))
	r.webhookOf = make(map[string]string, len(list))
	for _, o := range list {
		byDelivery[o.delivery] = o
		r.webhookOf[o.delivery] = o.webhook
	}
	ids := map[string]bool{}
	for i := range r.results {
		result := &r.results[i]
		o, ok := byDelivery[result.Attempt.DeliveryID]
		if !ok {
			continue // its webhook is deleted, or there is no such delivery
		}
		steady := o.steady && result.Attempt.ErrorKind == "" && !result.Gone
		if !steady || o.last == nil || ended(&result.Attempt).Sub(*o.last) > staleAfter {
			ids[o.webhook] = true
		}
	}
	return slices.Sorted(maps.Keys(ids))
}

func ended(a *store.Attempt) time.Time { return a.StartedAt.Add(a.Duration).UTC() }

// lockDeliveries locks the deliveries in the order of ids and notes which
// attempts are still their senders' own. The lease is looked at here, not in
// the statement: its index bloats, and must not be used to find rows.
func (r *recording) lockDeliveries(ctx context.Context, tx pgx.Tx) error {
	ids := make([]string, len(r.results))
	for i := range r.results {
		ids[i] = r.results[i].Attempt.DeliveryID
	}
	slices.Sort(ids)
	rows, _ := tx.Query(ctx, `
		SELECT id, attempts, lease_until IS NOT NULL FROM tellhook.deliveries
		WHERE id = ANY ($1) ORDER BY id FOR NO KEY UPDATE`, slices.Compact(ids))
	r.held = map[string]int{}
	var (
		id     string
		number int
		leased bool
	)
	_, err := pgx.ForEachRow(rows, []any{&id, &number, &leased}, func() error {
		if leased {
			r.held[id] = number
		}
		return nil
	})
	return err
}

// fold applies the results that pass the fence, in their order.
func (r *recording) fold() {
	r.changed = map[string]*store.Webhook{}
	for i := range r.results {
		result := &r.results[i]
		a := &result.Attempt
		if number, ok := r.held[a.DeliveryID]; !ok || number != a.Number {
			continue
		}
		delete(r.held, a.DeliveryID) // one outcome for each attempt
		r.applied = append(r.applied, result)
		r.answers[i].Applied = true
		if w := r.webhooks[r.webhookOf[a.DeliveryID]]; w != nil {
			r.changed[w.ID] = w
			if w.Observe(result) {
				r.answers[i].Webhook = w.Clone()
			}
		}
	}
}

func (r *recording) write(ctx context.Context, tx pgx.Tx) error {
	if len(r.applied) == 0 {
		return nil
	}
	attempts := make([]store.Attempt, len(r.applied))
	for i, result := range r.applied {
		attempts[i] = result.Attempt
	}
	var b pgx.Batch
	if err := queueAttempts(&b, attempts); err != nil {
		return err
	}
	r.queueDeliveries(&b)
	r.queueWebhooks(&b)
	return tx.SendBatch(ctx, &b).Close()
}

func (r *recording) queueDeliveries(b *pgx.Batch) {
	n := len(r.applied)
	ids, statuses, reasons, kinds := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	waits, codes := make([]time.Duration, n), make([]*int, n)
	for i, result := range r.applied {
		a := &result.Attempt
		ids[i], statuses[i], reasons[i], kinds[i] = a.DeliveryID, string(result.Status), result.Reason, string(a.ErrorKind)
		waits[i], codes[i] = result.RetryIn, a.StatusCode
	}
	b.Queue(`
		UPDATE tellhook.deliveries d
		SET step = d.step + 1, lost = 0, claimed_at = NULL, lease_until = NULL,
			last_status_code = r.code, last_error_kind = r.kind,
			status = CASE WHEN d.status = 'pending' THEN r.status ELSE d.status END,
			reason = CASE WHEN d.status = 'pending' THEN r.reason ELSE d.reason END,
			due_at = CASE WHEN d.status = 'pending' AND r.status = 'pending' THEN clock_timestamp() + r.wait END,
			finished_at = CASE WHEN d.status <> 'pending' THEN d.finished_at WHEN r.status <> 'pending' THEN clock_timestamp() END
		FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::interval[], $6::integer[])
			AS r (id, status, reason, kind, wait, code)
		WHERE d.id = r.id`, ids, statuses, reasons, kinds, waits, codes)
}

func (r *recording) queueWebhooks(b *pgx.Batch) {
	for _, w := range r.changed { // locked already, so in any order
		b.Queue(`
			UPDATE tellhook.webhooks
			SET updated_at = CASE WHEN status <> $2 THEN clock_timestamp() ELSE updated_at END, status = $2, paused_reason = $3,
				health = $4, failing_since = $5, consecutive_failures = $6, last_delivery_at = $7
			WHERE id = $1`,
			w.ID, w.Status, w.PausedReason, w.Health, w.FailingSince, w.ConsecutiveFailures, w.LastDeliveryAt)
	}
}

func insertAttempts(ctx context.Context, tx pgx.Tx, attempts []store.Attempt) error {
	var b pgx.Batch
	if err := queueAttempts(&b, attempts); err != nil {
		return err
	}
	return tx.SendBatch(ctx, &b).Close()
}

func queueAttempts(b *pgx.Batch, attempts []store.Attempt) error {
	n := len(attempts)
	ids, deliveries, kinds, words, addresses := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	numbers, codes, started, cut := make([]int, n), make([]*int, n), make([]time.Time, n), make([]bool, n)
	took, dns, connect, tls, firstByte := make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
	headers, bodies := make([]*string, n), make([][]byte, n)
	for i := range attempts {
		a := &attempts[i]
		ids[i], deliveries[i], numbers[i], started[i] = a.ID, a.DeliveryID, a.Number, a.StartedAt
		took[i], dns[i], connect[i] = int64(a.Duration), int64(a.Phases.DNS), int64(a.Phases.Connect)
		tls[i], firstByte[i] = int64(a.Phases.TLS), int64(a.Phases.FirstByte)
		codes[i], kinds[i], words[i], addresses[i] = a.StatusCode, string(a.ErrorKind), storable(a.Error), storable(a.RemoteIP)
		bodies[i], cut[i] = a.ResponseBody, a.ResponseTruncated
		if len(a.ResponseHeaders) > 0 {
			text, err := json.Marshal(a.ResponseHeaders) // replaces what is no UTF-8
			if err != nil {
				return err
			}
			headers[i] = new(string(text))
		}
	}
	b.Queue(`
		INSERT INTO tellhook.attempts (id, delivery_id, number, started_at, duration, dns, connect, tls, first_byte,
			status_code, error_kind, error, response_headers, response_body, response_truncated, remote_ip)
		SELECT a.id, a.delivery_id, a.number, a.started_at, a.duration, a.dns, a.connect, a.tls, a.first_byte,
			a.code, a.kind, a.error, a.headers::json, a.body, a.cut, a.ip
		FROM unnest($1::text[], $2::text[], $3::integer[], $4::timestamptz[], $5::bigint[], $6::bigint[], $7::bigint[],
			$8::bigint[], $9::bigint[], $10::integer[], $11::text[], $12::text[], $13::text[], $14::bytea[], $15::boolean[], $16::text[])
			AS a (id, delivery_id, number, started_at, duration, dns, connect, tls, first_byte, code, kind, error, headers, body, cut, ip)`,
		ids, deliveries, numbers, started, took, dns, connect, tls, firstByte, codes, kinds, words, headers, bodies, cut, addresses)
	return nil
}

// storable leaves out what a text column refuses: broken UTF-8 and zero bytes.
func storable(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}
