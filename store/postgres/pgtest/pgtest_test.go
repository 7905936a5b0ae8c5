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
