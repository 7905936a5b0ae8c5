package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tellhook/tellhook/dispatcher"
	"github.com/tellhook/tellhook/store"
	"github.com/tellhook/tellhook/store/postgres"
	"github.com/tellhook/tellhook/store/seal"
	"github.com/tellhook/tellhook/store/sqlite"
	"github.com/tellhook/tellhook/tools"
)

// errNoMasterKey says what PostgreSQL needs; only the embedded database makes a
// master key by itself, as it has a place beside it.
var errNoMasterKey = errors.New("PostgreSQL needs a master key, which seals the signing secrets in it: make one with `tellhook keygen > master.key`, keep it safe, and set TELLHOOK_MASTER_KEY_FILE=master.key (or TELLHOOK_MASTER_KEY to the key itself) on every process")

// openStore opens the database of the configuration. The embedded one is made
// and migrated where that is needed.
func (a *app) openStore(ctx context.Context) (store.Store, error) {
	keys, err := a.keyring()
	if err != nil {
		return nil, err
	}
	derive := a.cfg.derivesFirstScan()
	if a.cfg.Database.embedded() {
		s, err := sqlite.Open(ctx, sqlite.Config{
			Path: a.cfg.Database.path, Keys: keys, DeriveFirstScan: derive, Log: a.log,
		})
		if err != nil {
			return nil, err
		}
		return s, nil
	}
	s, err := postgres.Open(ctx, postgres.Config{
		URL: a.cfg.Database.url, MaxConns: int32(a.cfg.MaxConns), Keys: keys,
		DeriveFirstScan: derive, Log: a.log,
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// withStore runs fn on the database of the configuration.
func (a *app) withStore(ctx context.Context, fn func(store.Store) error) (err error) {
	s, err := a.openStore(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return fn(s)
}

func (a *app) keyring() (*seal.Keyring, error) {
	text := a.cfg.MasterKey
	switch {
	case text != "":
	case !a.cfg.Database.embedded():
		return nil, errNoMasterKey
	default:
		path := a.cfg.Database.path
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, fmt.Errorf("the database's directory cannot be made: %w", err)
		}
		var err error
		if text, err = embeddedKey(path); err != nil {
			return nil, err
		}
	}
	keys, err := seal.Parse(text)
	if err != nil && a.cfg.MasterKey == "" {
		return nil, fmt.Errorf("%s: %w", a.cfg.Database.path+keySuffix, err)
	}
	return keys, err
}

// newTools makes the operations on s. publicURL is for links; empty: none.
func (a *app) newTools(s store.Store, publicURL string) (*tools.Tools, error) {
	return tools.New(tools.Config{
		Store:           s,
		Egress:          a.cfg.egress(),
		Schedule:        a.cfg.Schedule,
		SignatureHeader: a.cfg.SignatureHeader,
		PublicURL:       publicURL,
		ProductName:     a.cfg.ProductName,
		Version:         buildInfo().Version,
		BuiltinTypes:    a.cfg.BuiltinTypes,
		MaxEventBytes:   a.cfg.MaxEventBytes,
		Log:             a.log,
	})
}

func (a *app) newDispatcher(s store.Store) *dispatcher.Dispatcher {
	return dispatcher.New(s, dispatcher.Options{
		Schedule:           a.cfg.Schedule,
		Jitter:             a.cfg.Jitter,
		Timeout:            a.cfg.Timeout,
		Concurrency:        a.cfg.Concurrency,
		WebhookConcurrency: a.cfg.WebhookConcurrency,
		SignatureHeader:    a.cfg.SignatureHeader,
		UserAgent:          a.cfg.UserAgent,
		Egress:             a.cfg.egress(),
		Retention:          a.cfg.Retention,
		Log:                a.log,
	})
}
