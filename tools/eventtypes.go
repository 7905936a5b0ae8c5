package tools

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"github.com/tellhook/tellhook/schemas"
	"github.com/tellhook/tellhook/store"
)

// catalogue holds the event types that exist, in a fixed order.
type catalogue struct {
	types  []eventType
	byName map[string]*eventType
}

type eventType struct {
	schemas.EventType
	check *jsonschema.Schema
}

// newCatalogue takes the built-in types that only names, or all where it is
// empty. Reserved types always exist.
func newCatalogue(only []string) (*catalogue, error) {
	c := &catalogue{byName: map[string]*eventType{}}
	unknown := slices.Clone(only)
	for _, e := range schemas.Events() {
		if !e.Reserved && len(only) > 0 && !slices.Contains(only, e.Name) {
			continue
		}
		unknown = slices.DeleteFunc(unknown, func(name string) bool { return name == e.Name })
		check, err := compileSchema("event:"+e.Name, e.Schema)
		if err != nil {
			return nil, err
		}
		c.types = append(c.types, eventType{e, check})
	}
	if len(unknown) > 0 {
		return nil, fmt.Errorf("unknown built-in event types: %s", strings.Join(unknown, ", "))
	}
	for i := range c.types {
		c.byName[c.types[i].Name] = &c.types[i]
	}
	return c, nil
}

// names lists the types, in the catalogue's order.
func (c *catalogue) names(keep func(*eventType) bool) []string {
	var names []string
	for i := range c.types {
		if keep(&c.types[i]) {
			names = append(names, c.types[i].Name)
		}
	}
	return names
}

func anyType(*eventType) bool       { return true }
func publishable(e *eventType) bool { return !e.Reserved }

// checkName refuses a name that no type has, and suggests one.
func (c *catalogue) checkName(field, name string) error {
	if c.byName[name] != nil {
		return nil
	}
	known := c.names(anyType)
	return store.Errorf(store.CodeInvalid, field, "%s: unknown event type %q%s; known are %s",
		field, store.Clip(name, 60), didYouMean(name, known), strings.Join(known, ", "))
}

// covered answers the types that patterns of Webhook.Events cover.
func (c *catalogue) covered(patterns []string) []*eventType {
	var types []*eventType
	for i := range c.types {
		e := &c.types[i]
		if slices.ContainsFunc(patterns, func(p string) bool { return store.Covers(p, e.Name) }) {
			types = append(types, e)
		}
	}
	return types
}

// checkEvents judges a webhook's events: known names, prefixes that cover a
// known type, or "*".
func (c *catalogue) checkEvents(patterns []string) error {
	for i, p := range patterns {
		field := fmt.Sprintf("events[%d]", i)
		prefix, wild := strings.CutSuffix(p, "*")
		switch {
		case !wild:
			if err := c.checkName(field, p); err != nil {
				return err
			}
		case prefix != "" && !strings.HasSuffix(prefix, "."):
			return store.Errorf(store.CodeInvalid, field,
				`%s: got %q; a prefix ends in ".*", like "scan.*", and "*" alone means all types`, field, store.Clip(p, 60))
		case len(c.covered([]string{p})) == 0:
			return store.Errorf(store.CodeInvalid, field, "%s: no event type begins with %q; known are %s",
				field, store.Clip(prefix, 60), strings.Join(c.names(anyType), ", "))
		}
	}
	return nil
}

// checkData judges an event's data, a JSON object, against the type's schema.
func (e *eventType) checkData(data json.RawMessage) error {
	v, err := decodeValue("data", data)
	if err != nil {
		return err
	}
	fault := firstFault(e.check.Validate(v))
	if fault == nil {
		return nil
	}
	path := faultPath("data", v, fault)
	message := wording(path, valueAt(v, fault.InstanceLocation), fault, nil)
	if missing, ok := fault.ErrorKind.(*kind.Required); ok && len(fault.InstanceLocation) == 0 {
		message += e.needs(missing.Missing[0])
	}
	return store.Errorf(store.CodeInvalid, path, "%s (event type %s)", message, e.Name)
}

// needs tells of a field of the data: kind, meaning, example.
func (e *eventType) needs(name string) string {
	p := e.check.Properties[name]
	if p == nil {
		return ""
	}
	text := ""
	if p.Types != nil {
		text = ", expected " + kinds(p.Types.ToStrings())
	}
	var example map[string]json.RawMessage
	if json.Unmarshal(e.Example, &example) == nil && example[name] != nil {
		text += fmt.Sprintf(", e.g. %q: %s", name, store.Clip(string(example[name]), 60))
	}
	return text
}

type listEventTypesIn struct {
	Paging
}

type eventTypeOut struct {
	Name        string          `json:"name"`
	Title       string          `json:"title"`
	Description string          `json:"description"`
	Schema      json.RawMessage `json:"schema" doc:"JSON Schema (draft 2020-12) of the event's data."`
	Example     json.RawMessage `json:"example" doc:"Data that fits the schema."`
	Strict      bool            `json:"strict" doc:"Whether data that does not fit is refused."`
	Builtin     bool            `json:"builtin" doc:"Whether the type comes with the program."`
	Publishable bool            `json:"publishable" doc:"Whether publish_event takes it; the others are published by the service alone."`
}

func (t *Tools) listEventTypes() *Operation {
	return define(Operation{
		Name: "list_event_types", Title: "List event types",
		Description: "Event types a webhook can subscribe to, each with the JSON Schema of its data and an example.",
		Method:      http.MethodGet, Path: "/event-types", Status: http.StatusOK, Scope: store.ScopeWebhooksRead,
		MCP: true, ReadOnly: true, Idempotent: true,
	}, t.runListEventTypes)
}

func (t *Tools) runListEventTypes(_ context.Context, _ *Caller, in *listEventTypesIn) (*list[eventTypeOut], error) {
	page := in.page()
	last, err := page.Position("event_types")
	if err != nil {
		return nil, err
	}
	rest := t.types.types
	if last != "" {
		i := slices.IndexFunc(rest, func(e eventType) bool { return e.Name == last })
		rest = rest[i+1:] // a type that has gone begins the list again
	}
	rows := slices.Clone(rest[:min(len(rest), page.Rows()+1)])
	return listOf(store.PageOf(page, "event_types", rows, func(e *eventType) string { return e.Name }), eventTypeAnswer), nil
}

func eventTypeAnswer(e *eventType) eventTypeOut {
	return eventTypeOut{
		Name: e.Name, Title: e.Title, Description: e.Description, Schema: e.Schema, Example: e.Example,
		Strict: true, Builtin: true, Publishable: !e.Reserved,
	}
}
