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
	addresses map[netip.Addr]*guesser
	known     map[[sha256.Size]byte]struct{}
}

// guesser is an address that has failed. The same wrong secret again is no new
// guess: a client with a revoked key hears 401, however often it asks, and does
// not shut out its neighbours.
type guesser struct {
	*rate.Limiter
	tried map[[sha256.Size]byte]struct{}
}

func newThrottle() *throttle {
	return &throttle{
		addresses: map[netip.Addr]*guesser{},
		known:     map[[sha256.Size]byte]struct{}{},
	}
}

// admit tells whether the address may try the secret, and else when to come back.
func (t *throttle) admit(from netip.Addr, secret string) (retryAfter time.Duration, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.addresses[network(from)]
	if g == nil || g.Tokens() >= 1 {
		return 0, true
	}
	sum := sha256.Sum256([]byte(secret))
	_, known := t.known[sum]
	_, tried := g.tried[sum]
	if known || tried {
		return 0, true
	}
	return failuresEvery, false
}

func (t *throttle) failed(from netip.Addr, secret string) {
	sum := sha256.Sum256([]byte(secret))
	t.mu.Lock()
	defer t.mu.Unlock()
	from = network(from)
	g := t.addresses[from]
	if g == nil {
		t.makeRoom()
		g = &guesser{rate.NewLimiter(rate.Every(failuresEvery), failuresBurst), map[[sha256.Size]byte]struct{}{}}
		t.addresses[from] = g
	}
	if _, again := g.tried[sum]; again {
		return
	}
	g.Allow()
	if len(g.tried) >= failuresBurst {
		clear(g.tried)
	}
	g.tried[sum] = struct{}{}
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
	for from, g := range t.addresses {
		if g.Tokens() >= failuresBurst {
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
