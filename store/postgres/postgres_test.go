package postgres_test

import (
	"context"
	"testing"

	"github.com/rs/zerolog"

	"github.com/tellhook/tellhook/store"
	"github.com/tellhook/tellhook/store/postgres"
	"github.com/tellhook/tellhook/store/postgres/pgtest"
	"github.com/tellhook/tellhook/store/seal"
	"github.com/tellhook/tellhook/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return openFresh(t) })
}

// migrated answers the URL of a fresh migrated database.
func migrated(t *testing.T) string {
	t.Helper()
	url := pgtest.New(t)
	if err := postgres.Migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	return url
}

func keyring(t *testing.T, keys string) *seal.Keyring {
	t.Helper()
	ring, err := seal.Parse(keys)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// openAt opens a store, closed when the test ends.
func openAt(t *testing.T, url, keys string) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(context.Background(), postgres.Config{
		URL: url, MaxConns: 10, Keys: keyring(t, keys), DeriveFirstScan: true,
		Log: zerolog.New(zerolog.NewTestWriter(t)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func openFresh(t *testing.T) *postgres.Store {
	t.Helper()
	return openAt(t, migrated(t), seal.GenerateKey())
}
