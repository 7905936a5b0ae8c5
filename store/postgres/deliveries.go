package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tellhook/tellhook/store"
)

const deliveryColumns = `d.id, d.team_id, d.webhook_id, d.event_id, d.event_type, d.status, d.reason, d.attempts, d.step,
	d.lease_until IS NOT NULL, CASE WHEN d.lease_until IS NULL THEN d.due_at END,
	d.last_status_code, d.last_error_kind, d.created_at, d.finished_at`

func deliveryFields(d *store.Delivery) []any {
	return []any{
		&d.ID, &d.TeamID, &d.WebhookID, &d.EventID, &d.EventType, &d.Status, &d.Reason, &d.Attempts, &d.Step,
		&d.InFlight, &d.NextAttemptAt, &d.LastStatusCode, &d.LastErrorKind, &d.CreatedAt, &d.FinishedAt,
	}
}

func scanDelivery(row pgx.CollectableRow) (d store.Delivery, err error) {
	err = row.Scan(deliveryFields(&d)...)
	return d, err
}

// ListDeliveries answers deliveries, newest first.
func (s *Store) ListDeliveries(ctx context.Context, teamID string, q store.DeliveryQuery) (store.List[store.Delivery], error) {
	const kind = "deliveries"
	none := store.List[store.Delivery]{}
	before, err := q.Position(kind)
	if err != nil {
		return none, err
	}
	rows, err := query(ctx, s, scanDelivery, `
		SELECT `+deliveryColumns+` FROM tellhook.deliveries d
		WHERE team_id = $1 AND ($2 = '' OR id < $2)
			AND ($3 = '' OR webhook_id = $3) AND ($4 = '' OR event_id = $4)
			AND ($5 = '' OR status = $5) AND ($6 = '' OR event_type = $6)
			AND ($7::timestamptz IS NULL OR created_at >= $7) AND ($8::timestamptz IS NULL OR created_at < $8)
		ORDER BY id DESC LIMIT $9`,
		teamID, before, q.WebhookID, q.EventID, q.Status, q.EventType, given(q.Since), given(q.Until), q.Rows()+1)
	if err != nil {
		return none, err
	}
	return store.PageOf(q.Page, kind, rows, func(d *store.Delivery) string { return d.ID }), nil
}

// GetDelivery answers a delivery and its attempts in order, both as of one
// moment.
func (s *Store) GetDelivery(ctx context.Context, teamID, id string) (*store.Delivery, []store.Attempt, error) {
	var deliveries []store.Delivery
	var attempts []store.Attempt
	err := s.call(ctx, func(ctx context.Context, conn *pgxpool.Conn) error {
		tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
		var b pgx.Batch
		b.Queue(`SELECT `+deliveryColumns+` FROM tellhook.deliveries d WHERE team_id = $1 AND id = $2`, teamID, id).
			Query(func(rows pgx.Rows) (err error) {
				deliveries, err = pgx.CollectRows(rows, scanDelivery)
				return err
			})
		b.Queue(`
			SELECT `+attemptColumns+` FROM tellhook.attempts a
			WHERE delivery_id = (SELECT id FROM tellhook.deliveries WHERE team_id = $1 AND id = $2) ORDER BY number`, teamID, id).
			Query(func(rows pgx.Rows) (err error) {
				attempts, err = pgx.CollectRows(rows, scanAttempt)
				return err
			})
		return tx.SendBatch(ctx, &b).Close()
	})
	if err != nil {
		return nil, nil, err
	}
	if len(deliveries) == 0 {
		return nil, nil, notFound("delivery", id)
	}
	return &deliveries[0], attempts, nil
}

const attemptColumns = `a.id, a.delivery_id, a.number, a.started_at, a.duration, a.dns, a.connect, a.tls, a.first_byte,
	a.status_code, a.error_kind, a.error, a.response_headers, a.response_body, a.response_truncated, a.remote_ip`

func scanAttempt(row pgx.CollectableRow) (a store.Attempt, err error) {
	var headers []byte
	var took, dns, connect, tls, firstByte int64
	err = row.Scan(&a.ID, &a.DeliveryID, &a.Number, &a.StartedAt, &took, &dns, &connect, &tls, &firstByte,
		&a.StatusCode, &a.ErrorKind, &a.Error, &headers, &a.ResponseBody, &a.ResponseTruncated, &a.RemoteIP)
	if err != nil {
		return a, err
	}
	a.Duration = time.Duration(took)
	a.Phases = store.Phases{
		DNS: time.Duration(dns), Connect: time.Duration(connect), TLS: time.Duration(tls), FirstByte: time.Duration(firstByte),
	}
	return a, decodeJSON(headers, &a.ResponseHeaders)
}
