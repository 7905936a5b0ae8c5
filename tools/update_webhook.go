package tools

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/tellhook/tellhook/dispatcher"
	"github.com/tellhook/tellhook/store"
)

type updateWebhookIn struct {
	ID           string        `json:"id" in:"path" minLength:"1" maxLength:"64" doc:"The webhook's id, whk_…"`
	URL          Opt[string]   `json:"url,omitzero" minLength:"1" maxLength:"2048" doc:"A new host needs rotate_secret." example:"https://example.com/hooks"`
	Events       Opt[[]string] `json:"events,omitzero" minItems:"1" maxItems:"50" uniqueItems:"true" doc:"Replaces the event types." example:"[\"scan.*\"]"`
	Description  Opt[string]   `json:"description,omitzero" nullable:"true" maxLength:"500"`
	Filter       Opt[filterIn] `json:"filter,omitzero" nullable:"true" doc:"Replaces the filter; null removes it."`
	Metadata     Opt[metadata] `json:"metadata,omitzero" nullable:"true" doc:"Replaces all of it."`
	Headers      Opt[headers]  `json:"headers,omitzero" nullable:"true" doc:"Replaces all custom headers; a value sent back as it was shown stays."`
	Status       Opt[statusIn] `json:"status,omitzero" enum:"active,paused" doc:"paused holds deliveries, active sends them."`
	RotateSecret bool          `json:"rotate_secret,omitempty" doc:"Makes a new signing secret at once and answers it; custom headers not given again are dropped where the host changes."`
}

func (t *Tools) updateWebhook() *Operation {
	return define(Operation{
		Name: "update_webhook", Title: "Update a webhook",
		Description: "Changes the given fields, pauses or resumes; fields left out stay.",
		Method:      http.MethodPut, Path: "/webhooks/{id}", Status: http.StatusOK, Scope: store.ScopeWebhooksWrite,
		MCP: true, Destructive: true, Idempotent: true, OpenWorld: true,
	}, t.runUpdateWebhook)
}

func (t *Tools) runUpdateWebhook(ctx context.Context, c *Caller, in *updateWebhookIn) (*webhookOut, error) {
	if err := t.checkUpdate(in); err != nil {
		return nil, err
	}
	var secret string // made once, however often the store runs the change
	if in.RotateSecret {
		secret = dispatcher.NewSecret()
	}
	w, err := t.config.Store.UpdateWebhook(ctx, c.Team.ID, in.ID, func(w *store.Webhook) error {
		if in.Description.Set {
			w.Description = in.Description.V
		}
		if in.Metadata.Set {
			w.Metadata = in.Metadata.V
		}
		if err := changeTarget(w, in, secret); err != nil {
			return err
		}
		if err := t.changeMatching(w, in); err != nil {
			return err
		}
		return changeStatus(w, in, c)
	})
	if err != nil {
		return nil, missing(err, "webhook", in.ID, "list_webhooks")
	}
	if in.RotateSecret {
		return t.made(w, secret), nil
	}
	out := t.webhookAnswer(w)
	return &out, nil
}

// checkUpdate judges, in their order, the fields that need no look at the
// webhook, and makes the URL canonical.
func (t *Tools) checkUpdate(in *updateWebhookIn) error {
	if in.URL.Set {
		canonical, err := t.config.Egress.CanonicalURL(in.URL.V)
		if err != nil {
			return err
		}
		in.URL.V = canonical
	}
	if err := t.types.checkEvents(in.Events.V); err != nil {
		return err
	}
	return t.checkHeaders(in.Headers.V)
}

// changeTarget changes URL, secret and custom headers. Secret and headers were
// meant for the old host, so a new one gets neither: who can edit the URL could
// else have them sent to a host of their own.
func changeTarget(w *store.Webhook, in *updateWebhookIn, secret string) error {
	moved := in.URL.Set && origin(in.URL.V) != origin(w.URL)
	if moved && secret == "" {
		return store.Errorf(store.CodeConflict, "url",
			"url: %s is another host than %s; send rotate_secret: true too: a new secret is made and answered, and custom headers not given again are dropped",
			origin(in.URL.V), origin(w.URL))
	}
	if in.URL.Set {
		w.URL = in.URL.V
	}
	if secret != "" {
		w.Secrets = []store.Secret{newSecret(secret)}
	}
	switch {
	case moved:
		w.Headers = in.Headers.V
	case in.Headers.Set:
		w.Headers = mergeHeaders(in.Headers.V, w.Headers)
	}
	return nil
}

// changeMatching changes events and filter. They are judged together: a filter
// that fitted the old events may not fit the new ones.
func (t *Tools) changeMatching(w *store.Webhook, in *updateWebhookIn) error {
	if in.Events.Set {
		w.Events = in.Events.V
	}
	if in.Filter.Set {
		w.Filter = store.Filter(in.Filter.V)
	}
	if len(w.Filter) == 0 {
		w.Filter = nil
	}
	if !in.Events.Set && !in.Filter.Set {
		return nil
	}
	return t.types.checkFilter(w.Filter, w.Events)
}

// changeStatus pauses and resumes.
func changeStatus(w *store.Webhook, in *updateWebhookIn, c *Caller) error {
	status, given := in.Status.Given()
	if !given || status == w.Status {
		return nil
	}
	if w.PausedReason == store.PausedByOperator && !c.Has(store.ScopeAdmin) {
		return store.Errorf(store.CodeForbidden, "status",
			"status: this webhook was paused by the operator; only a key with the scope admin resumes it")
	}
	w.Status, w.PausedReason = status, ""
	if status == store.StatusPaused {
		w.PausedReason = store.PausedByOwner
	}
	return nil
}

// origin is scheme, host and port of a canonical URL.
func origin(canonical string) string {
	u, err := url.Parse(canonical)
	if err != nil {
		return canonical // as another host than any
	}
	return u.Scheme + "://" + u.Host
}

func newSecret(value string) store.Secret {
	return store.Secret{Value: value, CreatedAt: time.Now().UTC()}
}
