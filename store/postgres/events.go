package postgres

import (
	"context"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tellhook/tellhook/store"
)

const eventColumns = `e.id, e.team_id, e.type, e.occurred_at, e.data, e.idempotency_key, e.created_at, e.position`

func scanEvent(row pgx.CollectableRow) (e store.Event, err error) {
	var data []byte
	err = row.Scan(&e.ID, &e.TeamID, &e.Type, &e.Timestamp, &data, &e.IdempotencyKey, &e.CreatedAt, &e.Position)
	e.Data = data
	return e, err
}

// GetEvent answers an event.
func (s *Store) GetEvent(ctx context.Context, teamID, id string) (*store.Event, error) {
	return one(ctx, s, "event", id, scanEvent, `
		SELECT `+eventColumns+` FROM tellhook.events e WHERE team_id = $1 AND id = $2`, teamID, id)
}

// ListEvents answers events, newest position first.
func (s *Store) ListEvents(ctx context.Context, teamID string, q store.EventQuery) (store.List[store.Event], error) {
	const kind = "events"
	none := store.List[store.Event]{}
	cursor, err := q.Position(kind)
	if err != nil {
		return none, err
	}
	var before *int64
	if cursor != "" {
		position, err := strconv.ParseInt(cursor, 10, 64)
		if err != nil {
			return none, store.Errorf(store.CodeInvalid, "cursor", "cursor: it is not of this list; pass the next_cursor of the page before, unchanged, or leave it out for the first page")
		}
		before = &position
	}
	rows, err := query(ctx, s, scanEvent, `
		SELECT `+eventColumns+` FROM tellhook.events e
		WHERE team_id = $1 AND ($2::bigint IS NULL OR position < $2) AND ($3 = '' OR type = $3)
			AND ($4::timestamptz IS NULL OR occurred_at >= $4) AND ($5::timestamptz IS NULL OR occurred_at < $5)
		ORDER BY position DESC LIMIT $6`, teamID, before, q.Type, given(q.Since), given(q.Until), q.Rows()+1)
	if err != nil {
		return none, err
	}
	return store.PageOf(q.Page, kind, rows, func(e *store.Event) string { return strconv.FormatInt(e.Position, 10) }), nil
}

// given answers nil for a time that was left out.
func given(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
