package main

import (
	"context"
	"fmt"

	"github.com/tellhook/tellhook/store"
	"github.com/tellhook/tellhook/store/postgres"
)

type migrateCmd struct {
	Up     migrateUpCmd     `cmd:"" default:"1" help:"Bring the database's tables up to this version (default)."`
	Status migrateStatusCmd `cmd:"" help:"List the migrations that are pending; exit 1 where there are any."`
}

// Help is the long help.
func (migrateCmd) Help() string {
	return `The embedded database migrates itself whenever it is opened. PostgreSQL is migrated here, or by serve --migrate, by a role that owns the database; several at once wait for each other.

Examples:

    TELLHOOK_DATABASE_URL=postgres://… tellhook migrate
    TELLHOOK_DATABASE_URL=postgres://… tellhook migrate status`
}

type migrateUpCmd struct{}

// Run migrates.
func (migrateUpCmd) Run(ctx context.Context, a *app) error {
	if a.cfg.Database.embedded() {
		err := a.withStore(ctx, func(store.Store) error { return nil })
		if err == nil {
			fmt.Fprintf(a.stderr, "%s is up to date\n", a.cfg.Database.path)
		}
		return err
	}
	if err := postgres.Migrate(ctx, a.cfg.Database.url); err != nil {
		return err
	}
	fmt.Fprintln(a.stderr, "the database is up to date")
	return nil
}

type migrateStatusCmd struct{}

// Run lists what is pending.
func (migrateStatusCmd) Run(ctx context.Context, a *app) error {
	if a.cfg.Database.embedded() {
		fmt.Fprintln(a.stderr, "nothing is ever pending: the embedded database migrates itself whenever it is opened")
		return nil
	}
	pending, err := postgres.Pending(ctx, a.cfg.Database.url)
	if err != nil {
		return err
	}
	for _, name := range pending {
		fmt.Fprintln(a.stdout, name)
	}
	if len(pending) > 0 {
		return fmt.Errorf("%d pending; run `tellhook migrate`", len(pending))
	}
	fmt.Fprintln(a.stderr, "nothing is pending")
	return nil
}
