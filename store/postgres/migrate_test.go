package postgres_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/tellhook/tellhook/store"
	"github.com/tellhook/tellhook/store/postgres"
	"github.com/tellhook/tellhook/store/postgres/pgtest"
	"github.com/tellhook/tellhook/store/seal"
)

func TestMigrateManyAtOnceAndAgain(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	pending, err := postgres.Pending(t.Context(), url)
	if err != nil || !slices.Equal(pending, []string{"00001_first"}) {
		t.Fatalf("Pending on an empty database answers %q, %v", pending, err)
	}
	var group errgroup.Group
	for range 4 {
		group.Go(func() error { return postgres.Migrate(t.Context(), url) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := postgres.Migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	if pending, err = postgres.Pending(t.Context(), url); err != nil || len(pending) != 0 {
		t.Errorf("Pending after Migrate answers %q, %v", pending, err)
	}
	teams, err := openAt(t, url, seal.GenerateKey()).ListTeams(t.Context(), store.Page{})
	if err != nil || len(teams.Data) != 1 || teams.Data[0].Name != store.DefaultTeam {
		t.Errorf("teams after Migrate: %+v, %v", teams.Data, err)
	}
}

func TestEverythingLivesInOneSchema(t *testing.T) {
	t.Parallel()
	url := migrated(t)
	rows, err := connect(t, url).Query(t.Context(), `
		SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname NOT IN ('tellhook', 'information_schema') AND n.nspname !~ '^pg_'`)
	if err != nil {
		t.Fatal(err)
	}
	if strays, err := pgx.CollectRows(rows, pgx.RowTo[string]); err != nil || len(strays) > 0 {
		t.Errorf("outside of the schema tellhook: %q, %v", strays, err)
	}
}

func TestOpenSaysWhatToDo(t *testing.T) {
	t.Parallel()
	url := pgtest.New(t)
	first, second := seal.GenerateKey(), seal.GenerateKey()
	refused := func(keys string, words ...string) {
		t.Helper()
		s, err := postgres.Open(t.Context(), postgres.Config{URL: url, Keys: keyring(t, keys), Log: zerolog.Nop()})
		if err == nil {
			_ = s.Close()
			t.Errorf("Open succeeded, want an error with %q", words)
			return
		}
		for _, w := range words {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("the error %q lacks %q", err, w)
			}
		}
		for key := range strings.SplitSeq(keys, ",") {
			if strings.Contains(err.Error(), key) {
				t.Errorf("the error %q quotes the key", err)
			}
		}
	}
	refused(first, "tellhook migrate", "serve --migrate", "00001_first")
	if err := postgres.Migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	openAt(t, url, first)
	openAt(t, url, second+","+first) // a newer key beside it
	refused(second, "TELLHOOK_MASTER_KEY", "TELLHOOK_MASTER_KEY_FILE")

	later := func(version int) {
		t.Helper()
		if _, err := connect(t, url).Exec(t.Context(), `INSERT INTO tellhook.migrations (version_id, is_applied) VALUES ($1, true)`, version); err != nil {
			t.Fatal(err)
		}
	}
	later(2)
	openAt(t, url, first) // this binary's schema is N, the database's N+1
	later(3)
	refused(first, "2 versions newer", "install a newer tellhook")
}

func TestOpenWithoutDatabase(t *testing.T) {
	t.Parallel()
	const url = "postgres://someone:hunter2@127.0.0.1:1/nowhere"
	_, err := postgres.Open(t.Context(), postgres.Config{URL: url, Keys: keyring(t, seal.GenerateKey())})
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("Open of an absent database answers %v", err)
	}
	if _, err := postgres.Pending(t.Context(), url); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("Pending of an absent database answers %v", err)
	}
	if err := postgres.Migrate(t.Context(), url); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("Migrate of an absent database answers %v", err)
	}
}

// connect opens a plain connection, as a stranger would.
func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(t.Context()) }) // cut by pgtest at the latest
	return conn
}
