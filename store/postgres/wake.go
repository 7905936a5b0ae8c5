package postgres

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"
)

const (
	wakeChannel = "tellhook_wake"
	// notifyPause is the least time between two NOTIFYs of a process: under load
	// the dispatchers are awake, and a NOTIFY takes a lock of the whole server.
	notifyPause = 5 * time.Millisecond
	// listenCheck is how often a silent LISTEN connection is asked for life.
	listenCheck = 30 * time.Second
	retryFirst  = 50 * time.Millisecond
	retryMost   = 5 * time.Second
)

// waker carries wake-ups between publishers and dispatchers: in the process by
// channels, to other processes by NOTIFY, outside of the publishers'
// transactions.
type waker struct {
	config *pgx.ConnConfig
	log    zerolog.Logger
	self   string        // payload of our own NOTIFYs, which our listeners pass over
	notify chan struct{} // room for one: a NOTIFY is owed

	mu        sync.Mutex
	listeners map[chan struct{}]struct{}
}

func newWaker(config *pgx.ConnConfig, log zerolog.Logger) *waker {
	return &waker{
		config: config, log: log, self: uuid.NewString(),
		notify: make(chan struct{}, 1), listeners: map[chan struct{}]struct{}{},
	}
}

// wakeUp wakes the dispatchers of this process at once and asks notifyAll to
// wake the others. It never waits.
func (w *waker) wakeUp() {
	w.mu.Lock()
	for c := range w.listeners {
		poke(c)
	}
	w.mu.Unlock()
	poke(w.notify)
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// notifyAll sends the NOTIFYs that are owed, over a connection of its own, until
// ctx ends.
func (w *waker) notifyAll(ctx context.Context) {
	w.persist(ctx, "notify", func(conn *pgx.Conn, healthy func()) error {
		healthy()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-w.notify:
			}
			if err := w.send(ctx, conn); err != nil {
				poke(w.notify) // still owed
				return err
			}
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(notifyPause):
			}
		}
	})
}

func (w *waker) send(ctx context.Context, conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	_, err := conn.Exec(ctx, `SELECT pg_notify($1, $2)`, wakeChannel, w.self)
	return err
}

// Wakeups answers a channel that gets a value soon after a publish by any
// process; it closes with ctx.
func (s *Store) Wakeups(ctx context.Context) <-chan struct{} {
	c := make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.life, cancel)
	s.wake.mu.Lock()
	s.wake.listeners[c] = struct{}{}
	s.wake.mu.Unlock()
	s.work.Go(func() {
		defer stop()
		defer cancel()
		s.wake.listen(ctx, c)
		s.wake.mu.Lock()
		delete(s.wake.listeners, c)
		s.wake.mu.Unlock()
		close(c) // after the delete, so that nobody pokes a closed channel
	})
	return c
}

// listen pokes c at each NOTIFY of another process until ctx ends.
func (w *waker) listen(ctx context.Context, c chan struct{}) {
	w.persist(ctx, "listen", func(conn *pgx.Conn, healthy func()) error {
		if _, err := conn.Exec(ctx, "LISTEN "+wakeChannel); err != nil {
			return err
		}
		healthy()
		poke(c) // for what was missed while nobody listened
		for ctx.Err() == nil {
			if err := w.await(ctx, conn, c); err != nil {
				return err
			}
		}
		return nil
	})
}

// await waits for one notification, or checks a connection that is silent.
func (w *waker) await(ctx context.Context, conn *pgx.Conn, c chan struct{}) error {
	quiet, cancel := context.WithTimeout(ctx, listenCheck)
	defer cancel()
	n, err := conn.WaitForNotification(quiet)
	switch {
	case err == nil:
		if n.Payload != w.self {
			poke(c)
		}
		return nil
	case ctx.Err() != nil:
		return nil
	case quiet.Err() != nil && !conn.IsClosed(): // nothing came
		ping, cancel := context.WithTimeout(ctx, connectTimeout)
		defer cancel()
		return conn.Ping(ping)
	}
	return err
}

// persist runs f on a connection, and again on a new one whenever it fails,
// until ctx ends. f calls healthy when the connection serves.
func (w *waker) persist(ctx context.Context, what string, f func(conn *pgx.Conn, healthy func()) error) {
	wait := retryFirst
	for ctx.Err() == nil {
		err := w.connected(ctx, func(conn *pgx.Conn) error {
			return f(conn, func() { wait = retryFirst })
		})
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			w.log.Warn().Err(err).Str("connection", what).Dur("retry_in", wait).Msg("database connection for wake-ups lost; polling finds the work meanwhile")
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, retryMost)
	}
}

func (w *waker) connected(ctx context.Context, f func(*pgx.Conn) error) error {
	conn, err := pgx.ConnectConfig(ctx, w.config.Copy())
	if err != nil {
		return err
	}
	defer func() {
		bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(bye)
	}()
	return f(conn)
}
