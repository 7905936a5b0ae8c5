package main

import (
	"context"
	"math/rand/v2"
	"time"
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
		served, err := isServed(path)
		if err != nil {
			return err
		}
		if !served {
			if err := a.untilServed(ctx, path, fn); err != nil {
				return err
			}
		}
		pause(ctx)
	}
	return nil
}

// isServed asks more than once: to ask is to hold the lock for an instant, in
// which another stdio process is told the same as while a service runs.
func isServed(path string) (bool, error) {
	for range 3 {
		locked, err := lockedShared(path)
		if !locked || err != nil {
			return false, err
		}
		time.Sleep(rand.N(5 * time.Millisecond))
	}
	return true, nil
}

func (a *app) untilServed(ctx context.Context, path string, fn func(context.Context) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	failed := make(chan error, 1)
	go func() {
		defer stop()
		for ctx.Err() == nil {
			pause(ctx)
			if served, err := isServed(path); served || err != nil {
				failed <- err
				return
			}
		}
		failed <- nil
	}()
	err := fn(ctx)
	stop()
	if lockErr := <-failed; err == nil {
		err = lockErr
	}
	return err
}

func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(precedencePoll):
	}
}
