package tools

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/singleflight"

	"github.com/tellhook/tellhook/store"
)

const (
	// keyTTL is how long a key's state is trusted, unknown keys included. A
	// revoked key must fail within a second on every process, the time of the
	// look-up included.
	keyTTL = 750 * time.Millisecond
	// keyCacheSize bounds the memory that made-up keys can take, in entries.
	keyCacheSize = 10_000
	// touchEvery is how precise a key's last use is.
	touchEvery = time.Minute
	// lookupTimeout bounds a look-up that several requests wait for.
	lookupTimeout = 5 * time.Second
)

// Authenticate answers the caller behind an API key. A key that is missing,
// malformed, unknown, revoked or expired is CodeUnauthenticated, in the same
// words for the latter four.
func (t *Tools) Authenticate(ctx context.Context, key string) (*Caller, error) {
	if key == "" {
		return nil, errNoKey()
	}
	return t.keys.caller(ctx, key)
}

func errNoKey() error {
	return store.Errorf(store.CodeUnauthenticated, "",
		"no API key; send it as Authorization: Bearer thk_…. The operator makes one with: tellhook keys create")
}

func errBadKey() error {
	return store.Errorf(store.CodeUnauthenticated, "",
		"this API key is unknown, revoked or expired; send a valid one as Authorization: Bearer thk_…")
}

// keyCache looks keys up, each at most once in keyTTL whatever the number of
// requests, and writes their last use in the background.
type keyCache struct {
	store   store.Store
	log     zerolog.Logger
	lookups singleflight.Group

	mu      sync.Mutex
	entries map[[sha256.Size]byte]keyEntry
	touched map[string]time.Time // by key id: last use that was or will be written
	pending map[string]time.Time // uses still to be written
	writing bool
	writers sync.WaitGroup
}

type keyEntry struct {
	key  *store.APIKey // nil: unknown
	team store.Team
	at   time.Time // when the look-up began
}

func newKeyCache(s store.Store, log zerolog.Logger) *keyCache {
	return &keyCache{
		store: s, log: log,
		entries: map[[sha256.Size]byte]keyEntry{},
		touched: map[string]time.Time{},
		pending: map[string]time.Time{},
	}
}

func (k *keyCache) caller(ctx context.Context, secret string) (*Caller, error) {
	if !wellFormed(secret) {
		return nil, errBadKey()
	}
	e, err := k.entry(ctx, store.HashKey(secret))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	if e.key == nil || !e.key.Usable(now) {
		return nil, errBadKey()
	}
	k.touch(e.key.ID, now)
	return &Caller{
		Team: e.team, KeyID: e.key.ID, KeyName: e.key.Name, KeyPrefix: e.key.Prefix,
		Scopes: e.key.Scopes, Tools: e.key.Tools,
	}, nil
}

// wellFormed spares the database what cannot be a key.
func wellFormed(secret string) bool {
	if len(secret) != len("thk_")+43 || secret[:4] != "thk_" {
		return false
	}
	for _, c := range []byte(secret[4:]) {
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z') {
			return false
		}
	}
	return true
}

func (k *keyCache) entry(ctx context.Context, hash [sha256.Size]byte) (keyEntry, error) {
	k.mu.Lock()
	e, ok := k.entries[hash]
	k.mu.Unlock()
	if ok && time.Since(e.at) < keyTTL {
		return e, nil
	}
	// The first of those who wait may go away: the look-up outlives its request.
	answer := k.lookups.DoChan(hex.EncodeToString(hash[:]), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookupTimeout)
		defer cancel()
		return k.lookup(ctx, hash)
	})
	select {
	case r := <-answer:
		if r.Err != nil {
			return keyEntry{}, r.Err
		}
		e, _ := r.Val.(keyEntry) // lookup answers nothing else
		return e, nil
	case <-ctx.Done():
		return keyEntry{}, &store.Error{Code: store.CodeUnavailable, Message: "the API key could not be checked in time; try again", Err: ctx.Err()}
	}
}

func (k *keyCache) lookup(ctx context.Context, hash [sha256.Size]byte) (keyEntry, error) {
	e := keyEntry{at: time.Now()}
	key, err := k.store.AuthenticateKey(ctx, hash)
	var team *store.Team
	if err == nil {
		team, err = k.store.FindTeam(ctx, key.TeamID)
	}
	switch {
	case err == nil:
		e.key, e.team = key, *team
	case store.CodeOf(err) != store.CodeNotFound: // unknown keys and lost teams stay nil
		return e, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.entries) >= keyCacheSize {
		clear(k.entries) // a second of look-ups is cheaper than an eviction list
	}
	k.entries[hash] = e
	return e, nil
}

// touch notes a use, and writes it where the last one written is a minute old.
func (k *keyCache) touch(keyID string, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now.Sub(k.touched[keyID]) < touchEvery {
		return
	}
	if len(k.touched) >= keyCacheSize {
		clear(k.touched)
	}
	k.touched[keyID], k.pending[keyID] = now, now
	if !k.writing {
		k.writing = true
		k.writers.Go(k.write)
	}
}

// write writes the pending uses, those that come meanwhile too.
func (k *keyCache) write() {
	for {
		k.mu.Lock()
		used := k.pending
		k.pending = map[string]time.Time{}
		k.writing = len(used) > 0
		k.mu.Unlock()
		if len(used) == 0 {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
		err := k.store.TouchKeys(ctx, used)
		cancel()
		if err != nil && !errors.Is(err, context.Canceled) {
			k.log.Warn().Err(err).Int("keys", len(used)).Msg("last use of keys not written")
		}
	}
}

func (k *keyCache) close() { k.writers.Wait() }
