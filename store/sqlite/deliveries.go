package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"strings"

	"github.com/tellhook/tellhook/store"
)

const deliveryColumns = `d.id, d.team_id, d.webhook_id, d.event_id, d.event_type, d.status, d.reason, d.attempts, d.step,
	d.lease_until IS NOT NULL, d.next_attempt_at, d.last_status_code, d.last_error_kind, d.created_at, d.finished_at`

func scanDelivery(row scanner) (store.Delivery, error) {
	var d store.Delivery
	err := row.Scan(deliveryFields(&d)...)
	return d, err
}

// deliveryFields are the places of deliveryColumns.
func deliveryFields(d *store.Delivery) []any {
	return []any{
		&d.ID, &d.TeamID, &d.WebhookID, &d.EventID, &d.EventType, &d.Status, &d.Reason, &d.Attempts, &d.Step,
		&d.InFlight,
		maybeInstant{&d.NextAttemptAt},
		&d.LastStatusCode, &d.LastErrorKind,
		instant{&d.CreatedAt},
		maybeInstant{&d.FinishedAt},
	}
}

// ListDeliveries implements store.Store.
func (s *Store) ListDeliveries(ctx context.Context, teamID string, q store.DeliveryQuery) (store.List[store.Delivery], error) {
	after, err := q.Position("deliveries")
	if err != nil {
		return store.List[store.Delivery]{}, err
	}
	var cond where
	cond.and("d.team_id = ?", teamID)
	cond.andText("d.webhook_id = ?", q.WebhookID)
	cond.andText("d.event_id = ?", q.EventID)
	cond.andText("d.status = ?", string(q.Status))
	cond.andText("d.event_type = ?", q.EventType)
	cond.andTime("d.created_at >= ?", q.Since)
	cond.andTime("d.created_at < ?", q.Until)
	cond.andText("d.id < ?", after)
	deliveries, err := collect(ctx, s.reader, scanDelivery,
		`SELECT `+deliveryColumns+` FROM deliveries d WHERE `+cond.sql.String()+` ORDER BY d.id DESC LIMIT ?`, append(cond.args, q.Rows()+1)...)
	if err != nil {
		return store.List[store.Delivery]{}, translate(err)
	}
	return store.PageOf(q.Page, "deliveries", deliveries, func(d *store.Delivery) string { return d.ID }), nil
}

// GetDelivery implements store.Store.
func (s *Store) GetDelivery(ctx context.Context, teamID, id string) (*store.Delivery, []store.Attempt, error) {
	tx, err := s.reader.BeginTx(ctx, &sql.TxOptions{ReadOnly: true}) // both reads see one snapshot
	if err != nil {
		return nil, nil, translate(err)
	}
	defer func() { _ = tx.Rollback() }() // it has written nothing
	d, err := scanDelivery(tx.QueryRowContext(ctx, `SELECT `+deliveryColumns+` FROM deliveries d WHERE d.team_id = ? AND d.id = ?`, teamID, id))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil, notFound("delivery", id)
	}
	if err != nil {
		return nil, nil, translate(err)
	}
	attempts, err := collect(ctx, tx, scanAttempt, `
		SELECT id, delivery_id, number, started_at, duration, dns, connect, tls, first_byte, status_code, error_kind, error,
			response_headers, response_body, response_truncated, remote_ip
		FROM attempts WHERE delivery_id = ? ORDER BY number`, id)
	if err != nil {
		return nil, nil, translate(err)
	}
	return &d, attempts, nil
}

func scanAttempt(row scanner) (store.Attempt, error) {
	var a store.Attempt
	err := row.Scan(&a.ID, &a.DeliveryID, &a.Number, instant{&a.StartedAt}, &a.Duration,
		&a.Phases.DNS, &a.Phases.Connect, &a.Phases.TLS, &a.Phases.FirstByte, &a.StatusCode, &a.ErrorKind, &a.Error,
		asJSON{&a.ResponseHeaders}, &a.ResponseBody, &a.ResponseTruncated, &a.RemoteIP)
	return a, err
}

func insertAttempt(ctx context.Context, tx *sql.Tx, a *store.Attempt) error {
	_, err := tx.ExecContext(ctx, `
		INSERT INTO attempts (id, delivery_id, number, started_at, duration, dns, connect, tls, first_byte, status_code, error_kind, error,
			response_headers, response_body, response_truncated, remote_ip)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		a.ID, a.DeliveryID, a.Number, a.StartedAt.UnixMicro(), a.Duration,
		a.Phases.DNS, a.Phases.Connect, a.Phases.TLS, a.Phases.FirstByte, a.StatusCode, a.ErrorKind, plainText(a.Error),
		asJSON{a.ResponseHeaders}, a.ResponseBody, a.ResponseTruncated, a.RemoteIP)
	return err
}

// plainText makes text of whatever a receiver sent: SQLite's own functions stop
// at a NUL, and readers expect UTF-8.
func plainText(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}
