// Package pgtest gives tests databases of their own in a running PostgreSQL
// cluster, as scripts/with-postgres.sh starts one.
package pgtest

import (
	"context"
	"crypto/rand"
	"net/url"
	"os"
	"strings"
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
	name := "tellhook_" + strings.ToLower(rand.Text())
	exec(t, cluster, "CREATE DATABASE "+name+" TEMPLATE template0")
	t.Cleanup(func() { exec(t, cluster, "DROP DATABASE "+name+" WITH (FORCE)") })
	u.Path = "/" + name
	return u.String()
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
