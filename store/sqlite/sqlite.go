// Package sqlite implements store.Store on an embedded SQLite file. Several
// stores, also of several processes, may share one file: writes are serial
// transactions (BEGIN IMMEDIATE), reads see a snapshot and wait for nobody. The
// process's clock is the database's clock.
package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/rs/zerolog"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/tellhook/tellhook/store"
	"github.com/tellhook/tellhook/store/seal"
)

//go:embed migrations/*.sql
var migrations embed.FS

const (
	busyTimeout = 5 * time.Second       // wait for another process's write
	busyLook    = 20 * time.Millisecond // of SQLite's own waiting for it, see begin
	readers     = 4                     // connections of the read pool
)

// Config says what Open opens.
type Config struct {
	Path            string // the database file; made, with mode 0600, where it is missing
	Keys            *seal.Keyring
	DeriveFirstScan bool // publish a first_scan with the first scan of a qr_code_id
	Log             zerolog.Logger
}

// Store is a store.Store on one SQLite file.
type Store struct {
	writer          *sql.DB // one connection: writers of this process queue here, not in SQLite
	turns           *turns  // of the writers of all processes
	reader          *sql.DB // query_only
	keys            *seal.Keyring
	deriveFirstScan bool
	log             zerolog.Logger

	mu        sync.Mutex
	listeners map[chan struct{}]struct{} // of Wakeups
}

var _ store.Store = (*Store)(nil)

// Open opens the database at c.Path, makes it where it is missing, migrates it
// and checks that c.Keys opens what is sealed in it; where they do not,
// seal.ErrKey is in the error's chain.
func Open(ctx context.Context, c Config) (*Store, error) {
	path, err := filepath.Abs(c.Path)
	if err != nil {
		return nil, fmt.Errorf("database path %q: %w", c.Path, err)
	}
	if err := makeFile(path); err != nil {
		return nil, fmt.Errorf("make the database file: %w", err)
	}
	s := &Store{keys: c.Keys, deriveFirstScan: c.DeriveFirstScan, log: c.Log, listeners: map[chan struct{}]struct{}{}}
	if s.turns, err = openTurns(path); err != nil {
		return nil, err
	}
	if s.writer, err = connect(path, 1, busyLook, "immediate", "synchronous(FULL)", "foreign_keys(1)"); err != nil {
		return nil, errors.Join(err, s.turns.close())
	}
	if s.reader, err = connect(path, readers, busyTimeout, "deferred", "query_only(1)"); err != nil {
		return nil, errors.Join(err, s.writer.Close(), s.turns.close())
	}
	for _, step := range []func(context.Context) error{s.useWAL, s.migrate, s.initialise, s.checkKeys} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("database %s: %w", path, err), s.Close())
		}
	}
	return s, nil
}

// making keeps Opens of this process apart: closing any descriptor of a file
// drops all POSIX locks that the process holds on it, SQLite's among them.
var making sync.Mutex

