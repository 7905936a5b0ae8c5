package main

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// Processes that start at once on a fresh directory get the same key.
func TestEmbeddedKeyRace(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "tellhook.db")
	keys := make([]string, 16)
	var all sync.WaitGroup
	for i := range keys {
		all.Go(func() {
			key, err := embeddedKey(path)
			if err != nil {
				t.Error(err)
			}
			keys[i] = key
			// As Open does, behind the key.
			if err := os.WriteFile(path, []byte("data"), 0o600); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, key := range keys {
		if key == "" || key != keys[0] {
			t.Fatalf("different keys: %q", keys)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}
