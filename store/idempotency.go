package store

import "time"

// IdempotencyTTL is how long an idempotency key is remembered at least.
const IdempotencyTTL = 24 * time.Hour

// Idempotency makes a creation repeatable: the same key and fingerprint within
// IdempotencyTTL mean the same request. Keys are separate for each team and
// route.
type Idempotency struct {
	Key         string
	Fingerprint []byte
}

// KeyReused refuses another request under a key that is remembered.
func KeyReused(key string) *Error {
	return Errorf(CodeConflict, "idempotency_key",
		"idempotency_key: %q was used for another request within the last 24 hours; repeat that request unchanged, or take a new key", Clip(key, 80))
}

// KeySpent refuses to repeat a request of which the result is gone. It names no
// field: the request itself is the same.
func KeySpent(key string) *Error {
	return Errorf(CodeConflict, "",
		"what the idempotency key %q made has been deleted since; take a new key to make it again", Clip(key, 80))
}

// EventDiffers refuses to publish other content under the id of e.
func EventDiffers(e *Event) *Error {
	return Errorf(CodeConflict, "event_id",
		"event_id: %q is an event with other content, %s of %s; an event never changes, so take a new id or leave it out", e.ID, e.Type, e.Timestamp.Format(TimeFormat))
}
