package dispatcher

import (
	"crypto/rand"
	"encoding/base64"
	"strings"

	"github.com/tellhook/tellhook/store"
)

// Sizes of signing secrets: Standard Webhooks asks for 24 to 64 bytes.
const (
	secretPrefix   = "whsec_"
	newSecretBytes = 32
	minSecretBytes = 24
	maxSecretBytes = 64
	minSecretText  = 8
	maxSecretText  = 256
)

// NewSecret makes a signing secret: "whsec_" and 32 random bytes in base64.
func NewSecret() string {
	var b [newSecretBytes]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails (Go 1.24)
	return secretPrefix + base64.StdEncoding.EncodeToString(b[:])
}

// CheckSecret judges a secret that an owner brings along: "whsec_" and the
// standard base64 of 24 to 64 bytes, or else 8 to 256 printable ASCII
// characters without space at either end. The error (CodeInvalid, field
// "secret") never quotes the secret.
func CheckSecret(secret string) error {
	if strings.HasPrefix(secret, secretPrefix) {
		if key, ok := decodeSecret(secret); !ok || len(key) < minSecretBytes || len(key) > maxSecretBytes {
			return store.Errorf(store.CodeInvalid, "secret",
				"secret: what follows %q is not the standard base64 of %d to %d bytes; copy the secret whole, or leave it out and one is made for you",
				secretPrefix, minSecretBytes, maxSecretBytes)
		}
		return nil
	}
	if len(secret) < minSecretText || len(secret) > maxSecretText {
		return store.Errorf(store.CodeInvalid, "secret",
			"secret: %d bytes came, expected %d to %d printable ASCII characters, or %q and the base64 of %d to %d bytes; leave it out and one is made for you",
			len(secret), minSecretText, maxSecretText, secretPrefix, minSecretBytes, maxSecretBytes)
	}
	unprintable := strings.ContainsFunc(secret, func(r rune) bool { return r < ' ' || r > '~' })
	if unprintable || strings.TrimSpace(secret) != secret {
		return store.Errorf(store.CodeInvalid, "secret",
			"secret: only printable ASCII characters are accepted, without space at either end; leave it out and one is made for you")
	}
	return nil
}

func decodeSecret(secret string) (key []byte, ok bool) {
	encoded, ok := strings.CutPrefix(secret, secretPrefix)
	if !ok {
		return nil, false
	}
	key, err := base64.StdEncoding.Strict().DecodeString(encoded)
	return key, err == nil && len(key) > 0 && !strings.ContainsAny(encoded, "\r\n")
}
