// Package pgtest gives tests databases of their own in a running PostgreSQL
// cluster, as scripts/with-postgres.sh starts one.
package pgtest

import (
	"context"
	"crypto/rand"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// URLVariable names the environment variable with the URL of the cluster, for a
// user that may create databases.
const URLVariable = "TELLHOOK_TEST_DATABASE_URL"

// timeout bounds making and dropping a database: some tens of milliseconds each
// where the machine is idle.
const timeout = time.Minute

// New answers the URL of a fresh, empty database, dropped when the test ends,
// connections to it cut. Where no cluster is named the test fails.
func New(t testing.TB) string {
	t.Helper()
	cluster := os.Getenv(URLVariable)
	if cluster == "" {
		t.Fatalf("%s is not set: run the tests through scripts/with-postgres.sh (as `make test` does), or set it to the postgres:// URL of a PostgreSQL cluster whose user may create databases", URLVariable)
	}
	u, err := url.Parse(cluster)
	if err != nil {
		t.Fatalf("%s: want postgres://…: %v", URLVariable, err)
	}
	name := spare.take()
	if name == "" {
		name = "tellhook_" + strings.ToLower(rand.Text())
		exec(t, cluster, "CREATE DATABASE "+name+" TEMPLATE template0")
	}
	u.Path = "/" + name
	t.Cleanup(func() {
		// Emptied for the next test while others run, since DROP DATABASE makes
		// the whole cluster write a checkpoint; the last one drops them all.
		exec(t, u.String(), empty)
		for _, unused := range spare.give(name) {
			exec(t, cluster, "DROP DATABASE "+unused+" WITH (FORCE)")
		}
	})
	return u.String()
}

// empty cuts all other connections and drops all schemas.
const empty = `DO $$
	DECLARE name text;
	BEGIN
		PERFORM pg_terminate_backend(pid, 10000) FROM pg_stat_activity
		WHERE datname = current_database() AND pid <> pg_backend_pid();
		FOR name IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' LOOP
			EXECUTE format('DROP SCHEMA %I CASCADE', name);
		END LOOP;
		CREATE SCHEMA public;
	END
$$`

// spare are the databases that this process has made and nobody uses.
var spare pool

type pool struct {
	mu    sync.Mutex
	names []string
	inUse int
}

// take answers a spare database, or "" for a new one to be made.
func (p *pool) take() (name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inUse++
	if n := len(p.names); n > 0 {
		name, p.names = p.names[n-1], p.names[:n-1]
	}
	return name
}

// give takes a database back; it answers the ones to drop when nobody uses any.
func (p *pool) give(name string) (unused []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inUse--
	p.names = append(p.names, name)
	if p.inUse == 0 {
		unused, p.names = p.names, nil
	}
	return unused
}

// exec runs one statement on a connection of its own.
func exec(t testing.TB, cluster, sql string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, cluster)
	if err != nil {
		t.Fatalf("connect to %s: %v", URLVariable, err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}
