package sqlite

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"
)

// Beside the database stand two files of which the locks alone matter. They
// order the processes that share it.
const (
	turnSuffix    = "-turn"
	servingSuffix = "-serving"
)

// lockPoll is about how often a lock that is taken is looked for.
const lockPoll = 2 * time.Millisecond

// turns gives the writers of all processes their turn. SQLite's own lock goes to
// whoever asks at the right instant, and a process that writes without a pause
// nearly always is the one. Here a writer takes the turn, waits for SQLite's lock,
// and then passes the turn on: whoever waits is next.
type turns struct{ file *os.File }

func openTurns(path string) (*turns, error) {
	f, err := openLock(path + turnSuffix)
	if err != nil {
		return nil, err
	}
	return &turns{f}, nil
}

// maxTurnWait is how long a turn is waited for. Turns are a courtesy: where a
// process was stopped in its turn, the others write out of turn.
const maxTurnWait = time.Second

// close may be called twice, as of every part of a Store.
func (t *turns) close() error {
	if err := t.file.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// take waits until it is this store's turn. pass ends the turn.
func (t *turns) take(ctx context.Context) (pass func(), err error) {
	for deadline := time.Now().Add(maxTurnWait); ; {
		ok, err := tryLock(t.file, true)
		switch {
		case err != nil:
			return nil, fmt.Errorf("turn of writing: %w", err)
		case ok:
			return func() { _ = unlock(t.file) }, nil // closing the file unlocks it too
		case time.Now().After(deadline):
			return func() {}, nil
		}
		if err := wait(ctx); err != nil {
			return nil, err
		}
	}
}

// Announce says that this process sends the deliveries of the database at path,
// until release or its end.
func Announce(ctx context.Context, path string) (release func(), err error) {
	f, err := openLock(path + servingSuffix)
	if err != nil {
		return nil, err
	}
	for {
		ok, err := tryLock(f, false)
		if err == nil && !ok { // somebody is looking, for an instant
			err = wait(ctx)
		}
		if err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("announce the dispatcher: %w", err)
		}
		if ok {
			return func() { _ = f.Close() }, nil
		}
	}
}

// Announced tells whether a process has announced that it sends the deliveries
// of the database at path.
func Announced(ctx context.Context, path string) (bool, error) {
	f, err := openLock(path + servingSuffix)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }() // unlocks
	for range 3 {                    // another that looks has the lock for an instant, too
		ok, err := tryLock(f, true)
		if ok || err != nil {
			return false, err
		}
		if err := wait(ctx); err != nil {
			return false, nil // nobody wants to know any more
		}
	}
	return true, nil
}

func openLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // beside the operator's own database
	if err != nil {
		return nil, fmt.Errorf("lock file: %w", err)
	}
	return f, nil
}

func wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(lockPoll/2 + rand.N(lockPoll)): //nolint:gosec // spreads the askers, hides nothing
		return nil
	}
}
