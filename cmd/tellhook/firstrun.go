package main

import (
	"context"
	"fmt"

	"github.com/tellhook/tellhook/store"
	"github.com/tellhook/tellhook/tools"
)

// firstRun makes the first key of a database that has none, and prints it: on
// stderr, past the logger, this one time.
func (a *app) firstRun(ctx context.Context, s store.Store, public string) error {
	team, err := s.FindTeam(ctx, store.DefaultTeam)
	if store.CodeOf(err) == store.CodeNotFound {
		return nil // renamed: somebody has been here
	}
	if err != nil {
		return err
	}
	secret := store.NewKeySecret()
	key := newKey(secret, "first key", store.TeamScopes(), tools.KnownTools(), nil)
	made, err := s.CreateFirstKey(ctx, team.ID, key)
	if err != nil || made == nil {
		return err
	}
	_, err = fmt.Fprintf(a.stderr, welcome, public, team.Name, secret, public, public)
	return err
}

// welcome holds the key once, on a line that a shell can take as it is.
const welcome = `
Tellhook runs at %s/ and has made a key for the team %q, with all of
its scopes and tools. It is shown this once; store it:

    export TELLHOOK_API_KEY=%s

Connect an MCP client, for example Claude Code:

    claude mcp add --transport http tellhook %s/mcp --header "Authorization: Bearer $TELLHOOK_API_KEY"

or in the client's JSON (put the key in where it does not expand variables):

    {"mcpServers":{"tellhook":{"type":"http","url":"%s/mcp","headers":{"Authorization":"Bearer ${TELLHOOK_API_KEY}"}}}}

`
