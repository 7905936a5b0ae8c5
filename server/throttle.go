package server

import (
	"crypto/sha256"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limits of failed logins from one address: a burst, then one in six seconds.
const (
	failuresBurst   = 20
	failuresEvery   = 6 * time.Second
	maxAddresses    = 8192
	maxKnownSecrets = 4096
)

// throttle slows down guessing. An address with too many failures is refused
// without a look at the database, unless it shows a secret that has opened the
// door in this process before: a neighbour behind the same proxy stays in.
type throttle struct {
	mu        sync.Mutex
	addresses map[netip.Addr]*rate.Limiter
	known     map[[sha256.Size]byte]struct{}
}

func newThrottle() *throttle {
	return &throttle{
		addresses: map[netip.Addr]*rate.Limiter{},
		known:     map[[sha256.Size]byte]struct{}{},
	}
}

// admit tells whether the address may try the secret, and else when to come back.
func (t *throttle) admit(from netip.Addr, secret string) (retryAfter time.Duration, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	limiter := t.addresses[network(from)]
	if limiter == nil || limiter.Tokens() >= 1 {
		return 0, true
	}
	if _, known := t.known[sha256.Sum256([]byte(secret))]; known {
		return 0, true
	}
	return failuresEvery, false
}

func (t *throttle) failed(from netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	from = network(from)
	limiter := t.addresses[from]
	if limiter == nil {
		t.makeRoom()
		limiter = rate.NewLimiter(rate.Every(failuresEvery), failuresBurst)
		t.addresses[from] = limiter
	}
	limiter.Allow()
}

func (t *throttle) succeeded(secret string) {
	sum := sha256.Sum256([]byte(secret))
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.known[sum]; known {
		return
	}
	if len(t.known) >= maxKnownSecrets {
		clear(t.known)
	}
	t.known[sum] = struct{}{}
}

// makeRoom drops addresses that have recovered, and where all are busy a
// random tenth, so that the map stays bounded.
func (t *throttle) makeRoom() {
	if len(t.addresses) < maxAddresses {
		return
	}
	for from, limiter := range t.addresses {
		if limiter.Tokens() >= failuresBurst {
			delete(t.addresses, from)
		}
	}
	for from := range t.addresses {
		if len(t.addresses) < maxAddresses*9/10 {
			return
		}
		delete(t.addresses, from)
	}
}

// network is what one guesser holds: an IPv4 address or an IPv6 /64.
func network(from netip.Addr) netip.Addr {
	from = from.Unmap().WithZone("")
	if !from.Is6() {
		return from
	}
	prefix, err := from.Prefix(64)
	if err != nil {
		return from
	}
	return prefix.Addr()
}
