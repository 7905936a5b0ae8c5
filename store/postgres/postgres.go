// Package postgres is the store on PostgreSQL 14 or later: pgx, everything in
// the schema tellhook, numbered migrations beside it.
//
// Locks are taken in one order, so that no two calls can wait for each other:
// webhooks by id, then deliveries by id. Publishers wait for each other alone.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/rs/zerolog"

	"github.com/tellhook/tellhook/store"
	"github.com/tellhook/tellhook/store/seal"
)

// Advisory locks of the database: any numbers that nobody else uses.
const (
	lockMigrate  int64 = 0x74656c6c686f6f01 // "tellhoo" and a number
	lockPublish  int64 = 0x74656c6c686f6f02
	lockFirstKey int64 = 0x74656c6c686f6f03
)

// Limits of time. The server ends a stalled transaction (idleTimeout) before
// others give up waiting for its locks (lockTimeout), and a statement before
// the caller does.
const (
	connectTimeout = 5 * time.Second
	acquireTimeout = 5 * time.Second // for a connection of the pool
	callTimeout    = 15 * time.Second
)

var sessionLimits = map[string]string{ // PostgreSQL's settings, in milliseconds
	"statement_timeout":                   "10000",
	"lock_timeout":                        "8000",
	"idle_in_transaction_session_timeout": "5000",
	"tcp_user_timeout":                    "10000",
}

// Config tells Open what it needs.
type Config struct {
	URL             string // postgres://…
	MaxConns        int32  // of the pool; 0 means DefaultMaxConns. Two more listen and notify
	Keys            *seal.Keyring
	DeriveFirstScan bool // publish a first_scan for the first scan of a thing
	Log             zerolog.Logger
}

// DefaultMaxConns is the size of the pool where Config leaves it open.
const DefaultMaxConns = 20

// Store implements store.Store.
type Store struct {
	pool      *pgxpool.Pool
	keys      *seal.Keyring
	firstScan bool
	log       zerolog.Logger
	wake      *waker

	life context.Context // ends with Close, and with it every call
	end  context.CancelFunc
	work sync.WaitGroup // goroutines of the store
}

var _ store.Store = (*Store)(nil)

// Open connects to a migrated database and checks that the master keys are
// those of its secrets. Its errors are for the operator: they say what to do.
func Open(ctx context.Context, c Config) (*Store, error) {
	if c.Keys == nil {
		return nil, errors.New("no master key: make one with `tellhook keygen` and set TELLHOOK_MASTER_KEY or TELLHOOK_MASTER_KEY_FILE")
	}
	config, err := poolConfig(c)
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	s := &Store{pool: pool, keys: c.Keys, firstScan: c.DeriveFirstScan, log: c.Log}
	s.life, s.end = context.WithCancel(context.WithoutCancel(ctx))
	s.wake = newWaker(config.ConnConfig, c.Log)
	if err := s.check(ctx); err != nil {
		_ = s.Close()
		return nil, err
	}
	s.work.Go(func() { s.wake.notifyAll(s.life) })
	return s, nil
}

func poolConfig(c Config) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(c.URL)
	if err != nil {
		return nil, fmt.Errorf("database URL: %w", err) // pgx leaves the password out
	}
	config.MaxConns = c.MaxConns
	if config.MaxConns <= 0 {
		config.MaxConns = DefaultMaxConns
	}
	config.ConnConfig.ConnectTimeout = connectTimeout
	params := config.ConnConfig.RuntimeParams
	for name, value := range sessionLimits {
		if _, set := params[name]; !set { // the operator's URL has the last word
			params[name] = value
		}
	}
	if _, set := params["application_name"]; !set {
		params["application_name"] = "tellhook"
	}
	config.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
		conn.TypeMap().RegisterType(&pgtype.Type{
			Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC},
		})
		return nil
	}
	return config, nil
}

// unreachable says what to look at; pgx leaves the password out.
func unreachable(err error) error {
	return fmt.Errorf("PostgreSQL does not answer: is it running, and does TELLHOOK_DATABASE_URL name its host, user and database? %w", err)
}

func (s *Store) check(ctx context.Context) error {
	if err := s.pool.Ping(ctx); err != nil {
		return unreachable(err)
	}
	if err := s.checkSchema(ctx); err != nil {
		return err
	}
	return s.checkKeys(ctx)
}

// The canary is a sealed text of which only the seal matters: where it opens,
// the webhooks' secrets do.
const (
	canaryText    = "the master key fits"
	canaryContext = "tellhook|canary"
)

// checkKeys opens the canary; the first Open of a database seals it.
func (s *Store) checkKeys(ctx context.Context) error {
	sealed, err := s.keys.Seal([]byte(canaryText), canaryContext)
	if err != nil {
		return fmt.Errorf("seal the master key's canary: %w", err)
	}
	_, err = s.pool.Exec(ctx, `
		INSERT INTO tellhook.settings (name, value) VALUES ('canary', $1) ON CONFLICT (name) DO NOTHING`, sealed)
	if err != nil {
		return fmt.Errorf("store the master key's canary: %w", err)
	}
	err = s.pool.QueryRow(ctx, `SELECT value FROM tellhook.settings WHERE name = 'canary'`).Scan(&sealed)
	if err != nil {
		return fmt.Errorf("read the master key's canary: %w", err)
	}
	if _, err := s.keys.Open(sealed, canaryContext); err != nil {
		return fmt.Errorf("the master key is not the one that sealed this database's secrets: set TELLHOOK_MASTER_KEY or TELLHOOK_MASTER_KEY_FILE to that one (several are allowed, comma-separated, newest first): %w", err)
	}
	return nil
}

// Ping answers nil where the database can be reached.
func (s *Store) Ping(ctx context.Context) error {
	return s.call(ctx, func(ctx context.Context, conn *pgxpool.Conn) error { return conn.Ping(ctx) })
}

// Close ends all calls and closes all connections.
func (s *Store) Close() error {
	s.end()
	s.work.Wait()
	s.pool.Close()
	return nil
}
