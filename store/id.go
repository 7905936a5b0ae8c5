package store

import (
	"encoding/base32"
	"strings"

	"github.com/google/uuid"
)

// Prefixes of the ids. The part behind the prefix orders by time of creation.
const (
	PrefixWebhook  = "whk_"
	PrefixEvent    = "evt_"
	PrefixDelivery = "dlv_"
	PrefixAttempt  = "att_"
	PrefixKey      = "key_"
	PrefixTeam     = "team_"
)

// base32hex keeps the order of the bytes, unlike base64.
var idEncoding = base32.HexEncoding.WithPadding(base32.NoPadding)

// NewID makes an id: the prefix and 26 lower-case characters that hold a
// UUIDv7 (RFC 9562 section 5.7), so ids made later sort later.
func NewID(prefix string) string {
	u := uuid.Must(uuid.NewV7())
	return prefix + strings.ToLower(idEncoding.EncodeToString(u[:]))
}
