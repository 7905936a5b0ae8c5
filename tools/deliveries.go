package tools

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/tellhook/tellhook/store"
)

// deliveryOut is a delivery as callers see it.
type deliveryOut struct {
	ID       string `json:"id" slim:"true"`
	TeamID   string `json:"team_id"`
	Webhook  string `json:"webhook_id" slim:"true"`
	EventID  string `json:"event_id" slim:"true"`
	Event    string `json:"event"`
	Attempts int    `json:"attempts" doc:"Attempts begun."`
	DeliveryState
}

// DeliveryState is what list_deliveries and get_delivery say in the same words.
type DeliveryState struct {
	Status         store.DeliveryStatus `json:"status" slim:"true" enum:"pending,succeeded,failed,cancelled"`
	Reason         *string              `json:"reason" doc:"Why it failed or was cancelled: exhausted, gone, lost, webhook_deleted, event_erased, expired."`
	MaxAttempts    int                  `json:"max_attempts" doc:"Attempts there will have been when every one fails."`
	NextAttemptAt  *stamp               `json:"next_attempt_at" nullable:"true" doc:"Null while it is being sent, and once it has ended."`
	LastStatusCode *int                 `json:"last_status_code"`
	LastErrorKind  *store.ErrorKind     `json:"last_error_kind"`
	CreatedAt      stamp                `json:"created_at"`
	FinishedAt     *stamp               `json:"finished_at" nullable:"true"`
	DashboardURL   *string              `json:"dashboard_url" slim:"true"`
}

func (t *Tools) deliveryAnswer(d *store.Delivery) deliveryOut {
	return deliveryOut{
		ID: d.ID, TeamID: d.TeamID, Webhook: d.WebhookID, EventID: d.EventID, Event: d.EventType,
		Attempts: d.Attempts, DeliveryState: t.deliveryState(d),
	}
}

func (t *Tools) deliveryState(d *store.Delivery) DeliveryState {
	return DeliveryState{
		Status: d.Status, Reason: orNull(d.Reason), MaxAttempts: d.MaxAttempts(len(t.config.Schedule)),
		NextAttemptAt: stampOf(d.NextAttemptAt), LastStatusCode: d.LastStatusCode, LastErrorKind: orNull(d.LastErrorKind),
		CreatedAt: stamp(d.CreatedAt), FinishedAt: stampOf(d.FinishedAt),
		DashboardURL: t.dashboard("/deliveries/" + d.ID),
	}
}

// attemptOut is one request of a delivery.
type attemptOut struct {
	ID                string              `json:"id"`
	Number            int                 `json:"number"`
	StartedAt         stamp               `json:"started_at"`
	DurationMS        int64               `json:"duration_ms"`
	Phases            phasesOut           `json:"phases"`
	StatusCode        *int                `json:"status_code" doc:"Null where no response came."`
	ErrorKind         *store.ErrorKind    `json:"error_kind" doc:"Null for a success; else timeout, dns, connect, tls, blocked, redirect, status, body, internal or unknown (the sender died)."`
	Error             *string             `json:"error" doc:"What went wrong, in words."`
	ResponseHeaders   map[string][]string `json:"response_headers"`
	ResponseBody      *string             `json:"response_body" doc:"What the receiver answered, a third party's text; null where no response came."`
	ResponseTruncated bool                `json:"response_truncated"`
	RemoteIP          *string             `json:"remote_ip"`
}

// phasesOut are the parts of an attempt's time; null where one did not happen.
type phasesOut struct {
	DNS       *int64 `json:"dns_ms"`
	Connect   *int64 `json:"connect_ms"`
	TLS       *int64 `json:"tls_ms"`
	FirstByte *int64 `json:"first_byte_ms"`
}

func attemptAnswer(a *store.Attempt) attemptOut {
	out := attemptOut{
		ID: a.ID, Number: a.Number, StartedAt: stamp(a.StartedAt), DurationMS: milliseconds(a.Duration),
		Phases: phasesOut{
			DNS: phase(a.Phases.DNS), Connect: phase(a.Phases.Connect),
			TLS: phase(a.Phases.TLS), FirstByte: phase(a.Phases.FirstByte),
		},
		StatusCode: a.StatusCode, ErrorKind: orNull(a.ErrorKind), Error: orNull(a.Error),
		ResponseHeaders: a.ResponseHeaders, ResponseTruncated: a.ResponseTruncated, RemoteIP: orNull(a.RemoteIP),
	}
	if out.ResponseHeaders == nil {
		out.ResponseHeaders = map[string][]string{}
	}
	if a.StatusCode != nil {
		body := strings.ToValidUTF8(string(a.ResponseBody), "\uFFFD")
		out.ResponseBody = &body
	}
	return out
}

