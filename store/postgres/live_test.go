package postgres_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tellhook/tellhook/store"
	"github.com/tellhook/tellhook/store/postgres"
	"github.com/tellhook/tellhook/store/seal"
)

func team(t *testing.T, s *postgres.Store) string {
	t.Helper()
	found, err := s.FindTeam(t.Context(), store.DefaultTeam)
	if err != nil {
		t.Fatal(err)
	}
	return found.ID
}

func addWebhook(t *testing.T, s *postgres.Store, teamID string) *store.Webhook {
	t.Helper()
	w, _, err := s.CreateWebhook(t.Context(), teamID, &store.Webhook{
		Kind: store.KindWebhook, URL: "https://example.com/", Events: []string{"*"},
		Status: store.StatusActive, Health: store.HealthHealthy,
		Headers: map[string]string{"Authorization": "Bearer canary-header"},
		Secrets: []store.Secret{{Value: "canary-secret-0123456789", CreatedAt: time.Now()}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func publish(ctx context.Context, s *postgres.Store, teamID string) error {
	answers, err := s.PublishEvents(ctx, teamID, []store.Publish{{Type: "a", Data: json.RawMessage(`{}`)}})
	if err != nil {
		return err
	}
	return answers[0].Err
}

// TestSecretsAreUnreadable looks for them in every row of every table, as text
// and as the hexadecimal form of bytea.
func TestSecretsAreUnreadable(t *testing.T) {
	t.Parallel()
	url := migrated(t)
	s := openAt(t, url, seal.GenerateKey())
	teamID := team(t, s)
	addWebhook(t, s, teamID)
	secret := store.NewKeySecret()
	if _, err := s.CreateKey(t.Context(), teamID, store.APIKey{Name: "k", Prefix: store.KeyPrefix(secret), Hash: store.HashKey(secret)}); err != nil {
		t.Fatal(err)
	}
	conn := connect(t, url)
	rows, _ := conn.Query(t.Context(), `SELECT tablename FROM pg_tables WHERE schemaname = 'tellhook'`)
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(tables) < 8 {
		t.Fatalf("tables %q, %v", tables, err)
	}
	sawURL := false
	for _, table := range tables {
		rows, _ := conn.Query(t.Context(), `SELECT r::text FROM tellhook.`+table+` r`)
		dump, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range dump {
			sawURL = sawURL || strings.Contains(row, "https://example.com/")
			for _, canary := range []string{"canary-secret", "canary-header", secret} {
				if strings.Contains(row, canary) || strings.Contains(row, fmt.Sprintf("%x", canary)) {
					t.Errorf("table %s shows %s", table, canary)
				}
			}
		}
	}
	if !sawURL {
		t.Error("the dump holds no webhook: the test looks at nothing")
	}
}

// TestPublishWaitsForNobodysRow: a publish goes on while others hold the
// webhook's row, its delivery's row, and a transaction that wrote a lot.
func TestPublishWaitsForNobodysRow(t *testing.T) {
	t.Parallel()
	url := migrated(t)
	s := openAt(t, url, seal.GenerateKey())
	teamID := team(t, s)
	w := addWebhook(t, s, teamID)
	if err := publish(t.Context(), s, teamID); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		`SELECT FROM tellhook.webhooks FOR UPDATE`,
		`SELECT FROM tellhook.deliveries FOR UPDATE`,
		`SELECT FROM tellhook.teams FOR NO KEY UPDATE`,
		`UPDATE tellhook.webhooks SET description = 'foreign'`,
		`SELECT pg_current_xact_id()`,
	} {
		tx, err := connect(t, url).Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		if err := publish(ctx, s, teamID); err != nil {
			t.Errorf("publish beside an open transaction that ran %s: %v", sql, err)
		}
		cancel()
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	list, err := s.ListDeliveries(t.Context(), teamID, store.DeliveryQuery{WebhookID: w.ID})
	if err != nil || len(list.Data) != 6 {
		t.Errorf("%d deliveries, %v, want 6", len(list.Data), err)
	}
}

// TestStalledPublisherIsCutOff: a publisher that stops in its transaction, lock
// in hand, delays the others by idle_in_transaction_session_timeout at most.
func TestStalledPublisherIsCutOff(t *testing.T) {
	t.Parallel()
	url := migrated(t)
	s := openAt(t, url, seal.GenerateKey())
	tx, err := connect(t, url+"&idle_in_transaction_session_timeout=1000").Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `SELECT pg_advisory_xact_lock($1)`, int64(0x74656c6c686f6f02)); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := publish(t.Context(), s, team(t, s)); err != nil {
		t.Errorf("publish behind a stalled publisher: %v", err)
	}
	if took := time.Since(start); took < 500*time.Millisecond {
		t.Errorf("publish took %v: it did not wait for the other publisher's lock", took)
	}
}

// TestWakeUpOfAnotherProcess: a NOTIFY reaches a store that shares nothing but
// the database, long before its poll would.
func TestWakeUpOfAnotherProcess(t *testing.T) {
	t.Parallel()
	url, keys := migrated(t), seal.GenerateKey()
	publisher, other := openAt(t, url, keys), openAt(t, url, keys)
	teamID := team(t, publisher)
	addWebhook(t, publisher, teamID)
	wakeups := other.Wakeups(t.Context())
	await(t, wakeups, "listening") // says that the connection listens
	const rounds = 10
	var total time.Duration
	for range rounds {
		start := time.Now()
		if err := publish(t.Context(), publisher, teamID); err != nil {
			t.Fatal(err)
		}
		await(t, wakeups, "a publish")
		total += time.Since(start)
		time.Sleep(10 * time.Millisecond)
	}
	t.Logf("publish call to wake-up: %v on average", total/rounds)
}

func await(t *testing.T, wakeups <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-wakeups:
	case <-time.After(10 * time.Second):
		t.Fatalf("no wake-up after %s", what)
	}
}

func TestWakeupsCloseWithContextAndStore(t *testing.T) {
	t.Parallel()
	s := openFresh(t)
	ctx, cancel := context.WithCancel(t.Context())
	byContext, byClose := s.Wakeups(ctx), s.Wakeups(t.Context())
	cancel()
	drained(t, byContext)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	drained(t, byClose)
	if code := store.CodeOf(s.Ping(t.Context())); code != store.CodeUnavailable {
		t.Errorf("Ping of a closed store has code %q, want unavailable", code)
	}
}

func drained(t *testing.T, wakeups <-chan struct{}) {
	t.Helper()
	for deadline := time.After(10 * time.Second); ; {
		select {
		case _, open := <-wakeups:
			if !open {
				return
			}
		case <-deadline:
			t.Fatal("the channel stays open")
		}
	}
}

// TestConnectionsCut: when the server cuts every connection, as a restart does,
// the next calls work and so do wake-ups.
func TestConnectionsCut(t *testing.T) {
	t.Parallel()
	url, keys := migrated(t), seal.GenerateKey()
	s, other := openAt(t, url, keys), openAt(t, url, keys)
	teamID := team(t, s)
	addWebhook(t, s, teamID)
	wakeups := other.Wakeups(t.Context())
	await(t, wakeups, "listening")
	for range 3 {
		_, err := connect(t, url).Exec(t.Context(), `
			SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
			WHERE datname = current_database() AND application_name = 'tellhook'`)
		if err != nil {
			t.Fatal(err)
		}
		for range 12 { // more calls than the pool has connections
			if err := publish(t.Context(), s, teamID); err != nil {
				t.Fatalf("publish after the cut: %v", err)
			}
		}
		await(t, wakeups, "the cut")
		if _, err := s.ListEvents(t.Context(), teamID, store.EventQuery{}); err != nil {
			t.Errorf("read after the cut: %v", err)
		}
	}
	if n, err := s.ListEvents(t.Context(), teamID, store.EventQuery{Page: store.Page{Limit: 100}}); err != nil || len(n.Data) != 36 {
		t.Errorf("%d events, %v, want 36: none lost, none twice", len(n.Data), err)
	}
}
