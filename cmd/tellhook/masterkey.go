package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tellhook/tellhook/store/seal"
)

// keySuffix is put behind the embedded database's path to name the file of its
// master key.
const keySuffix = ".key"

// embeddedKey answers the master key of the embedded database at path, and
// makes it before there is a database. Several processes may do so at once: all
// get the same key.
func embeddedKey(path string) (string, error) {
	file := path + keySuffix
	// The key is there before the database ever is. So the order of these two
	// looks matters: a database that was there first, without a key, has lost it.
	existed, err := holdsData(path)
	if err != nil {
		return "", err
	}
	key, err := readSecret(file)
	switch {
	case err == nil:
		return key, nil
	case !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("the master key file %s: %w", file, err)
	case existed:
		return "", fmt.Errorf("the master key file %s is missing, and nothing else opens the secrets in %s; put the file back, or give its key as TELLHOOK_MASTER_KEY (if nothing in that database is needed, move it away and a new one is made)", file, path)
	}
	if err := createKey(file); err != nil {
		return "", fmt.Errorf("the master key file %s cannot be made: %w", file, err)
	}
	return readSecret(file)
}

func holdsData(path string) (bool, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("the database's file: %w", err)
	}
	if info.IsDir() {
		return false, fmt.Errorf("the database's file %s is a directory; give the path of a file", path)
	}
	return info.Size() > 0, nil
}

// createKey makes the file, whole and on the disk, unless another process was
// first: a link to a name that exists fails.
func createKey(file string) (err error) {
	dir := filepath.Dir(file)
	draft, err := os.CreateTemp(dir, ".master-key-*") // 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(draft.Name())) }() //nolint:gosec // the name is CreateTemp's
	_, err = draft.WriteString(seal.GenerateKey() + "\n")
	if err = errors.Join(err, draft.Sync(), draft.Close()); err != nil {
		return err
	}
	if err := os.Link(draft.Name(), file); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(dir)
}

// syncDir makes a new name in a directory survive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the operator names it
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
