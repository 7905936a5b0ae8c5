package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"strconv"

	"github.com/tellhook/tellhook/store"
)

const eventColumns = `id, team_id, type, occurred_at, data, idempotency_key, created_at, position`

func scanEvent(row scanner) (store.Event, error) {
	var (
		e    store.Event
		data []byte
	)
	err := row.Scan(&e.ID, &e.TeamID, &e.Type, instant{&e.Timestamp}, &data, &e.IdempotencyKey, instant{&e.CreatedAt}, &e.Position)
	e.Data = data
	return e, err
}

func findEvent(ctx context.Context, q queryer, teamID, id string) (*store.Event, error) {
	e, err := scanEvent(q.QueryRowContext(ctx, `SELECT `+eventColumns+` FROM events WHERE team_id = ? AND id = ?`, teamID, id))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, notFound("event", id)
	}
	if err != nil {
		return nil, translate(err)
	}
	return &e, nil
}

// GetEvent implements store.Store.
func (s *Store) GetEvent(ctx context.Context, teamID, id string) (*store.Event, error) {
	return findEvent(ctx, s.reader, teamID, id)
}

// ListEvents implements store.Store.
func (s *Store) ListEvents(ctx context.Context, teamID string, q store.EventQuery) (store.List[store.Event], error) {
	after, err := q.Position("events")
	if err != nil {
		return store.List[store.Event]{}, err
	}
	var cond where
	cond.and("team_id = ?", teamID)
	if after != "" {
		position, err := strconv.ParseInt(after, 10, 64)
		if err != nil {
			return store.List[store.Event]{}, store.Errorf(store.CodeInvalid, "cursor",
				"cursor: %q is not a cursor of this list; pass the next_cursor of the page before, unchanged", store.Clip(q.Cursor, 60))
		}
		cond.and("position < ?", position)
	}
	cond.andText("type = ?", q.Type)
	cond.andTime("occurred_at >= ?", q.Since)
	cond.andTime("occurred_at < ?", q.Until)
	events, err := collect(ctx, s.reader, scanEvent,
		`SELECT `+eventColumns+` FROM events WHERE `+cond.sql.String()+` ORDER BY position DESC LIMIT ?`, append(cond.args, q.Rows()+1)...)
	if err != nil {
		return store.List[store.Event]{}, translate(err)
	}
	return store.PageOf(q.Page, "events", events, func(e *store.Event) string { return strconv.FormatInt(e.Position, 10) }), nil
}
