//go:build !unix

package main

// Where flock is missing, stdio processes dispatch beside a service.

func lockShared(string) (release func(), err error) { return func() {}, nil }

func lockedShared(string) (bool, error) { return false, nil }
