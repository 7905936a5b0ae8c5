// Package schemas is the published contract as JSON Schemas (draft 2020-12):
// events/ and delivery.json are written by hand and embedded here; tools/,
// problem.json and openapi.json are generated from the operation table for
// readers outside of the program, which never reads them.
package schemas

import (
	"embed"
	"encoding/json"
	"fmt"
	"sync"
)

//go:embed events/*.json
var events embed.FS

//go:embed delivery.json
var delivery []byte

// EventType is a built-in event type.
type EventType struct {
	Name        string
	Title       string
	Description string
	Schema      json.RawMessage // of the event's data
	Example     json.RawMessage // data that fits
	Reserved    bool            // can be subscribed to by name, but never published by a caller
}

// builtin lists the types in the contract's order.
var builtin = []struct {
	name     string
	reserved bool
}{
	{"scan", false},
	{"first_scan", false},
	{"form_submit", false},
	{"file_download", false},
	{"scan.created", false},
	{"scan.redirect", false},
	{"scan.vcard_download", false},
	{"scan.blocked", false},
	{"test", true},
	{"webhook.failing", true},
	{"webhook.recovered", true},
	{"webhook.paused", true},
	{"delivery.failed", true},
}

// load panics on a broken file: it is part of the program, and a test loads it.
var load = sync.OnceValue(func() []EventType {
	types := make([]EventType, len(builtin))
	for i, b := range builtin {
		text, err := events.ReadFile("events/" + b.name + ".json")
		if err != nil {
			panic(err)
		}
		var s struct {
			Title       string            `json:"title"`
			Description string            `json:"description"`
			Examples    []json.RawMessage `json:"examples"`
		}
		if err := json.Unmarshal(text, &s); err != nil || len(s.Examples) == 0 {
			panic(fmt.Sprintf("schemas/events/%s.json: no example, or %v", b.name, err))
		}
		types[i] = EventType{
			Name: b.name, Title: s.Title, Description: s.Description,
			Schema: text, Example: s.Examples[0], Reserved: b.reserved,
		}
	}
	return types
})

// Events answers the built-in event types in a fixed order. The bytes are
// shared: don't change them.
func Events() []EventType { return append([]EventType(nil), load()...) }

// Delivery answers the schema of a delivery's body.
func Delivery() json.RawMessage { return delivery }
