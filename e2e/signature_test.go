package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"strings"
	"testing"
	"time"
)

func mac(key, message []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(message)
	return h.Sum(nil)
}

// checkSigned recomputes both signatures of a hit from the contract's words.
func checkSigned(t *testing.T, h hit, secret, plainHeader string) {
	t.Helper()
	if got, want := h.header.Get(plainHeader), hex.EncodeToString(mac([]byte(secret), h.body)); got != want {
		t.Errorf("%s: got %q, want %q", plainHeader, got, want)
	}

	key := []byte(secret)
	if encoded, ok := strings.CutPrefix(secret, "whsec_"); ok {
		var err error
		if key, err = base64.StdEncoding.DecodeString(encoded); err != nil {
			t.Fatalf("secret is not whsec_ and base64: %v", err)
		}
	}
	id, stamp := h.header.Get("webhook-id"), h.header.Get("webhook-timestamp")
	signed := append([]byte(id+"."+stamp+"."), h.body...)
	if got, want := h.header.Get("webhook-signature"), "v1,"+base64.StdEncoding.EncodeToString(mac(key, signed)); got != want {
		t.Errorf("webhook-signature: got %q, want %q", got, want)
	}
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || h.at.Sub(time.Unix(seconds, 0)).Abs() > 5*time.Second {
		t.Errorf("webhook-timestamp: got %q at %v, want the unix seconds of the attempt", stamp, h.at)
	}
	if id != h.event.EventID || id == "" {
		t.Errorf("webhook-id: got %q, want the event_id %q", id, h.event.EventID)
	}
}