// milliseconds rounds up, so that what took time shows some.
func milliseconds(d time.Duration) int64 {
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}

func phase(d time.Duration) *int64 {
	if d == 0 {
		return nil
	}
	ms := milliseconds(d)
	return &ms
}

type listDeliveriesIn struct {
	WebhookID string               `json:"webhook_id,omitempty" in:"query" maxLength:"64"`
	EventID   string               `json:"event_id,omitempty" in:"query" maxLength:"64"`
	Status    store.DeliveryStatus `json:"status,omitempty" in:"query" enum:"pending,succeeded,failed,cancelled"`
	Event     string               `json:"event,omitempty" in:"query" maxLength:"100" doc:"Event type."`
	Since     stamp                `json:"since,omitzero" in:"query" doc:"Made at or after."`
	Until     stamp                `json:"until,omitzero" in:"query" doc:"Made before."`
	Paging
}

func (t *Tools) listDeliveries() *Operation {
	return define(Operation{
		Name: "list_deliveries", Title: "List deliveries",
		Description: "Deliveries of events to webhooks, newest first.",
		Method:      http.MethodGet, Path: "/deliveries", Nested: "/webhooks/{id}/deliveries", NestedArg: "webhook_id",
		Status: http.StatusOK, Scope: store.ScopeWebhooksRead,
		MCP: true, ReadOnly: true, Idempotent: true,
	}, t.runListDeliveries)
}

func (t *Tools) runListDeliveries(ctx context.Context, c *Caller, in *listDeliveriesIn) (*list[deliveryOut], error) {
	rows, err := t.config.Store.ListDeliveries(ctx, c.Team.ID, store.DeliveryQuery{
		Page: in.page(), WebhookID: in.WebhookID, EventID: in.EventID, Status: in.Status, EventType: in.Event,
		Since: time.Time(in.Since), Until: time.Time(in.Until),
	})
	if err != nil {
		return nil, err
	}
	return listOf(rows, t.deliveryAnswer), nil
}

type deliveryIDIn struct {
	ID string `json:"id" in:"path" minLength:"1" maxLength:"64" doc:"The delivery's id, dlv_…"`
}

// deliveryDetailOut has the attempts themselves where a list has their number.
type deliveryDetailOut struct {
	ID       string       `json:"id" slim:"true"`
	TeamID   string       `json:"team_id"`
	Webhook  string       `json:"webhook_id" slim:"true"`
	EventID  string       `json:"event_id" slim:"true"`
	Event    string       `json:"event"`
	Attempts []attemptOut `json:"attempts" slim:"true" doc:"Every request made, in order."`
	DeliveryState
}

func (t *Tools) getDelivery() *Operation {
	return define(Operation{
		Name: "get_delivery", Title: "Get a delivery",
		Description: "One delivery with every attempt: status code, error, timing and what the receiver answered.",
		Method:      http.MethodGet, Path: "/deliveries/{id}", Status: http.StatusOK, Scope: store.ScopeWebhooksRead,
		MCP: true, ReadOnly: true, Idempotent: true,
	}, t.runGetDelivery)
}

func (t *Tools) runGetDelivery(ctx context.Context, c *Caller, in *deliveryIDIn) (*deliveryDetailOut, error) {
	d, attempts, err := t.config.Store.GetDelivery(ctx, c.Team.ID, in.ID)
	if err != nil {
		return nil, missing(err, "delivery", in.ID, "list_deliveries")
	}
	out := &deliveryDetailOut{
		ID: d.ID, TeamID: d.TeamID, Webhook: d.WebhookID, EventID: d.EventID, Event: d.EventType,
		Attempts: make([]attemptOut, len(attempts)), DeliveryState: t.deliveryState(d),
	}
	for i := range attempts {
		out.Attempts[i] = attemptAnswer(&attempts[i])
	}
	return out, nil
}
