package store

import (
	"crypto/rand"
	"crypto/sha256"
	"math/big"
	"slices"
	"time"
)

// Team owns everything else: the tenant.
type Team struct {
	ID         string
	Name       string  // unique, 1 to 100 characters
	ExternalID *string // the host product's own id for it; unique
	CreatedAt  time.Time
}

// DefaultTeam is the name of the team that a fresh database has.
const DefaultTeam = "default"

// Scope is a permission of an API key.
type Scope string

// The scopes.
const (
	ScopeWebhooksRead  Scope = "webhooks:read"
	ScopeWebhooksWrite Scope = "webhooks:write"
	ScopeEventsWrite   Scope = "events:write"
	ScopeKeysWrite     Scope = "keys:write"
	ScopeAdmin         Scope = "admin" // across teams; includes every other scope
)

// TeamScopes are the scopes that reach no further than the key's own team.
func TeamScopes() []Scope {
	return []Scope{ScopeWebhooksRead, ScopeWebhooksWrite, ScopeEventsWrite, ScopeKeysWrite}
}

// Scopes are all scopes.
func Scopes() []Scope { return append(TeamScopes(), ScopeAdmin) }

// APIKey is a credential of a team. The key itself is never stored: only its
// SHA-256 and the first characters.
type APIKey struct {
	ID         string
	TeamID     string
	Name       string
	Prefix     string  // first KeyPrefixLen characters of the key
	Scopes     []Scope // sorted
	Tools      []string
	Hash       [sha256.Size]byte
	ExpiresAt  *time.Time
	LastUsedAt *time.Time // within about a minute
	RevokedAt  *time.Time
	CreatedAt  time.Time
}

// Has tells whether the key grants the scope.
func (k *APIKey) Has(s Scope) bool {
	return slices.Contains(k.Scopes, s) || slices.Contains(k.Scopes, ScopeAdmin)
}

// Usable tells whether the key opens anything at the time now.
func (k *APIKey) Usable(now time.Time) bool {
	return k.RevokedAt == nil && (k.ExpiresAt == nil || now.Before(*k.ExpiresAt))
}

// KeyPatch is a change of a key; nil leaves a field as it is.
type KeyPatch struct {
	Name      *string
	Scopes    *[]Scope
	Tools     *[]string
	ExpiresAt **time.Time
}

// Apply changes k; a revoked key is CodeConflict.
func (p KeyPatch) Apply(k *APIKey) error {
	if k.RevokedAt != nil {
		return Errorf(CodeConflict, "", "key %s is revoked, for good; make a new key", k.ID)
	}
	if p.Name != nil {
		k.Name = *p.Name
	}
	if p.Scopes != nil {
		k.Scopes = slices.Sorted(slices.Values(*p.Scopes))
	}
	if p.Tools != nil {
		k.Tools = *p.Tools
	}
	if p.ExpiresAt != nil {
		k.ExpiresAt = *p.ExpiresAt
	}
	return nil
}

// KeyPrefixLen is how many characters of a key are stored and shown.
const KeyPrefixLen = 12

// NewKeySecret makes the text of an API key: "thk_" and 32 random bytes in
// base62 (43 digits).
func NewKeySecret() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails (Go 1.24)
	digits := new(big.Int).SetBytes(b[:]).Text(62)
	for len(digits) < 43 {
		digits = "0" + digits
	}
	return "thk_" + digits
}

// HashKey is what is stored of a key. The key has 256 random bits, so a plain
// SHA-256 cannot be searched.
func HashKey(secret string) [sha256.Size]byte { return sha256.Sum256([]byte(secret)) }

// KeyPrefix is what is shown of a key.
func KeyPrefix(secret string) string { return secret[:min(KeyPrefixLen, len(secret))] }
