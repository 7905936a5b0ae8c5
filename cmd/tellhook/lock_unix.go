//go:build unix

package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// lockShared holds a shared lock on a file, made where it is missing. The
// system drops it with the process, however that ends.
func lockShared(path string) (release func(), err error) {
	f, err := openLock(path)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { _ = f.Close() }, nil
}

// lockedShared tells whether another holds a shared lock on the file.
func lockedShared(path string) (bool, error) {
	f, err := openLock(path)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }() // gives the lock back at once
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("lock %s: %w", path, err)
	}
	return false, nil
}

func openLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // beside the operator's own database
	if err != nil {
		return nil, fmt.Errorf("lock file: %w", err)
	}
	return f, nil
}