// makeFile makes an empty file that only its owner can read; SQLite gives the
// same mode to the files that it puts beside it.
func makeFile(path string) error {
	making.Lock()
	defer making.Unlock()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the operator's own path
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// connect opens a pool of which each call waits for other processes up to busy;
// lock says how its transactions begin.
func connect(path string, conns int, busy time.Duration, lock string, pragmas ...string) (*sql.DB, error) {
	q := url.Values{"_txlock": {lock}, "_pragma": pragmas, "_busy_timeout": {strconv.FormatInt(busy.Milliseconds(), 10)}, "_dqs": {"0"}}
	dsn := url.URL{Scheme: "file", Path: filepath.ToSlash(path), RawQuery: q.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db, nil
}

// useWAL switches the file to write-ahead logging, for good. SQLite does not
// wait for the lock that this needs, so several starts at once have to retry.
func (s *Store) useWAL(ctx context.Context) error {
	return persist(ctx, func() error {
		_, err := s.writer.ExecContext(ctx, `PRAGMA journal_mode = WAL`)
		return err
	})
}

// migrate runs goose, which has no lock for SQLite: when another process
// migrates at the same time, one of the two fails, and looks again.
func (s *Store) migrate(ctx context.Context) error {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, s.writer, dir, goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return persist(ctx, func() error {
		if _, err := p.Up(ctx); err != nil {
			return fmt.Errorf("migrate: %w", err)
		}
		return nil
	})
}

// persist repeats a step of the start for a short while, where another process
// that starts at the same time can have been in its way: SQLITE_ERROR says, among
// other things, that a table exists already.
func persist(ctx context.Context, step func() error) error {
	wait, deadline := 10*time.Millisecond, time.Now().Add(busyTimeout)
	for ; ; wait = min(2*wait, 50*time.Millisecond) {
		err := step()
		var e *sqlite.Error
		raced := errors.As(err, &e) && slices.Contains([]int{sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_ERROR}, primary(e))
		if !raced || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(wait):
		}
	}
}

// What the canary row holds, sealed.
const (
	canary        = "tellhook"
	canaryContext = "canary"
)

// initialise gives a fresh database its canary and the default team.
func (s *Store) initialise(ctx context.Context) error {
	sealed, err := s.keys.Seal([]byte(canary), canaryContext)
	if err != nil {
		return err
	}
	return s.write(ctx, func(tx *sql.Tx) error {
		r, err := tx.ExecContext(ctx, `INSERT INTO meta (key, value) VALUES ('canary', ?) ON CONFLICT DO NOTHING`, sealed)
		if err != nil {
			return err
		}
		if fresh, err := r.RowsAffected(); err != nil || fresh == 0 {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO teams (id, name, created_at) VALUES (?, ?, ?)`,
			store.NewID(store.PrefixTeam), store.DefaultTeam, now().UnixMicro())
		return err
	})
}

func (s *Store) checkKeys(ctx context.Context) error {
	var sealed []byte
	if err := s.reader.QueryRowContext(ctx, `SELECT value FROM meta WHERE key = 'canary'`).Scan(&sealed); err != nil {
		return err
	}
	if _, err := s.keys.Open(sealed, canaryContext); err != nil {
		return fmt.Errorf("its secrets are sealed under another master key: give that one in TELLHOOK_MASTER_KEY or"+
			" TELLHOOK_MASTER_KEY_FILE (behind the new one and a comma, if you are changing keys), or put back the key file"+
			" that stood beside the database: %w", err)
	}
	return nil
}

// Ping implements store.Store.
func (s *Store) Ping(ctx context.Context) error {
	var one int
	return translate(s.reader.QueryRowContext(ctx, `SELECT 1 FROM meta`).Scan(&one))
}

// Close implements store.Store.
func (s *Store) Close() error {
	return errors.Join(s.reader.Close(), s.writer.Close(), s.turns.close())
}

// write runs fn in a transaction that holds the write lock from its beginning.
func (s *Store) write(ctx context.Context, fn func(*sql.Tx) error) error {
	conn, err := s.writer.Conn(ctx)
	if err != nil {
		return translate(err)
	}
	defer func() { _ = conn.Close() }() // back into the pool
	tx, err := s.begin(ctx, conn)
	if err != nil {
		return translate(err)
	}
	defer func() { _ = tx.Rollback() }() // does nothing after the commit; a panic of fn must not keep the one connection
	if err := fn(tx); err != nil {
		return translate(err)
	}
	return translate(tx.Commit())
}

// begin waits for its turn and then for the write lock, which SQLite looks for
// about every 5 ms within busyLook, and only every 100 ms after it.
func (s *Store) begin(ctx context.Context, conn *sql.Conn) (*sql.Tx, error) {
	pass, err := s.turns.take(ctx)
	if err != nil {
		return nil, err
	}
	defer pass()
	for deadline := time.Now().Add(busyTimeout); ; {
		tx, err := conn.BeginTx(ctx, nil)
		var theirs *sqlite.Error
		if err == nil || !errors.As(err, &theirs) || primary(theirs) != sqlite3.SQLITE_BUSY || time.Now().After(deadline) {
			return tx, err
		}
	}
}

// translate gives an error of the driver its code, by SQLite's result code. An
// Error of ours stays as it is.
func translate(err error) error {
	var (
		ours   *store.Error
		theirs *sqlite.Error
	)
	switch {
	case err == nil || errors.As(err, &ours):
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, sql.ErrTxDone): // rolled back in the middle, because the context ended
		return &store.Error{Code: store.CodeUnavailable, Message: "the database did not answer in time; try again", Err: err}
	case errors.As(err, &theirs):
		switch primary(theirs) {
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_INTERRUPT:
			return &store.Error{Code: store.CodeUnavailable, Message: "the database is busy; try again", Err: err}
		case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_NOMEM:
			return &store.Error{Code: store.CodeUnavailable, Message: "the database cannot read or write its file; try again later", Err: err}
		}
	}
	return &store.Error{Code: store.CodeInternal, Message: "the database failed", Err: err}
}

// primary is the result code without its extension, which stands in the higher
// bytes (https://www.sqlite.org/rescode.html).
func primary(e *sqlite.Error) int { return e.Code() & 0xff }

// now is the database's clock, in the precision that it stores.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
