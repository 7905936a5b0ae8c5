package tools

import (
	"context"
	"errors"
	"maps"
	"net/http"

	"github.com/tellhook/tellhook/dispatcher"
	"github.com/tellhook/tellhook/store"
)

type createWebhookIn struct {
	URL            string         `json:"url" minLength:"1" maxLength:"2048" doc:"Where each event is POSTed; https." example:"https://example.com/hooks"`
	Events         []string       `json:"events" minItems:"1" maxItems:"50" uniqueItems:"true" doc:"Event type names (see list_event_types), prefixes like scan.*, or * for all." example:"[\"scan.created\"]"`
	Description    Opt[string]    `json:"description,omitzero" nullable:"true" maxLength:"500" doc:"For people."`
	Filter         Opt[filterIn]  `json:"filter,omitzero" nullable:"true" doc:"Data fields, dotted, each with a value or a list of values; all must match." example:"{\"country\": [\"CH\", \"AT\"]}"`
	Metadata       Opt[metadata]  `json:"metadata,omitzero" nullable:"true" doc:"Your own strings, kept with the webhook."`
	Headers        Opt[headers]   `json:"headers,omitzero" nullable:"true" doc:"Custom headers of each delivery; values are write-only."`
	Secret         string         `json:"secret,omitempty" minLength:"1" writeOnly:"true" doc:"Signing secret to bring along; left out, one is made."`
	Status         Opt[statusIn]  `json:"status,omitzero" enum:"active,paused" doc:"A paused webhook holds its deliveries."`
	IdempotencyKey idempotencyKey `json:"idempotency_key,omitempty" in:"header" minLength:"1" maxLength:"255" pattern:"^[ -~]+$" patternDescription:"printable ASCII" doc:"Repeating the call with this key within 24 h answers the first result."`
}

type (
	statusIn       = store.WebhookStatus
	idempotencyKey = string
)

func (t *Tools) createWebhook() *Operation {
	return define(Operation{
		Name: "create_webhook", Title: "Create a webhook",
		Description: "Registers a URL that gets a signed POST for each event of the given types. Answers the signing secret once.",
		Method:      http.MethodPost, Path: "/webhooks", Status: http.StatusCreated, Scope: store.ScopeWebhooksWrite,
		MCP: true, OpenWorld: true,
	}, t.runCreateWebhook)
}

func (t *Tools) runCreateWebhook(ctx context.Context, c *Caller, in *createWebhookIn) (*webhookOut, error) {
	w, err := t.newWebhook(in)
	if err != nil {
		return nil, err
	}
	var idem *store.Idempotency
	if in.IdempotencyKey != "" {
		sum, err := in.fingerprint()
		if err != nil {
			return nil, err
		}
		idem = &store.Idempotency{Key: in.IdempotencyKey, Fingerprint: sum}
	}
	stored, created, err := t.config.Store.CreateWebhook(ctx, c.Team.ID, w, idem)
	if err != nil {
		return nil, err
	}
	if !created { // a replay shows no secret
		out := t.webhookAnswer(stored)
		return &out, nil
	}
	return t.made(stored, w.Secrets[0].Value), nil
}

// newWebhook judges the fields, in their order, and makes the webhook of them.
func (t *Tools) newWebhook(in *createWebhookIn) (*store.Webhook, error) {
	url, err := t.config.Egress.CanonicalURL(in.URL)
	if err != nil {
		return nil, err
	}
	if err := t.types.checkEvents(in.Events); err != nil {
		return nil, err
	}
	if err := t.types.checkFilter(in.Filter.V, in.Events); err != nil {
		return nil, err
	}
	if err := t.checkHeaders(in.Headers.V); err != nil {
		return nil, err
	}
	secret := in.Secret
	if secret == "" {
		secret = dispatcher.NewSecret()
	} else if err := dispatcher.CheckSecret(secret); err != nil {
		return nil, err
	}
	w := &store.Webhook{
		Kind: store.KindWebhook, URL: url, Description: in.Description.V, Events: in.Events,
		Filter: store.Filter(in.Filter.V), Metadata: in.Metadata.V, Headers: in.Headers.V,
		Status: store.StatusActive, Health: store.HealthHealthy,
		Secrets: []store.Secret{newSecret(secret)},
	}
	if len(w.Filter) == 0 {
		w.Filter = nil
	}
	if in.Status.V == store.StatusPaused {
		w.Status, w.PausedReason = store.StatusPaused, store.PausedByOwner
	}
	return w, nil
}

