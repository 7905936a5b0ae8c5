package main

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tellhook/tellhook/store/sqlite"
)

// On one embedded database a service (serve, dispatch) and stdio processes may
// run side by side, and stdio's environment is whatever an MCP client gave it.
// The service's operator chose where deliveries may go and when they are
// retried, so while one dispatches, stdio processes do not.

const precedencePoll = 250 * time.Millisecond

// precede makes stdio processes on the embedded database leave dispatching to
// this one, until release.
func (a *app) precede(ctx context.Context) (release func(), err error) {
	if !a.cfg.Database.embedded() {
		return func() {}, nil
	}
	return sqlite.Announce(ctx, a.cfg.Database.path)
}

// whileNoneServes runs fn whenever no service dispatches on the embedded
// database, and ends its context while one does, until ctx ends.
func (a *app) whileNoneServes(ctx context.Context, fn func(context.Context) error) error {
	path := a.cfg.Database.path
	for ctx.Err() == nil {
		served, err := sqlite.Announced(ctx, path)
		if err != nil {
			return err
		}
		if !served {
			if err := untilServed(ctx, path, fn); err != nil {
				return err
			}
		}
		pause(ctx, precedencePoll)
	}
	return nil
}

var errServed = errors.New("a service dispatches")

// untilServed runs fn until a service dispatches.
func untilServed(ctx context.Context, path string, fn func(context.Context) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return fn(ctx) })
	g.Go(func() error {
		for pause(ctx, precedencePoll); ctx.Err() == nil; pause(ctx, precedencePoll) {
			if served, err := sqlite.Announced(ctx, path); err != nil {
				return err
			} else if served {
				return errServed
			}
		}
		return nil
	})
	if err := g.Wait(); !errors.Is(err, errServed) {
		return err
	}
	return nil
}

func pause(ctx context.Context, wait time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(wait):
	}
}
