package tools

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/tellhook/tellhook/store"
)

// Event is an event as callers see it.
type Event struct {
	ID             string   `json:"id" slim:"true"`
	TeamID         string   `json:"team_id"`
	Event          string   `json:"event" slim:"true" doc:"The event type."`
	Timestamp      stamp    `json:"timestamp" slim:"true" doc:"When it happened."`
	Data           verbatim `json:"data" doc:"As published."`
	IdempotencyKey *string  `json:"idempotency_key"`
	CreatedAt      stamp    `json:"created_at"`
}

func (e *Event) location() string { return "/api/v1/events/" + e.ID }

func eventAnswer(e *store.Event) Event {
	return Event{
		ID: e.ID, TeamID: e.TeamID, Event: e.Type, Timestamp: stamp(e.Timestamp),
		Data: verbatim{e.Data}, IdempotencyKey: orNull(e.IdempotencyKey), CreatedAt: stamp(e.CreatedAt),
	}
}

type publishEventIn struct {
	Event          string         `json:"event" minLength:"1" maxLength:"100" doc:"The event type, see list_event_types." example:"scan.created"`
	Data           verbatim       `json:"data" doc:"An object that fits the type's schema; kept byte for byte." example:"{\"node_slug\": \"o1ulpplq\", \"node_id\": \"node_abc123\"}"`
	Timestamp      stamp          `json:"timestamp,omitzero" doc:"When it happened, RFC 3339; left out: now." example:"2026-02-09T14:30:00Z"`
	EventID        string         `json:"event_id,omitempty" minLength:"1" maxLength:"64" pattern:"^[A-Za-z0-9_-]+$" patternDescription:"letters, digits, _ and -" doc:"Your own id; repeating it publishes nothing twice." example:"evt_a1b2c3d4"`
	IdempotencyKey idempotencyKey `json:"idempotency_key,omitempty" in:"header" minLength:"1" maxLength:"255" pattern:"^[ -~]+$" patternDescription:"printable ASCII" doc:"Repeating the call with this key within 24 h answers the first event."`
}

func (t *Tools) publishEvent() *Operation {
	return define(Operation{
		Name: "publish_event", Title: "Publish an event",
		Description: "Publishes an event, which is then delivered to every webhook that subscribes to it.",
		Method:      http.MethodPost, Path: "/events", Status: http.StatusAccepted, Scope: store.ScopeEventsWrite,
		MCP: true, OpenWorld: true,
	}, t.runPublishEvent)
}

func (t *Tools) runPublishEvent(ctx context.Context, c *Caller, in *publishEventIn) (*Event, error) {
	p, err := t.publish(in)
	if err != nil {
		return nil, err
	}
	published, err := t.config.Store.PublishEvents(ctx, c.Team.ID, []store.Publish{*p})
	if err != nil {
		return nil, err
	}
	if err := published[0].Err; err != nil {
		return nil, err
	}
	out := eventAnswer(published[0].Event)
	return &out, nil
}

// publish judges type, data and time, in this order.
func (t *Tools) publish(in *publishEventIn) (*store.Publish, error) {
	e, ok := t.types.byName[in.Event]
	if known := t.types.names(publishable); !ok {
		return nil, store.Errorf(store.CodeInvalid, "event", "event: unknown event type %q%s; known are %s",
			store.Clip(in.Event, 60), didYouMean(in.Event, known), strings.Join(known, ", "))
	} else if e.Reserved {
		return nil, store.Errorf(store.CodeInvalid, "event", "event: %s is reserved, the service alone publishes it; you can publish %s",
			e.Name, strings.Join(known, ", "))
	}
	var data bytes.Buffer
	if err := json.Compact(&data, in.Data.RawMessage); err != nil {
		return nil, err // valid JSON already
	}
	if data.Len() > t.config.MaxEventBytes {
		return nil, store.Errorf(store.CodeTooLarge, "data", "data: has %d bytes, expected at most %d; send a reference to the rest instead",
			data.Len(), t.config.MaxEventBytes)
	}
	if err := e.checkData(data.Bytes()); err != nil {
		return nil, err
	}
	at := time.Time(in.Timestamp)
	if !at.IsZero() && (at.Year() < 1970 || at.Year() > 9999) {
		return nil, store.Errorf(store.CodeInvalid, "timestamp", "timestamp: expected a time in the years 1970 to 9999 (UTC), e.g. \"2026-02-09T14:30:00Z\"")
	}
	return &store.Publish{Type: e.Name, Data: data.Bytes(), Timestamp: at, ID: in.EventID, IdempotencyKey: in.IdempotencyKey}, nil
}

type listEventsIn struct {
	Event string `json:"event,omitempty" in:"query" maxLength:"100" doc:"Event type."`
	Since stamp  `json:"since,omitzero" in:"query" doc:"Happened at or after."`
	Until stamp  `json:"until,omitzero" in:"query" doc:"Happened before."`
	Paging
}

func (t *Tools) listEvents() *Operation {
	return define(Operation{
		Name: "list_events", Title: "List events",
		Description: "Published events, newest first.",
		Method:      http.MethodGet, Path: "/events", Status: http.StatusOK, Scope: store.ScopeWebhooksRead,
		MCP: true, ReadOnly: true, Idempotent: true,
	}, t.runListEvents)
}

func (t *Tools) runListEvents(ctx context.Context, c *Caller, in *listEventsIn) (*list[Event], error) {
	rows, err := t.config.Store.ListEvents(ctx, c.Team.ID, store.EventQuery{
		Page: in.page(), Type: in.Event, Since: time.Time(in.Since), Until: time.Time(in.Until),
	})
	if err != nil {
		return nil, err
	}
	return listOf(rows, eventAnswer), nil
}

type eventIDIn struct {
	ID string `json:"id" in:"path" minLength:"1" maxLength:"64" doc:"The event's id, evt_…"`
}

type eventDetailOut struct {
	Event
	Deliveries []deliveryOut `json:"deliveries" slim:"true" doc:"The newest 100; list_deliveries has all."`
}

func (t *Tools) getEvent() *Operation {
	return define(Operation{
		Name: "get_event", Title: "Get an event",
		Description: "One event with its data and its deliveries.",
		Method:      http.MethodGet, Path: "/events/{id}", Status: http.StatusOK, Scope: store.ScopeWebhooksRead,
		MCP: true, ReadOnly: true, Idempotent: true,
	}, t.runGetEvent)
}

func (t *Tools) runGetEvent(ctx context.Context, c *Caller, in *eventIDIn) (*eventDetailOut, error) {
	e, err := t.config.Store.GetEvent(ctx, c.Team.ID, in.ID)
	if err != nil {
		return nil, missing(err, "event", in.ID, "list_events")
	}
	rows, err := t.config.Store.ListDeliveries(ctx, c.Team.ID, store.DeliveryQuery{
		Page: store.Page{Limit: store.MaxPageLimit}, EventID: e.ID,
	})
	if err != nil {
		return nil, err
	}
	return &eventDetailOut{Event: eventAnswer(e), Deliveries: listOf(rows, t.deliveryAnswer).Data}, nil
}
