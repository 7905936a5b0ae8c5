package postgres

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tellhook/tellhook/store"
)

// SQLSTATEs that mean something to us (PostgreSQL's documentation, appendix A).
const (
	uniqueViolation     = "23505"
	foreignKeyViolation = "23503"
	invalidCharacter    = "22021" // text with a zero byte or broken UTF-8
	invalidSchemaName   = "3F000"
	undefinedTable      = "42P01"
)

// tries is how often a call is begun when its connection turns out to be dead.
const tries = 3

// errUncertain marks a lost answer to COMMIT: nobody knows whether it happened.
var errUncertain = errors.New("the answer to COMMIT was lost")

// call runs f on a connection of the pool within the limits of time, and again
// on another where the connection was dead: a restart of the database leaves a
// pool full of those. Its errors are *store.Error.
func (s *Store) call(ctx context.Context, f func(context.Context, *pgxpool.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	stop := context.AfterFunc(s.life, cancel)
	defer stop()
	var err error
	for try := range tries {
		if err = s.once(ctx, f); err == nil || !disconnected(err) || ctx.Err() != nil || errors.Is(err, errUncertain) {
			break
		}
		if try > 0 {
			s.pool.Reset()
		}
	}
	if known := (*store.Error)(nil); err != nil && s.life.Err() != nil && !errors.As(err, &known) {
		return &store.Error{Code: store.CodeUnavailable, Message: "the database was closed: this process is shutting down", Err: err}
	}
	return translate(err)
}

func (s *Store) once(ctx context.Context, f func(context.Context, *pgxpool.Conn) error) error {
	acquire, cancel := context.WithTimeout(ctx, acquireTimeout)
	defer cancel()
	conn, err := s.pool.Acquire(acquire)
	if err != nil {
		return err
	}
	defer conn.Release()
	return f(ctx, conn)
}

// begin statements of transactions. Each statement must see what others have
// committed before it, whatever isolation the database defaults to.
const (
	plain = "BEGIN ISOLATION LEVEL READ COMMITTED"
	// queue is for the statements that take work by an index's order. Where one
	// webhook dominates the statistics the planner expects no rows at all and
	// turns to sequential scans, or sorts everything that is due.
	queue = plain + "; SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off;" +
		"SET LOCAL enable_incremental_sort = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off"
	// large is for one statement over as many rows as there may be.
	large = plain + "; SET LOCAL statement_timeout = '14s'"
)

// tx runs f in one transaction that was begun by the statement begin. f may run
// again, from the start, when the connection breaks before the commit.
func (s *Store) tx(ctx context.Context, begin string, f func(context.Context, pgx.Tx) error) error {
	return s.call(ctx, func(ctx context.Context, conn *pgxpool.Conn) error {
		tx, err := conn.BeginTx(ctx, pgx.TxOptions{BeginQuery: begin})
		if err != nil {
			return err
		}
		if err := f(ctx, tx); err != nil {
			// A rollback that fails closes the connection, which rolls back too.
			_ = tx.Rollback(context.WithoutCancel(ctx))
			return err
		}
		if err := tx.Commit(ctx); err != nil {
			if disconnected(err) {
				return errors.Join(errUncertain, err)
			}
			return err
		}
		return nil
	})
}

// query collects the rows of one statement. It may run twice: see insert.
func query[T any](ctx context.Context, s *Store, scan pgx.RowToFunc[T], sql string, args ...any) (list []T, err error) {
	err = s.call(ctx, func(ctx context.Context, conn *pgxpool.Conn) error {
		rows, _ := conn.Query(ctx, sql, args...) // CollectRows answers its error
		list, err = pgx.CollectRows(rows, scan)
		return err
	})
	return list, err
}

// insert answers the row that one INSERT returns. It is a transaction, so that a
// lost answer to the COMMIT is known from one to the INSERT, which may run again.
func insert[T any](ctx context.Context, s *Store, scan pgx.RowToFunc[T], sql string, args ...any) (row T, err error) {
	err = s.tx(ctx, plain, func(ctx context.Context, tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, sql, args...)
		row, err = pgx.CollectExactlyOneRow(rows, scan)
		return err
	})
	return row, err
}

// one is query for a row by its identity: none is CodeNotFound, in words that
// name what and id.
func one[T any](ctx context.Context, s *Store, what, id string, scan pgx.RowToFunc[T], sql string, args ...any) (*T, error) {
	list, err := query(ctx, s, scan, sql, args...)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, notFound(what, id)
	}
	return &list[0], nil
}

func notFound(what, id string) *store.Error {
	return store.Errorf(store.CodeNotFound, "", "no %s %q in this team; check the id, or list what there is", what, store.Clip(id, 80))
}

// violates tells whether err is a violation of the constraint, by SQLSTATE.
func violates(err error, code, constraint string) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && pgErr.Code == code && (constraint == "" || pgErr.ConstraintName == constraint)
}

// disconnected tells whether the connection is gone, by no fault of the
// statement.
func disconnected(err error) bool {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		switch pgErr.Code {
		case "57P01", "57P02", "57P03", "25P03", "57P05": // shutdown, crash, starting up, idle for too long
			return true
		}
		return strings.HasPrefix(pgErr.Code, "08")
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return false // a limit of ours
	}
	var netErr net.Error
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &netErr) || pgconn.SafeToRetry(err)
}

// translate makes every error a *store.Error.
func translate(err error) error {
	var known *store.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	var pgErr *pgconn.PgError
	switch {
	case errors.As(err, &pgErr) && pgErr.Code == invalidCharacter:
		return &store.Error{Code: store.CodeInvalid, Message: "a text holds a character that cannot be stored (a zero byte or broken UTF-8); leave it out", Err: err}
	case away(err):
		return &store.Error{Code: store.CodeUnavailable, Message: "the database is away or too busy; try again in a moment", Err: err}
	}
	return &store.Error{Code: store.CodeInternal, Message: "the database refused a statement", Err: err}
}

// away tells whether the same call may succeed later.
func away(err error) bool {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		switch pgErr.Code {
		case "40001", "40P01", "55P03", "57014", "58030": // conflicts, lock and statement timeouts, I/O error
			return true
		}
		return strings.HasPrefix(pgErr.Code, "53") || disconnected(err) // out of connections, memory, disk
	}
	return disconnected(err) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) ||
		errors.Is(err, pgx.ErrTxClosed) || errors.Is(err, errUncertain)
}
