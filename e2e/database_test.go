package e2e

import (
	"context"
	"crypto/rand"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// database is a kind of database that Tellhook runs on.
type database string

const (
	sqlite   database = "sqlite"
	postgres database = "postgres"
)

// onBoth runs a test on each kind of database, both at the same time.
func onBoth(t *testing.T, test func(t *testing.T, db database)) {
	t.Parallel()
	for _, db := range []database{sqlite, postgres} {
		t.Run(string(db), func(t *testing.T) {
			t.Parallel()
			test(t, db)
		})
	}
}

// create makes an empty database and answers its TELLHOOK_DATABASE_URL.
func (db database) create(t *testing.T) string {
	t.Helper()
	if db == sqlite {
		return "sqlite:" + filepath.Join(t.TempDir(), "tellhook.db")
	}
	cluster := os.Getenv("TELLHOOK_TEST_DATABASE_URL")
	if cluster == "" {
		t.Fatal("TELLHOOK_TEST_DATABASE_URL is not set: run this by `make e2e`, or put scripts/with-postgres.sh in front of the command")
	}
	u, err := url.Parse(cluster)
	if err != nil {
		t.Fatal(err)
	}
	name := "e2e_" + strings.ToLower(rand.Text())
	administer(t, cluster, "CREATE DATABASE "+name)
	t.Cleanup(func() { administer(t, cluster, "DROP DATABASE "+name+" WITH (FORCE)") })
	u.Path = "/" + name
	return u.String()
}

func administer(t *testing.T, cluster, sql string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, cluster)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}
