package store

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"
)

// Limits of a page, in rows.
const (
	DefaultPageLimit = 20
	MaxPageLimit     = 100
)

// Page asks for a part of a list, newest first.
type Page struct {
	Limit  int    // rows; 0 means DefaultPageLimit, more than MaxPageLimit is cut to it
	Cursor string // List.NextCursor of the page before; empty for the first page
}

// List is one page. NextCursor is empty on the last one.
type List[T any] struct {
	Data       []T // never nil
	NextCursor string
}

// Rows is the number of rows to answer.
func (p Page) Rows() int {
	switch {
	case p.Limit <= 0:
		return DefaultPageLimit
	case p.Limit > MaxPageLimit:
		return MaxPageLimit
	}
	return p.Limit
}

// Position decodes the cursor: the sort key of the last row that was seen, or
// "" for the first page. kind guards against a cursor of another list: it is
// CodeInvalid with the field "cursor".
func (p Page) Position(kind string) (string, error) {
	if p.Cursor == "" {
		return "", nil
	}
	b, err := base64.RawURLEncoding.DecodeString(p.Cursor)
	position, ok := strings.CutPrefix(string(b), kind+":")
	if err != nil || !ok || position == "" || strings.ContainsRune(position, 0) || !utf8.ValidString(position) {
		return "", Errorf(CodeInvalid, "cursor",
			"cursor: %q is not a cursor of this list; pass the next_cursor of the page before, unchanged, or leave it out for the first page", Clip(p.Cursor, 60))
	}
	return position, nil
}

// PageOf cuts rows, of which one more than p.Rows() was asked for, to a page.
// key answers a row's sort key.
func PageOf[T any](p Page, kind string, rows []T, key func(*T) string) List[T] {
	list := List[T]{Data: rows}
	if n := p.Rows(); len(rows) > n {
		list.Data = rows[:n]
		list.NextCursor = base64.RawURLEncoding.EncodeToString([]byte(kind + ":" + key(&rows[n-1])))
	}
	if list.Data == nil {
		list.Data = []T{}
	}
	return list
}
