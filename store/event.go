package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"time"
)

// TimeFormat is RFC 3339 in UTC with milliseconds, the form of every timestamp
// in the API and on the wire.
const TimeFormat = "2006-01-02T15:04:05.000Z"

// Event is something that happened, published once, immutable.
type Event struct {
	ID             string // unique in its team; may be the publisher's own
	TeamID         string
	Type           string          // event type's name
	Timestamp      time.Time       // when it happened; UTC, whole milliseconds
	Data           json.RawMessage // as published, without insignificant space
	IdempotencyKey string
	CreatedAt      time.Time
	Position       int64 // place in the event log, in the order in which commits became visible; gaps are possible
}

// Body is what is sent for the event: the same bytes on every attempt.
func (e *Event) Body() []byte {
	b := make([]byte, 0, len(e.Data)+len(e.Type)+len(e.ID)+80)
	b = append(b, `{"event":"`...)
	b = append(b, e.Type...) // names and ids hold no character that JSON escapes
	b = append(b, `","event_id":"`...)
	b = append(b, e.ID...)
	b = append(b, `","timestamp":"`...)
	b = e.Timestamp.UTC().AppendFormat(b, TimeFormat)
	b = append(b, `","data":`...)
	b = append(b, e.Data...)
	return append(b, '}')
}

// Publish is an event to be. The caller has checked type and data.
type Publish struct {
	Type           string
	Data           json.RawMessage // a compact JSON object
	Timestamp      time.Time       // zero: the time of publishing
	ID             string          // optional, [A-Za-z0-9_-]{1,64}
	IdempotencyKey string          // optional, remembered for IdempotencyTTL
}

// Published answers one Publish. Event is set where Err is nil.
type Published struct {
	Event     *Event
	Duplicate bool  // the event was there already: same id or same key, same content
	Err       error // CodeConflict: EventDiffers, KeyReused or KeySpent
}

// Fingerprint tells whether two publishes under one idempotency key are the
// same request.
func (p *Publish) Fingerprint() []byte {
	h := sha256.New()
	enc := json.NewEncoder(h)
	stamp := ""
	if !p.Timestamp.IsZero() {
		stamp = p.Timestamp.UTC().Format(TimeFormat)
	}
	_ = enc.Encode([]string{p.Type, p.ID, stamp}) // a hash never fails to write
	h.Write(p.Data)
	return h.Sum(nil)
}

// SameContent tells whether publishing p again, under the id of e, repeats e.
// A publish without a timestamp leaves it open.
func (p *Publish) SameContent(e *Event) bool {
	return p.Type == e.Type && bytes.Equal(p.Data, e.Data) &&
		(p.Timestamp.IsZero() || p.Timestamp.UTC().Truncate(time.Millisecond).Equal(e.Timestamp))
}

// EventQuery narrows ListEvents. Empty fields do not.
type EventQuery struct {
	Page
	Type  string
	Since time.Time // Timestamp at or after
	Until time.Time // Timestamp before
}
