package pgtest_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tellhook/tellhook/store/postgres/pgtest"
)

func TestNewGivesSeparateEmptyDatabases(t *testing.T) {
	ctx := context.Background()
	for range 2 {
		conn, err := pgx.Connect(ctx, pgtest.New(t))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close(ctx) })
		if _, err := conn.Exec(ctx, "CREATE TABLE only_here ()"); err != nil {
			t.Errorf("second database is the first one: %v", err)
		}
	}
}

func TestNewIsEmptyAlthoughUsedBefore(t *testing.T) {
	ctx := context.Background()
	pgtest.New(t) // keeps the databases of the subtests from being dropped between them
	var before string
	for _, name := range []string{"fills", "finds nothing"} {
		t.Run(name, func(t *testing.T) {
			conn, err := pgx.Connect(ctx, pgtest.New(t)) // left open: New cuts it
			if err != nil {
				t.Fatal(err)
			}
			var database string
			if err := conn.QueryRow(ctx, "SELECT current_database()").Scan(&database); err != nil {
				t.Fatal(err)
			}
			if before != "" && database != before {
				t.Errorf("database %s, want %s used again", database, before)
			}
			before = database
			if _, err := conn.Exec(ctx, "CREATE TABLE public.t (); CREATE SCHEMA s; CREATE TABLE s.t ()"); err != nil {
				t.Error(err)
			}
		})
	}
}
