package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/tellhook/tellhook/store"
	"github.com/tellhook/tellhook/store/seal"
)

// fresh opens a database with one webhook that takes everything.
func fresh(t *testing.T) (s *Store, path, team string, w *store.Webhook) {
	t.Helper()
	keys, err := seal.Parse(seal.GenerateKey())
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "tellhook.db")
	s, err = Open(t.Context(), Config{Path: path, Keys: keys, DeriveFirstScan: true, Log: zerolog.New(zerolog.NewTestWriter(t))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	found, err := s.FindTeam(t.Context(), store.DefaultTeam)
	if err != nil {
		t.Fatal(err)
	}
	return s, path, found.ID, addWebhook(t, s, found.ID)
}

func addWebhook(t *testing.T, s *Store, team string) *store.Webhook {
	t.Helper()
	w, _, err := s.CreateWebhook(t.Context(), team, &store.Webhook{
		Kind: store.KindWebhook, URL: "https://example.com/", Events: []string{"*"}, Status: store.StatusActive,
		Secrets: []store.Secret{{Value: "whsec_x"}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func publishOne(ctx context.Context, s *Store, team, data string) error {
	_, err := s.PublishEvents(ctx, team, []store.Publish{{Type: "a", Data: json.RawMessage(data)}})
	return err
}

func mustExec(t *testing.T, db *sql.DB, query string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// TestDiskFull lets SQLite answer SQLITE_FULL: no false success, nothing half
// done, and all well again when there is room.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	s, _, team, _ := fresh(t)
	var pages int
	if err := s.writer.QueryRowContext(t.Context(), `PRAGMA page_count`).Scan(&pages); err != nil {
		t.Fatal(err)
	}
	mustExec(t, s.writer, `PRAGMA max_page_count = 1`) // SQLite takes the present count instead
	big := `{"a":"` + strings.Repeat("x", 200_000) + `"}`
	err := publishOne(t.Context(), s, team, big)
	if store.CodeOf(err) != store.CodeUnavailable {
		t.Fatalf("publish on a full disk: %v (%s), want unavailable", err, store.CodeOf(err))
	}
	if events, err := s.ListEvents(t.Context(), team, store.EventQuery{}); err != nil || len(events.Data) != 0 {
		t.Fatalf("after the failure: %d events, %v", len(events.Data), err)
	}
	mustExec(t, s.writer, `PRAGMA max_page_count = 1000000`)
	if err := publishOne(t.Context(), s, team, big); err != nil {
		t.Fatalf("publish with room again: %v", err)
	}
}

// TestBusy holds the write lock as another process would.
func TestBusy(t *testing.T) {
	t.Parallel()
	s, path, team, _ := fresh(t)
	other, err := connect(path, 1, busyTimeout, "immediate")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	tx, err := other.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.ListEvents(t.Context(), team, store.EventQuery{}); err != nil {
		t.Errorf("a reader waits for the writer: %v", err)
	}
	mustExec(t, s.writer, `PRAGMA busy_timeout = 50`)
	if err := publishOne(t.Context(), s, team, `{}`); store.CodeOf(err) != store.CodeUnavailable {
		t.Errorf("publish while another writes: %v (%s), want unavailable", err, store.CodeOf(err))
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := publishOne(t.Context(), s, team, `{}`); err != nil {
		t.Errorf("publish afterwards: %v", err)
	}
}

func TestDeadline(t *testing.T) {
	t.Parallel()
	s, _, team, _ := fresh(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := publishOne(ctx, s, team, `{}`); store.CodeOf(err) != store.CodeUnavailable {
		t.Errorf("publish under a cancelled context: %v (%s), want unavailable", err, store.CodeOf(err))
	}
}

// TestCancelledBeforeCommit: the caller has gone, and the database is well.
func TestCancelledBeforeCommit(t *testing.T) {
	t.Parallel()
	s, _, team, _ := fresh(t)
	ctx, cancel := context.WithCancel(t.Context())
	err := s.write(ctx, func(*sql.Tx) error {
		cancel()
		time.Sleep(50 * time.Millisecond) // database/sql rolls back
		return nil
	})
	if store.CodeOf(err) != store.CodeUnavailable {
		t.Errorf("write: %v (%s), want unavailable", err, store.CodeOf(err))
	}
	if err := publishOne(t.Context(), s, team, `{}`); err != nil {
		t.Errorf("publish afterwards: %v", err)
	}
}

// TestMovedSecrets puts one webhook's sealed values into another's row: they do
// not open there, and nobody else's deliveries wait for it.
func TestMovedSecrets(t *testing.T) {
	t.Parallel()
	s, _, team, good := fresh(t)
	bad := addWebhook(t, s, team)
	mustExec(t, s.writer, `UPDATE webhooks SET sealed = (SELECT sealed FROM webhooks WHERE id = ?) WHERE id = ?`, good.ID, bad.ID)
	if _, err := s.GetWebhook(t.Context(), team, bad.ID); store.CodeOf(err) != store.CodeInternal {
		t.Errorf("GetWebhook with moved secrets: %v, want internal", err)
	}
	for range 3 {
		if err := publishOne(t.Context(), s, team, `{}`); err != nil {
			t.Fatal(err)
		}
	}
	claims, err := s.ClaimDeliveries(t.Context(), 6, time.Minute, nil)
	if err != nil || len(claims) != 3 {
		t.Fatalf("%d claims, %v; want the good webhook's three", len(claims), err)
	}
	for _, c := range claims {
		if c.Webhook.ID != good.ID {
			t.Errorf("claimed a delivery of %s", c.Webhook.ID)
		}
	}
	held, err := s.ListDeliveries(t.Context(), team, store.DeliveryQuery{WebhookID: bad.ID})
	if err != nil || len(held.Data) != 3 {
		t.Fatalf("%d deliveries of the bad webhook, %v", len(held.Data), err)
	}
	for _, d := range held.Data {
		if d.Status != store.DeliveryPending || d.InFlight || d.Attempts != 0 || time.Until(*d.NextAttemptAt) < putOff/2 {
			t.Errorf("delivery whose secrets do not open: %+v", d)
		}
	}
}

// TestStateMachine tries to write states that the machine does not have.
func TestStateMachine(t *testing.T) {
	t.Parallel()
	s, _, team, w := fresh(t)
	if err := publishOne(t.Context(), s, team, `{}`); err != nil {
		t.Fatal(err)
	}
	for _, change := range []string{
		`status = 'sending'`,
		`status = 'succeeded'`,
		`status = 'succeeded', next_attempt_at = NULL`,
		`status = 'failed', next_attempt_at = NULL, finished_at = 1`,
		`status = 'failed', next_attempt_at = NULL, finished_at = 1, reason = 'expired'`,
		`status = 'cancelled', next_attempt_at = NULL, finished_at = 1, reason = 'gone'`,
		`status = 'succeeded', finished_at = 1`,
		`status = 'succeeded', next_attempt_at = NULL, finished_at = 1, reason = 'gone'`,
		`reason = 'gone'`,
		`finished_at = 1`,
		`next_attempt_at = NULL`,
		`next_attempt_at = NULL, lease_until = 1, claimed_at = 1`, // no attempt
		`attempts = 1, lease_until = 1, claimed_at = 1`,           // due and under lease
		`attempts = 1, next_attempt_at = NULL, lease_until = 1`,
		`attempts = 1, next_attempt_at = NULL, lease_until = 1, claimed_at = 1, status = 'succeeded', finished_at = 1`,
		`attempts = -1`,
		`step = 1`,
		`lost = 1`,
	} {
		if _, err := s.writer.ExecContext(t.Context(), `UPDATE deliveries SET `+change); err == nil {
			t.Errorf("the database takes SET %s", change)
		}
	}
	mustExec(t, s.writer, `UPDATE deliveries SET status = 'cancelled', reason = 'expired', finished_at = 1,
		attempts = 1, next_attempt_at = NULL, lease_until = 1, claimed_at = 1`) // cancelled in flight
	for _, change := range []string{`status = 'paused'`, `paused_reason = 'owner'`, `health = 'failing'`, `rate_limit = 0`, `kind = 'x'`} {
		if _, err := s.writer.ExecContext(t.Context(), `UPDATE webhooks SET `+change+` WHERE id = ?`, w.ID); err == nil {
			t.Errorf("the database takes SET %s", change)
		}
	}
}

// TestIdempotencyKeysEnd ages a key past its time.
func TestIdempotencyKeysEnd(t *testing.T) {
	t.Parallel()
	s, _, team, _ := fresh(t)
	publishAs := func(data string) store.Published {
		answers, err := s.PublishEvents(t.Context(), team, []store.Publish{{Type: "a", Data: json.RawMessage(data), IdempotencyKey: "k"}})
		if err != nil {
			t.Fatal(err)
		}
		return answers[0]
	}
	age := func() {
		mustExec(t, s.writer, `UPDATE idempotency_keys SET created_at = ?`, now().Add(-store.IdempotencyTTL-time.Second).UnixMicro())
	}
	publishAs(`{"n":1}`)
	if store.CodeOf(publishAs(`{"n":2}`).Err) != store.CodeConflict {
		t.Fatal("a young key does not bind")
	}
	age()
	if got := publishAs(`{"n":3}`); got.Err != nil || got.Duplicate {
		t.Errorf("publish under a key whose time is over: %+v", got)
	}
	if store.CodeOf(publishAs(`{"n":4}`).Err) != store.CodeConflict {
		t.Error("the key does not bind anew")
	}
	age()
	pruned, err := s.Prune(t.Context(), now().Add(-time.Hour))
	if err != nil || pruned != (store.Pruned{Keys: 1}) {
		t.Errorf("Prune: %+v, %v; want one key", pruned, err)
	}
}

// TestPanicOfACaller panics inside a transaction: the writer must be free again.
func TestPanicOfACaller(t *testing.T) {
	t.Parallel()
	s, _, team, w := fresh(t)
	func() {
		defer func() { _ = recover() }()
		_, err := s.UpdateWebhook(t.Context(), team, w.ID, func(*store.Webhook) error { panic("a fault of the caller") })
		t.Errorf("UpdateWebhook came back with %v", err)
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := publishOne(ctx, s, team, `{}`); err != nil {
		t.Errorf("publish after the panic: %v", err)
	}
}

// TestNewerSchema opens a database that a newer binary has migrated.
func TestNewerSchema(t *testing.T) {
	t.Parallel()
	s, path, _, _ := fresh(t)
	mustExec(t, s.writer, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (1000, 1)`)
	newer, err := Open(t.Context(), Config{Path: path, Keys: s.keys, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	if err := newer.Close(); err != nil {
		t.Error(err)
	}
}

// TestDurable reads the settings back on which "an acknowledged write is kept"
// rests: a write-ahead log that is flushed at every commit.
func TestDurable(t *testing.T) {
	t.Parallel()
	s, _, _, _ := fresh(t)
	for _, c := range []struct {
		db           *sql.DB
		pragma, want string
	}{
		{s.writer, "journal_mode", "wal"},
		{s.writer, "synchronous", "2"}, // FULL
		{s.writer, "foreign_keys", "1"},
		{s.writer, "busy_timeout", "20"}, // see begin
		{s.reader, "query_only", "1"},
		{s.reader, "busy_timeout", "5000"},
	} {
		var got string
		if err := c.db.QueryRowContext(t.Context(), `PRAGMA `+c.pragma).Scan(&got); err != nil || got != c.want {
			t.Errorf("PRAGMA %s is %q, %v; want %q", c.pragma, got, err, c.want)
		}
	}
}
