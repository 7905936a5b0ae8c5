package postgres

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/tellhook/tellhook/store"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// versionTable is where goose notes which migrations it has run.
const versionTable = "tellhook.migrations"

// Migrate brings the database at url to the newest schema; what is done already
// is left alone, and of several migrators at once the others wait. Afterwards
// the team store.DefaultTeam exists, unless there were teams before.
func Migrate(ctx context.Context, url string) error {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return fmt.Errorf("database URL: %w", err)
	}
	db := stdlib.OpenDB(*config)
	defer func() { _ = db.Close() }()
	if err := db.PingContext(ctx); err != nil {
		return unreachable(err)
	}
	unlock, err := lockMigration(ctx, db)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	defer unlock()
	files, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files,
		goose.WithTableName(versionTable), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	_, err = db.ExecContext(ctx, `
		INSERT INTO tellhook.teams (id, name) SELECT $1, $2 WHERE NOT EXISTS (SELECT FROM tellhook.teams)`,
		store.NewID(store.PrefixTeam), store.DefaultTeam)
	if err != nil {
		return fmt.Errorf("make the team %q: %w", store.DefaultTeam, err)
	}
	return nil
}

// lockMigration lets one migrator at a time work, and makes the schema, in
// which goose keeps its version table. goose has a session lock too, but looks
// at the version table before it takes that, and polls for it every few
// seconds; this one waits in the server and ends with its connection.
func lockMigration(ctx context.Context, db *sql.DB) (unlock func(), err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	unlock = func() {
		// Closing the database handle ends the session, should this fail.
		_, _ = conn.ExecContext(context.WithoutCancel(ctx), `SELECT pg_advisory_unlock($1)`, lockMigrate)
		_ = conn.Close()
	}
	if _, err = conn.ExecContext(ctx, `SELECT pg_advisory_lock($1)`, lockMigrate); err == nil {
		_, err = conn.ExecContext(ctx, `CREATE SCHEMA IF NOT EXISTS tellhook`)
	}
	if err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}

// Pending answers the names of the migrations that the database at url lacks,
// in order. It changes nothing.
func Pending(ctx context.Context, url string) ([]string, error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, unreachable(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	applied, err := appliedVersions(ctx, conn)
	if err != nil {
		return nil, fmt.Errorf("migrations: %w", err)
	}
	missing, _, err := compareVersions(applied)
	return missing, err
}

type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// appliedVersions answers the numbers of the migrations that were run.
func appliedVersions(ctx context.Context, q querier) ([]int64, error) {
	rows, _ := q.Query(ctx, `SELECT DISTINCT version_id FROM tellhook.migrations WHERE is_applied`)
	versions, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) && (pgErr.Code == undefinedTable || pgErr.Code == invalidSchemaName) {
		return nil, nil // never migrated
	}
	return versions, err
}

// compareVersions answers the names of our migrations that are not among
// applied, and how far the newest applied one is ahead of our newest.
func compareVersions(applied []int64) (missing []string, ahead int64, err error) {
	names, err := fs.Glob(migrationFiles, "migrations/*.sql")
	if err != nil {
		return nil, 0, err
	}
	var newest int64
	for _, name := range names { // Glob sorts, and the numbers have leading zeros
		version, err := goose.NumericComponent(name)
		if err != nil {
			return nil, 0, err
		}
		newest = max(newest, version)
		if !slices.Contains(applied, version) {
			missing = append(missing, strings.TrimSuffix(strings.TrimPrefix(name, "migrations/"), ".sql"))
		}
	}
	for _, version := range applied {
		ahead = max(ahead, version-newest)
	}
	return missing, ahead, nil
}

// checkSchema tells whether this binary, number N, runs on the database's
// schema: N or N+1.
func (s *Store) checkSchema(ctx context.Context) error {
	applied, err := appliedVersions(ctx, s.pool)
	if err != nil {
		return fmt.Errorf("read the schema's version: %w", err)
	}
	missing, ahead, err := compareVersions(applied)
	switch {
	case err != nil:
		return err
	case len(missing) > 0:
		return fmt.Errorf("the database lacks %d migration(s) (%s): run `tellhook migrate`, or start with `tellhook serve --migrate`",
			len(missing), strings.Join(missing, ", "))
	case ahead > 1:
		return fmt.Errorf("the database's schema is %d versions newer than this tellhook, which runs on its own and the next one: install a newer tellhook", ahead)
	}
	return nil
}
