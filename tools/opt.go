package tools

import (
	"bytes"
	"encoding/json"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tellhook/tellhook/store"
)

// Opt is a field that may be absent, null or given: three things in a partial
// update.
type Opt[T any] struct {
	Set  bool // the field was there
	Null bool // as null
	V    T
}

// UnmarshalJSON is called for null as well, because Opt is no pointer.
func (o *Opt[T]) UnmarshalJSON(b []byte) error {
	o.Set = true
	if bytes.Equal(bytes.TrimSpace(b), []byte("null")) {
		o.Null = true
		return nil
	}
	return json.Unmarshal(b, &o.V)
}

// Schema makes huma describe T.
func (Opt[T]) Schema(r huma.Registry) *huma.Schema {
	return r.Schema(reflect.TypeFor[T](), false, "")
}

// Given answers the value, and whether there is one to set.
func (o Opt[T]) Given() (T, bool) { return o.V, o.Set && !o.Null }

// verbatim is a JSON object whose bytes are kept as they came.
type verbatim struct{ json.RawMessage }

// Schema tells of any object.
func (verbatim) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
}

// stamp is a time as the API writes it: RFC 3339, UTC, milliseconds.
type stamp time.Time

func (t stamp) MarshalJSON() ([]byte, error) {
	return []byte(time.Time(t).UTC().Format(`"` + store.TimeFormat + `"`)), nil
}

// UnmarshalJSON takes any RFC 3339 time.
func (t *stamp) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	parsed, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return err
	}
	*t = stamp(parsed.UTC().Truncate(time.Millisecond))
	return nil
}

// Schema tells of a date-time.
func (stamp) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: "date-time"}
}

func stampOf(t *time.Time) *stamp {
	if t == nil {
		return nil
	}
	s := stamp(*t)
	return &s
}

// orNull answers nil for the zero value, which the API writes as null.
func orNull[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}
