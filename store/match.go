package store

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// Filter narrows the events of a webhook: each key is a field of the event's
// data, nested ones dotted ("fields.email"); each value is a JSON scalar, or a
// list of them of which one must be equal. All fields must match. Equality is
// type-strict: "42" is not 42, but 1.0 is 1. A missing field does not match.
type Filter map[string]json.RawMessage

// TypeTest is the event type of test deliveries; nobody can publish it.
const TypeTest = "test"

// Operational event types: published by the dispatcher alone, never caught by
// the wildcard "*".
const (
	TypeWebhookFailing   = "webhook.failing"
	TypeWebhookRecovered = "webhook.recovered"
	TypeWebhookPaused    = "webhook.paused"
	TypeDeliveryFailed   = "delivery.failed"
)

// Operational tells whether the dispatcher alone publishes the type.
func Operational(eventType string) bool {
	switch eventType {
	case TypeWebhookFailing, TypeWebhookRecovered, TypeWebhookPaused, TypeDeliveryFailed:
		return true
	}
	return false
}

// Covers tells whether a pattern of Webhook.Events covers an event type: the
// name itself, "scan.*" for every name that begins with "scan.", or "*" for all
// but TypeTest and the operational types.
func Covers(pattern, eventType string) bool {
	if pattern == "*" {
		return eventType != TypeTest && !Operational(eventType)
	}
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(eventType, prefix)
	}
	return pattern == eventType
}

// Subscribes tells whether the webhook's event types cover eventType.
func (w *Webhook) Subscribes(eventType string) bool {
	return slices.ContainsFunc(w.Events, func(p string) bool { return Covers(p, eventType) })
}

// Mismatch answers the first field, in the order of names, that keeps data (an
// event's data, see DecodeData) from passing the filter; "" when all pass.
func (f Filter) Mismatch(data map[string]any) string {
	fields := make([]string, 0, len(f))
	for field := range f {
		fields = append(fields, field)
	}
	slices.Sort(fields)
	for _, field := range fields {
		got, ok := Lookup(data, field)
		if !ok || !oneOf(f[field], got) {
			return field
		}
	}
	return ""
}

// Wants tells whether the webhook takes the event. data is the event's decoded
// data, asked for only where there is a filter.
func (w *Webhook) Wants(eventType string, data func() map[string]any) bool {
	return w.Subscribes(eventType) && (len(w.Filter) == 0 || w.Filter.Mismatch(data()) == "")
}

// DecodeData decodes an event's data for matching; numbers stay json.Number.
func DecodeData(data json.RawMessage) map[string]any {
	var m map[string]any
	if decodeNumbers(data, &m) != nil {
		return nil // no object: nothing matches it
	}
	return m
}

// Lookup finds a dotted field in decoded data.
func Lookup(data map[string]any, field string) (any, bool) {
	for {
		if v, ok := data[field]; ok { // also a name that holds a dot
			return v, true
		}
		head, rest, nested := strings.Cut(field, ".")
		inner, ok := data[head].(map[string]any)
		if !nested || !ok {
			return nil, false
		}
		data, field = inner, rest
	}
}

func oneOf(wanted json.RawMessage, got any) bool {
	var want any
	if decodeNumbers(wanted, &want) != nil {
		return false
	}
	list, ok := want.([]any)
	if !ok {
		list = []any{want}
	}
	return slices.ContainsFunc(list, func(v any) bool { return sameScalar(v, got) })
}

func sameScalar(a, b any) bool {
	switch a := a.(type) {
	case json.Number:
		b, ok := b.(json.Number)
		return ok && canonicalNumber(string(a)) == canonicalNumber(string(b))
	case string, bool, nil:
		switch b.(type) {
		case string, bool, nil:
			return a == b
		}
	}
	return false
}

func decodeNumbers(raw []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	return d.Decode(into)
}

// canonicalNumber writes a JSON number so that equal numbers have equal text:
// sign, digits without zeros at either end, exponent. It never expands an
// exponent, so 1e999999999 costs nothing.
func canonicalNumber(n string) string {
	mantissa, exponent := n, 0
	if i := strings.IndexAny(n, "eE"); i >= 0 {
		e, err := strconv.Atoi(n[i+1:])
		if err != nil || e > 1<<40 || e < -1<<40 {
			return n // beyond any use; equal to itself alone
		}
		mantissa, exponent = n[:i], e
	}
	digits, negative := strings.CutPrefix(mantissa, "-")
	whole, fraction, _ := strings.Cut(digits, ".")
	exponent -= len(fraction)
	digits = strings.TrimLeft(whole+fraction, "0")
	trimmed := strings.TrimRight(digits, "0")
	if trimmed == "" {
		return "0"
	}
	exponent += len(digits) - len(trimmed)
	if negative {
		trimmed = "-" + trimmed
	}
	return trimmed + "e" + strconv.Itoa(exponent)
}

// The types of the derived event: the first scan of a qr_code_id in a team also
// publishes a first_scan with the same data.
const (
	TypeScan      = "scan"
	TypeFirstScan = "first_scan"
)

// FirstScanKey answers what identifies the thing scanned: its qr_code_id as
// canonical JSON ("42" the string and 42 the number are two things). ok is false
// for other types and for data without one.
func FirstScanKey(eventType string, data json.RawMessage) (key string, ok bool) {
	if eventType != TypeScan && eventType != TypeFirstScan {
		return "", false
	}
	switch id := DecodeData(data)["qr_code_id"].(type) {
	case string:
		return strconv.Quote(id), true
	case json.Number:
		return canonicalNumber(string(id)), true
	}
	return "", false
}
