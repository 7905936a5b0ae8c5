package dispatcher

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/tellhook/tellhook/store"
)

// DefaultSignatureHeader is the name of the plain signature's header where the
// operator chose none.
const DefaultSignatureHeader = "X-Webhook-Signature"

// ErrSignature is in the chain of every error of Verify and VerifyPlain.
var ErrSignature = errors.New("the webhook's signature does not hold")

var errNoSecret = errors.New("the webhook has no signing secret in force")

// Sign writes the four signature headers of one attempt: the plain one under
// the name signatureHeader, and the trio of Standard Webhooks. secrets are
// those of the webhook, newest first; expired ones are passed over. While a
// rotation's overlap lasts, the trio carries a signature of each secret and the
// plain header stays on the old one.
func Sign(h http.Header, signatureHeader string, secrets []store.Secret, eventID string, at time.Time, body []byte) error {
	live := slices.DeleteFunc(slices.Clone(secrets), func(s store.Secret) bool {
		return s.ExpiresAt != nil && !at.Before(*s.ExpiresAt)
	})
	if len(live) == 0 {
		return errNoSecret
	}
	signatures := make([]string, len(live))
	for i, s := range live {
		signature, err := standard(s.Value).Sign(eventID, at, body)
		if err != nil {
			return err
		}
		signatures[i] = signature
	}
	// The map is written to directly to keep the names' case on the wire.
	h[signatureHeader] = []string{SignPlain(live[len(live)-1].Value, body)}
	h[standardwebhooks.HeaderWebhookID] = []string{eventID}
	h[standardwebhooks.HeaderWebhookTimestamp] = []string{strconv.FormatInt(at.Unix(), 10)}
	h[standardwebhooks.HeaderWebhookSignature] = []string{strings.Join(signatures, " ")}
	return nil
}

// SignPlain is the plain signature: the lower-case hex HMAC-SHA256 of the body,
// keyed with the secret's text as its owner sees it.
func SignPlain(secret string, body []byte) string {
	return hex.EncodeToString(plainMAC(secret, body))
}

// Verify is for receivers: it checks the Standard Webhooks headers of a
// delivery (webhook-id, webhook-timestamp, webhook-signature) against the raw
// body, in constant time. A timestamp more than five minutes off is refused, so
// an old request cannot be replayed. The error's chain holds ErrSignature.
func Verify(secret string, header http.Header, body []byte) error {
	if err := standard(secret).Verify(body, header); err != nil {
		return errors.Join(ErrSignature, err)
	}
	return nil
}

// VerifyPlain is for receivers that read the plain header alone: it checks its
// value against the raw body, in constant time. Nothing in it tells an old
// request from a new one: prefer Verify.
func VerifyPlain(secret, signature string, body []byte) error {
	mac, err := hex.DecodeString(signature)
	if err != nil || !hmac.Equal(mac, plainMAC(secret, body)) {
		return ErrSignature
	}
	return nil
}

func plainMAC(secret string, body []byte) []byte {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	return mac.Sum(nil)
}

// standard keys the scheme of Standard Webhooks: with what follows "whsec_",
// decoded, or with the bytes of a secret of another form.
func standard(secret string) *standardwebhooks.Webhook {
	key, ok := decodeSecret(secret)
	if !ok {
		key = []byte(secret)
	}
	signer, _ := standardwebhooks.NewWebhookRaw(key) // has no way to fail
	return signer
}
