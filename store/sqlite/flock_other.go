//go:build !unix

package sqlite

import "os"

// Where flock is missing, processes that share a file are not kept in turn.

func tryLock(_ *os.File, exclusive bool) (bool, error) { return true, nil }

func unlock(*os.File) error { return nil }
