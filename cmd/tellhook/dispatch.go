package main

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/tellhook/tellhook/store"
)

type dispatchCmd struct{}

// Help is the long help.
func (dispatchCmd) Help() string {
	return `More workers on one database share its deliveries; none is sent by two at once.

Example:

    TELLHOOK_MASTER_KEY_FILE=master.key TELLHOOK_DATABASE_URL=postgres://… tellhook dispatch`
}

// Run sends deliveries until ctx ends.
func (dispatchCmd) Run(ctx context.Context, a *app) error {
	a.warnOfIgnored()
	return a.withStore(ctx, func(s store.Store) error {
		ops, err := a.newOps(ctx, s)
		if err != nil {
			return err
		}
		a.log.Info().Str("version", buildInfo().Version).Msg("dispatching")
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { return ops.serve(ctx) })
		g.Go(func() error { return a.dispatch(ctx, s) })
		if err := g.Wait(); err != nil {
			return err
		}
		a.log.Info().Msg("stopped")
		return nil
	})
}

// dispatch sends deliveries as a service does: stdio processes leave them to it.
func (a *app) dispatch(ctx context.Context, s store.Store) error {
	release, err := a.precede(ctx)
	if err != nil {
		return err
	}
	defer release()
	return a.newDispatcher(s).Run(ctx)
}
