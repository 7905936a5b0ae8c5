package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"
)

// On one embedded database a service (serve, dispatch) and stdio processes may
// run side by side, and stdio's environment is whatever an MCP client gave it.
// The service's operator chose where deliveries may go and when they are
// retried, so while one dispatches, stdio processes do not.

// servingSuffix, behind the database's path, names the file whose lock a
// dispatching service holds.
const servingSuffix = ".serving"

const precedencePoll = 250 * time.Millisecond

// precede makes stdio processes on the embedded database leave dispatching to
// this one, until release.
func (a *app) precede() (release func(), err error) {
	if !a.cfg.Database.embedded() {
		return func() {}, nil
	}
	return lockShared(a.cfg.Database.path + servingSuffix)
}

// whileNoneServes runs fn whenever no service dispatches on the embedded
// database, and ends its context while one does, until ctx ends.
func (a *app) whileNoneServes(ctx context.Context, fn func(context.Context) error) error {
	path := a.cfg.Database.path + servingSuffix
	for ctx.Err() == nil {
		served, err := isServed(ctx, path)
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

// isServed asks more than once: to ask is to hold the lock for an instant, in
// which another stdio process is told the same as while a service runs.
func isServed(ctx context.Context, path string) (bool, error) {
	for range 3 {
		locked, err := lockedShared(path)
		if !locked || err != nil {
			return false, err
		}
		pause(ctx, rand.N(5*time.Millisecond)) //nolint:gosec // spreads the askers, hides nothing
	}
	return true, nil
}

var errServed = errors.New("a service dispatches")

// untilServed runs fn until a service dispatches.
func untilServed(ctx context.Context, path string, fn func(context.Context) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return fn(ctx) })
	g.Go(func() error {
		for pause(ctx, precedencePoll); ctx.Err() == nil; pause(ctx, precedencePoll) {
			if served, err := isServed(ctx, path); err != nil {
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
