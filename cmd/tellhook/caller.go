package main

import (
	"context"
	"errors"
	"slices"

	"github.com/tellhook/tellhook/store"
	"github.com/tellhook/tellhook/tools"
)

// authenticator answers who calls on the database without a server between: the
// holder of TELLHOOK_API_KEY, asked for anew at each call, or else, on the
// embedded database, the local team with all its scopes and tools. readOnly
// leaves the caller only what changes nothing.
func (a *app) authenticator(ctx context.Context, s store.Store, t *tools.Tools, readOnly bool) (func(context.Context) (*tools.Caller, error), error) {
	authenticate := func(ctx context.Context) (*tools.Caller, error) { return t.Authenticate(ctx, a.cfg.APIKey) }
	if a.cfg.APIKey == "" {
		if !a.cfg.Database.embedded() {
			return nil, errors.New("PostgreSQL is shared, so a key has to say who calls: set TELLHOOK_API_KEY (or TELLHOOK_API_KEY_FILE) to one from `tellhook keys create`")
		}
		team, err := s.FindTeam(ctx, store.DefaultTeam)
		if err != nil {
			return nil, err
		}
		authenticate = func(context.Context) (*tools.Caller, error) { //nolint:unparam // stands in for one that can fail
			return &tools.Caller{Team: *team, Scopes: store.TeamScopes(), AllTools: true}, nil
		}
	}
	if _, err := authenticate(ctx); err != nil {
		return nil, err // refuse at the start, in plain words
	}
	if !readOnly {
		return authenticate, nil
	}
	return func(ctx context.Context) (*tools.Caller, error) {
		c, err := authenticate(ctx)
		if err != nil {
			return nil, err
		}
		return readOnlyCaller(c), nil
	}, nil
}

// readOnlyCaller is c without the scopes and tools that change anything.
func readOnlyCaller(c *tools.Caller) *tools.Caller {
	narrowed := *c
	narrowed.AllTools = false
	reading, _ := tools.Preset("read")
	narrowed.Tools = slices.DeleteFunc(reading, func(tool string) bool { return !c.Enabled(tool) })
	narrowed.Scopes = nil
	if c.Has(store.ScopeWebhooksRead) {
		narrowed.Scopes = []store.Scope{store.ScopeWebhooksRead}
	}
	return &narrowed
}
