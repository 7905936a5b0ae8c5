package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/tellhook/tellhook/store"
)

// queryer is what *sql.DB and *sql.Tx have in common.
type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// scanner is a row: *sql.Row or *sql.Rows.
type scanner interface{ Scan(dest ...any) error }

// collect reads all rows of a query.
func collect[T any](ctx context.Context, q queryer, scan func(scanner) (T, error), query string, args ...any) ([]T, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // its error is that of rows.Err
	var all []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}

// where builds the condition of a list from the filters that are set.
type where struct {
	sql  strings.Builder
	args []any
}

func (w *where) and(condition string, arg any) {
	if w.sql.Len() > 0 {
		w.sql.WriteString(" AND ")
	}
	w.sql.WriteString(condition)
	w.args = append(w.args, arg)
}

func (w *where) andText(condition, arg string) {
	if arg != "" {
		w.and(condition, arg)
	}
}

func (w *where) andTime(condition string, t time.Time) {
	if !t.IsZero() {
		w.and(condition, t.UnixMicro())
	}
}

// asJSON stores what v points to as JSON text, and reads it back.
type asJSON struct{ v any }

// Value implements driver.Valuer.
func (j asJSON) Value() (driver.Value, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // a filter's values are kept as they came
	if err := enc.Encode(j.v); err != nil {
		return nil, err
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

// Scan implements sql.Scanner.
func (j asJSON) Scan(src any) error {
	text, ok := src.(string)
	if !ok {
		return fmt.Errorf("JSON column holds a %T", src)
	}
	return json.Unmarshal([]byte(text), j.v)
}

// instant reads a time, kept in microseconds.
type instant struct{ t *time.Time }

// Scan implements sql.Scanner.
func (i instant) Scan(src any) error {
	us, ok := src.(int64)
	if !ok {
		return fmt.Errorf("time column holds a %T", src)
	}
	*i.t = time.UnixMicro(us).UTC()
	return nil
}

// maybeInstant reads a time that may be NULL.
type maybeInstant struct{ t **time.Time }

// Scan implements sql.Scanner.
func (m maybeInstant) Scan(src any) error {
	*m.t = nil
	if src == nil {
		return nil
	}
	*m.t = new(time.Time)
	return instant{*m.t}.Scan(src)
}

// micros is a time that may be nil, as a query's argument.
func micros(t *time.Time) *int64 {
	if t == nil {
		return nil
	}
	return new(t.UnixMicro())
}

// checkTeam is CodeNotFound where there is no such team.
func checkTeam(ctx context.Context, tx *sql.Tx, teamID string) error {
	var found bool
	err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM teams WHERE id = ?)`, teamID).Scan(&found)
	if err == nil && !found {
		return notFound("team", teamID)
	}
	return err
}

func notFound(what, id string) error {
	return store.Errorf(store.CodeNotFound, "", "no %s %q", what, store.Clip(id, 80))
}
