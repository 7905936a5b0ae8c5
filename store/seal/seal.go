// Package seal encrypts what is secret in the database: signing secrets and
// custom headers. It is Tink's AES-256-GCM under master keys of the operator's.
package seal

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/aead/aesgcm"
	"github.com/tink-crypto/tink-go/v2/insecuresecretdataaccess"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/secretdata"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// KeySize is the length of a master key in bytes.
const KeySize = 32

// ErrKey is in the chain of every error of Open: no key of the ring opens it.
var ErrKey = errors.New("no master key at hand opens this")

// Keyring seals under its newest master key and opens under any of them. It is
// safe for concurrent use.
type Keyring struct{ aead tink.AEAD }

// GenerateKey makes a master key: KeySize random bytes in standard base64.
func GenerateKey() string {
	var b [KeySize]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails (Go 1.24)
	return base64.StdEncoding.EncodeToString(b[:])
}

// Parse reads master keys: each KeySize bytes in standard base64, newest first,
// separated by commas; space around them is ignored. Its errors never quote a
// key.
func Parse(keys string) (*Keyring, error) {
	manager := keyset.NewManager()
	seen := map[uint32]bool{}
	for i, text := range strings.Split(keys, ",") {
		raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
		if err != nil || len(raw) != KeySize {
			return nil, fmt.Errorf("master key %d is not %d bytes in standard base64; make one with `tellhook keygen`", i+1, KeySize)
		}
		id := keyID(raw)
		if seen[id] {
			return nil, fmt.Errorf("master key %d is given twice", i+1)
		}
		seen[id] = true
		if err := add(manager, raw, id, i == 0); err != nil {
			return nil, fmt.Errorf("master key %d: %w", i+1, err)
		}
	}
	handle, err := manager.Handle()
	if err != nil {
		return nil, fmt.Errorf("master keys: %w", err)
	}
	primitive, err := aead.New(handle)
	if err != nil {
		return nil, fmt.Errorf("master keys: %w", err)
	}
	return &Keyring{aead: primitive}, nil
}

func add(m *keyset.Manager, raw []byte, id uint32, primary bool) error {
	params, err := aesgcm.NewParameters(aesgcm.ParametersOpts{
		KeySizeInBytes: KeySize, IVSizeInBytes: 12, TagSizeInBytes: 16, Variant: aesgcm.VariantTink,
	})
	if err != nil {
		return err
	}
	key, err := aesgcm.NewKey(secretdata.NewBytesFromData(raw, insecuresecretdataaccess.Token{}), id, params)
	if err != nil {
		return err
	}
	keyID, err := m.AddKey(key)
	if err != nil {
		return err
	}
	if primary {
		return m.SetPrimary(keyID)
	}
	return nil
}

// keyID names a key in front of what it sealed, so that the right one opens it.
func keyID(raw []byte) uint32 {
	sum := sha256.Sum256(raw)
	return binary.BigEndian.Uint32(sum[:]) | 1 // zero is not a Tink id
}

// Seal encrypts plain. The same context is needed to open it, so that a sealed
// value moved to another row does not open there.
func (k *Keyring) Seal(plain []byte, context string) ([]byte, error) {
	return k.aead.Encrypt(plain, []byte(context))
}

// Open decrypts what Seal answered; ErrKey where that fails.
func (k *Keyring) Open(sealed []byte, context string) ([]byte, error) {
	plain, err := k.aead.Decrypt(sealed, []byte(context))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return plain, nil
}

// Context binds a webhook's sealed values to its row.
func Context(teamID, webhookID string) string { return teamID + "|" + webhookID }
