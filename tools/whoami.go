package tools

import (
	"context"
	"net/http"

	"github.com/tellhook/tellhook/store"
)

// whoamiName is named beside its row because it is on whenever any tool is.
const whoamiName = "whoami"

type whoamiIn struct{}

type whoamiOut struct {
	Team   teamOut       `json:"team" slim:"true" doc:"The team this caller acts for."`
	Key    *keyOut       `json:"key" nullable:"true" doc:"The API key; null for the local team on the embedded database."`
	Scopes []store.Scope `json:"scopes" slim:"true" doc:"What the key may do."`
	Tools  []toolState   `json:"tools" slim:"true" doc:"Every MCP tool, on or off, and why."`
}

type teamOut struct {
	ID         string  `json:"id"`
	Name       string  `json:"name"`
	ExternalID *string `json:"external_id" doc:"The host product's own id of the team."`
}

type keyOut struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Prefix string `json:"prefix" doc:"The key's first characters."`
}

type toolState struct {
	Name    string  `json:"name"`
	Enabled bool    `json:"enabled" doc:"Whether this caller has the tool over MCP."`
	Reason  *string `json:"reason" doc:"Why it is off; null where it is on."`
}

func (t *Tools) whoami() *Operation {
	return define(Operation{
		Name: whoamiName, Title: "Who am I",
		Description: "Your team, API key and scopes, and for each tool whether it is on or why not.",
		Method:      http.MethodGet, Path: "/whoami", Status: http.StatusOK,
		MCP: true, ReadOnly: true, Idempotent: true,
	}, t.runWhoami)
}

func (t *Tools) runWhoami(_ context.Context, c *Caller, _ *whoamiIn) (*whoamiOut, error) {
	out := &whoamiOut{
		Team:   teamOut{ID: c.Team.ID, Name: c.Team.Name, ExternalID: c.Team.ExternalID},
		Scopes: append([]store.Scope{}, c.Scopes...),
		Tools:  []toolState{},
	}
	if c.KeyID != "" {
		out.Key = &keyOut{ID: c.KeyID, Name: c.KeyName, Prefix: c.KeyPrefix}
	}
	for _, o := range t.ops {
		if o.MCP {
			off := c.Off(o)
			out.Tools = append(out.Tools, toolState{Name: o.Name, Enabled: off == "", Reason: orNull(off)})
		}
	}
	return out, nil
}