type listWebhooksIn struct {
	Q      string              `json:"q,omitempty" in:"query" maxLength:"200" doc:"Text in URL, description or id."`
	Event  string              `json:"event,omitempty" in:"query" maxLength:"100" doc:"Those that would take this event type."`
	Status store.WebhookStatus `json:"status,omitempty" in:"query" enum:"active,paused"`
	Health store.WebhookHealth `json:"health,omitempty" in:"query" enum:"healthy,failing"`
	Kind   store.WebhookKind   `json:"kind,omitempty" in:"query" enum:"webhook,subscription" doc:"Left out: webhook."`
	Paging
}

func (t *Tools) listWebhooks() *Operation {
	return define(Operation{
		Name: "list_webhooks", Title: "List webhooks",
		Description: "The team's webhooks, newest first.",
		Method:      http.MethodGet, Path: "/webhooks", Status: http.StatusOK, Scope: store.ScopeWebhooksRead,
		MCP: true, ReadOnly: true, Idempotent: true,
	}, t.runListWebhooks)
}

func (t *Tools) runListWebhooks(ctx context.Context, c *Caller, in *listWebhooksIn) (*list[webhookOut], error) {
	if in.Event != "" {
		if err := t.types.checkName("event", in.Event); err != nil {
			return nil, err
		}
	}
	rows, err := t.config.Store.ListWebhooks(ctx, c.Team.ID, store.WebhookQuery{
		Page: in.page(), Search: in.Q, Event: in.Event, Status: in.Status, Health: in.Health, Kind: in.Kind,
	})
	if err != nil {
		return nil, err
	}
	return listOf(rows, t.webhookAnswer), nil
}

type webhookIDIn struct {
	ID string `json:"id" in:"path" minLength:"1" maxLength:"64" doc:"The webhook's id, whk_…"`
}

func (t *Tools) getWebhook() *Operation {
	return define(Operation{
		Name: "get_webhook", Title: "Get a webhook",
		Description: "One webhook: URL, events, filter, status, health.",
		Method:      http.MethodGet, Path: "/webhooks/{id}", Status: http.StatusOK, Scope: store.ScopeWebhooksRead,
		MCP: true, ReadOnly: true, Idempotent: true,
	}, t.runGetWebhook)
}

func (t *Tools) runGetWebhook(ctx context.Context, c *Caller, in *webhookIDIn) (*webhookOut, error) {
	w, err := t.config.Store.GetWebhook(ctx, c.Team.ID, in.ID)
	if err != nil {
		return nil, missing(err, "webhook", in.ID, "list_webhooks")
	}
	out := t.webhookAnswer(w)
	return &out, nil
}

type deleteWebhookOut struct {
	ID                  string `json:"id" slim:"true"`
	Deleted             bool   `json:"deleted" slim:"true"`
	CancelledDeliveries int    `json:"cancelled_deliveries" slim:"true" doc:"Deliveries that were pending and will not be made."`
}

func (t *Tools) deleteWebhook() *Operation {
	return define(Operation{
		Name: "delete_webhook", Title: "Delete a webhook",
		Description: "Deletes a webhook for good and cancels its pending deliveries. To stop for a while, update_webhook with status paused.",
		Method:      http.MethodDelete, Path: "/webhooks/{id}", Status: http.StatusNoContent, Scope: store.ScopeWebhooksWrite,
		MCP: true, Destructive: true, Idempotent: true,
	}, t.runDeleteWebhook)
}

func (t *Tools) runDeleteWebhook(ctx context.Context, c *Caller, in *webhookIDIn) (*deleteWebhookOut, error) {
	cancelled, err := t.config.Store.DeleteWebhook(ctx, c.Team.ID, in.ID)
	if err != nil {
		return nil, missing(err, "webhook", in.ID, "list_webhooks")
	}
	return &deleteWebhookOut{ID: in.ID, Deleted: true, CancelledDeliveries: cancelled}, nil
}

// missing says of an id that the team does not have where to find those it has.
func missing(err error, thing, id, lister string) error {
	var e *store.Error
	if !errors.As(err, &e) || e.Code != store.CodeNotFound {
		return err
	}
	return &store.Error{
		Code: store.CodeNotFound, Field: "id", Err: e.Err,
		Message: "no " + thing + " " + store.Clip(id, 64) + " in this team; " + lister + " shows those there are",
	}
}

func mergeHeaders(given, current map[string]string) map[string]string {
	merged := maps.Clone(given)
	for name, value := range given {
		if kept, ok := current[name]; ok && value == mask(kept) {
			merged[name] = kept // shown masked, and sent back as shown
		}
	}
	return merged
}
