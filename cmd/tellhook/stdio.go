package main

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/tellhook/tellhook/server"
	"github.com/tellhook/tellhook/store"
)

type stdioCmd struct {
	ReadOnly bool  `help:"Offer only the tools that change nothing."`
	Dispatch *bool `negatable:"" help:"Send deliveries from this process; by default on the embedded database, while no service does."`
}

// Help is the long help.
func (stdioCmd) Help() string {
	return `For an MCP client that starts its servers. With TELLHOOK_URL it is a bridge to that server, under TELLHOOK_API_KEY, and opens no database. Else it works on the database: as the holder of TELLHOOK_API_KEY, or on the embedded one without a key as the team "default". stdout carries the protocol alone.

Examples:

    tellhook stdio
    TELLHOOK_URL=https://hooks.example.com TELLHOOK_API_KEY_FILE=key tellhook stdio
    claude mcp add tellhook -- tellhook stdio --read-only`
}

// Run speaks MCP until stdin or ctx ends.
func (cmd *stdioCmd) Run(ctx context.Context, a *app) error {
	ctx = a.log.WithContext(ctx)
	if a.cfg.URL != "" {
		return cmd.bridge(ctx, a)
	}
	return a.withStore(ctx, func(s store.Store) error { return cmd.local(ctx, a, s) })
}

func (cmd *stdioCmd) bridge(ctx context.Context, a *app) error {
	switch {
	case a.cfg.APIKey == "":
		return errNoAPIKey
	case cmd.ReadOnly:
		return usage("--read-only is for the database; with TELLHOOK_URL, use a key whose scopes and tools only read")
	case cmd.Dispatch != nil && *cmd.Dispatch:
		return usage("--dispatch is for the database; with TELLHOOK_URL, that server sends the deliveries")
	}
	return server.Bridge(ctx, server.BridgeConfig{
		URL: a.cfg.URL, Key: a.cfg.APIKey, In: a.stdin, Out: a.stdout, UserAgent: a.cfg.UserAgent, Log: a.log,
	})
}

var errNoAPIKey = errors.New("TELLHOOK_URL names a server, and a key has to say who calls it: set TELLHOOK_API_KEY or TELLHOOK_API_KEY_FILE")

func (cmd *stdioCmd) local(ctx context.Context, a *app, s store.Store) error {
	t, err := a.newTools(s, a.cfg.PublicURL)
	if err != nil {
		return err
	}
	defer t.Close()
	authenticate, err := a.authenticator(ctx, s, t, cmd.ReadOnly)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	dispatching, stop := context.WithCancel(ctx)
	g.Go(func() error {
		defer stop() // the end of stdin ends the dispatcher too
		if err := server.ServeStdio(ctx, t, authenticate, a.stdin, a.stdout); err != nil {
			return fmt.Errorf("stdio: %w", err)
		}
		return nil
	})
	g.Go(func() error { return cmd.dispatch(dispatching, a, s) })
	return g.Wait()
}

// dispatch sends deliveries where it is asked for, and by default on the
// embedded database for as long as no service does.
func (cmd *stdioCmd) dispatch(ctx context.Context, a *app, s store.Store) error {
	switch {
	case cmd.Dispatch != nil && !*cmd.Dispatch:
		return nil
	case cmd.Dispatch != nil:
		return a.newDispatcher(s).Run(ctx)
	case a.cfg.Database.embedded():
		return a.whileNoneServes(ctx, func(ctx context.Context) error { return a.newDispatcher(s).Run(ctx) })
	}
	return nil
}
