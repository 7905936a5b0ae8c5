package sqlite_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/rs/zerolog"

	"github.com/tellhook/tellhook/store"
	"github.com/tellhook/tellhook/store/seal"
	"github.com/tellhook/tellhook/store/sqlite"
)

func TestReopenKeepsAll(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "made on the way", "odd ?#% name.db")
	key := seal.GenerateKey()
	first := openAt(t, path, key)
	team := defaultTeam(t, first)
	w := addHook(t, first, team, "*")
	e := publish(t, first, team, `{"a":1}`)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again := openAt(t, path, seal.GenerateKey()+","+key) // under a newer key too
	if got, err := again.GetWebhook(t.Context(), team, w.ID); err != nil || got.Secrets[0].Value != w.Secrets[0].Value {
		t.Errorf("GetWebhook after reopening: %+v, %v", got, err)
	}
	if got, err := again.GetEvent(t.Context(), team, e.ID); err != nil || string(got.Data) != `{"a":1}` {
		t.Errorf("GetEvent after reopening: %+v, %v", got, err)
	}
	if teams, err := again.ListTeams(t.Context(), store.Page{}); err != nil || len(teams.Data) != 1 {
		t.Errorf("teams after reopening: %+v, %v", teams.Data, err)
	}
}

func TestWrongKey(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tellhook.db")
	right, wrong := seal.GenerateKey(), seal.GenerateKey()
	openAt(t, path, right)
	_, err := sqlite.Open(t.Context(), sqlite.Config{Path: path, Keys: keyring(t, wrong), Log: zerolog.Nop()})
	if !errors.Is(err, seal.ErrKey) {
		t.Fatalf("Open under another master key: %v", err)
	}
	for _, want := range []string{path, "TELLHOOK_MASTER_KEY", "TELLHOOK_MASTER_KEY_FILE"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error %q does not name %s", err, want)
		}
	}
	for _, key := range []string{right, wrong} {
		if strings.Contains(err.Error(), key) {
			t.Errorf("the error %q quotes a key", err)
		}
	}
}

func TestNotADatabase(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "notes.txt")
	text := []byte(strings.Repeat("these are my notes, keep them\n", 100))
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := sqlite.Open(t.Context(), sqlite.Config{Path: path, Keys: keyring(t, seal.GenerateKey()), Log: zerolog.Nop()})
	if err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("Open of a text file: %v", err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, text) {
		t.Errorf("the file was changed: %v", err)
	}
}

// TestOpenAtOnce opens one fresh file many times at once, as processes that
// start together do: one of them makes and migrates it.
func TestOpenAtOnce(t *testing.T) {
	t.Parallel()
	path, key := filepath.Join(t.TempDir(), "tellhook.db"), keyring(t, seal.GenerateKey())
	var group errgroup.Group
	for range 6 {
		group.Go(func() error {
			s, err := sqlite.Open(t.Context(), sqlite.Config{Path: path, Keys: key, Log: zerolog.Nop()})
			if err != nil {
				return err
			}
			teams, err := s.ListTeams(t.Context(), store.Page{})
			if err == nil && len(teams.Data) != 1 {
				err = errors.New("not exactly one team")
			}
			return errors.Join(err, s.Close())
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

func TestFilesAreTheOwnersAlone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tellhook.db")
	s := openAt(t, path, seal.GenerateKey())
	publish(t, s, defaultTeam(t, s), `{}`)
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) < 3 {
		t.Fatalf("files %v, %v; want the database, its log and its index", files, err)
	}
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", f, info.Mode().Perm())
		}
	}
}

// TestSecretsAreSealed looks for secrets in the raw bytes of all files.
func TestSecretsAreSealed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tellhook.db")
	s := openAt(t, path, seal.GenerateKey())
	team := defaultTeam(t, s)
	w := addHook(t, s, team, "*")
	_, err := s.UpdateWebhook(t.Context(), team, w.ID, func(w *store.Webhook) error {
		w.Secrets[0].Value = "whsec_rotated-canary-secret"
		w.Headers["X-Late"] = "late-canary-value"
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	key := store.NewKeySecret()
	if _, err := s.CreateKey(t.Context(), team, store.APIKey{Name: "k", Prefix: store.KeyPrefix(key), Hash: store.HashKey(key)}); err != nil {
		t.Fatal(err)
	}
	publish(t, s, team, `{"marker":"published in clear"}`)
	var all []byte
	files, _ := filepath.Glob(path + "*")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	if !bytes.Contains(all, []byte("published in clear")) {
		t.Fatal("the search does not even find an event's data: it proves nothing")
	}
	for _, secret := range []string{w.Secrets[0].Value, "Bearer canary-token", "whsec_rotated-canary-secret", "late-canary-value", key, "X-Late"} {
		if bytes.Contains(all, []byte(secret)) {
			t.Errorf("%q stands in the database files in clear", secret)
		}
	}
}

func TestNoDerivedFirstScan(t *testing.T) {
	t.Parallel()
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "db"), Keys: keyring(t, seal.GenerateKey()), Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	team := defaultTeam(t, s)
	if _, err := s.PublishEvents(t.Context(), team, []store.Publish{{Type: store.TypeScan, Data: json.RawMessage(`{"qr_code_id":1}`)}}); err != nil {
		t.Fatal(err)
	}
	if events, err := s.ListEvents(t.Context(), team, store.EventQuery{}); err != nil || len(events.Data) != 1 {
		t.Errorf("events %+v, %v; want the scan alone", events.Data, err)
	}
}
