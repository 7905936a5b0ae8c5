package dispatcher

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/tellhook/tellhook/store"
)

const (
	testSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" // the published example of Standard Webhooks
	testBody   = `{"test": 2432232314}`
	testID     = "msg_p5jXN8AQM9LWM0D4loKWxJek"
)

func sign(t *testing.T, at time.Time, secrets ...store.Secret) http.Header {
	t.Helper()
	h := http.Header{}
	if err := Sign(h, DefaultSignatureHeader, secrets, testID, at, []byte(testBody)); err != nil {
		t.Fatal(err)
	}
	return h
}

// raw reads a header under its exact name, as it goes on the wire.
func raw(h http.Header, name string) string { return strings.Join(h[name], "|") }

// canonical is what a receiver's net/http makes of a header.
func canonical(h http.Header) http.Header {
	c := http.Header{}
	for name, values := range h {
		c[http.CanonicalHeaderKey(name)] = values
	}
	return c
}

// The vectors are the published one of Standard Webhooks and openssl's:
// openssl dgst -sha256 -hmac SECRET.
func TestSignVectors(t *testing.T) {
	for secret, want := range map[string][2]string{
		testSecret: {
			"", // below, over a body of ours
			"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
		},
		"plain secret!": {
			"73b50b6d0794f9cdbf155da2b186feb237963ca85fc55d70388cf24b8027cf2b",
			"v1,A2M6rZR8mZ8bwkLKpucEi+cOw3bcY/1eUOHNzDb9Y6A=",
		},
	} {
		h := sign(t, time.Unix(1614265330, 0), store.Secret{Value: secret})
		if got := raw(h, "webhook-signature"); got != want[1] {
			t.Errorf("webhook-signature = %s, want %s", got, want[1])
		}
		if got := raw(h, DefaultSignatureHeader); want[0] != "" && got != want[0] {
			t.Errorf("%s = %s, want %s", DefaultSignatureHeader, got, want[0])
		}
		if raw(h, "webhook-id") != testID || raw(h, "webhook-timestamp") != "1614265330" {
			t.Errorf("id and timestamp: %v", h)
		}
	}
	body := `{"event":"test","event_id":"evt_1","timestamp":"2026-02-09T14:30:00.000Z","data":{"a":1}}`
	if got, want := SignPlain(testSecret, []byte(body)), "2325209246b1e7941e46d16b4fdf90ea233de28fd1ebb25d450f83237cd26cce"; got != want {
		t.Errorf("SignPlain = %s, want %s", got, want)
	}
}

func TestVerify(t *testing.T) {
	now := time.Now()
	for _, secret := range []string{testSecret, NewSecret(), "brought along"} {
		h := canonical(sign(t, now, store.Secret{Value: secret}))
		if err := Verify(secret, h, []byte(testBody)); err != nil {
			t.Errorf("%s: %v", secret, err)
		}
		plain := h.Get(DefaultSignatureHeader)
		if err := VerifyPlain(secret, plain, []byte(testBody)); err != nil {
			t.Errorf("%s, plain: %v", secret, err)
		}
		for name, err := range map[string]error{
			"another body":              Verify(secret, h, []byte(testBody+" ")),
			"another secret":            Verify(secret+"x", h, []byte(testBody)),
			"no headers":                Verify(secret, http.Header{}, []byte(testBody)),
			"another id":                Verify(secret, with(h, "Webhook-Id", "evt_2"), []byte(testBody)),
			"another time":              Verify(secret, with(h, "Webhook-Timestamp", "1"), []byte(testBody)),
			"an old one":                Verify(secret, canonical(sign(t, now.Add(-6*time.Minute), store.Secret{Value: secret})), []byte(testBody)),
			"one of the future":         Verify(secret, canonical(sign(t, now.Add(6*time.Minute), store.Secret{Value: secret})), []byte(testBody)),
			"plain, another body":       VerifyPlain(secret, plain, []byte(testBody+" ")),
			"plain, cut":                VerifyPlain(secret, plain[:10], []byte(testBody)),
			"plain, nothing":            VerifyPlain(secret, "", []byte(testBody)),
			"plain, of another secret":  VerifyPlain(secret+"x", plain, []byte(testBody)),
			"plain, no hex":             VerifyPlain(secret, "zz", []byte(testBody)),
			"standard, in plain header": VerifyPlain(secret, h.Get("webhook-signature"), []byte(testBody)),
		} {
			if !errors.Is(err, ErrSignature) {
				t.Errorf("%s: %v, want ErrSignature", name, err)
			}
		}
	}
}

func with(h http.Header, name, value string) http.Header {
	h = h.Clone()
	h.Set(name, value)
	return h
}

func TestSignDuringRotation(t *testing.T) {
	now := time.Now()
	end := now.Add(time.Hour)
	newer, older := NewSecret(), NewSecret()
	secrets := []store.Secret{{Value: newer}, {Value: older, ExpiresAt: &end}}

	h := sign(t, now, secrets...)
	if got := raw(h, DefaultSignatureHeader); got != SignPlain(older, []byte(testBody)) {
		t.Error("during the overlap the plain header is not the old secret's")
	}
	for _, secret := range []string{newer, older} {
		official, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			t.Fatal(err)
		}
		if err := official.Verify([]byte(testBody), canonical(h)); err != nil {
			t.Errorf("the official library refuses one of two signatures: %v", err)
		}
	}

	h = sign(t, end, secrets...)
	if got := raw(h, DefaultSignatureHeader); got != SignPlain(newer, []byte(testBody)) {
		t.Error("after the overlap the plain header is not the new secret's")
	}
	if got := raw(h, "webhook-signature"); strings.Contains(got, " ") {
		t.Errorf("after the overlap both signatures are sent: %s", got)
	}

	if err := Sign(http.Header{}, DefaultSignatureHeader, nil, testID, now, nil); !errors.Is(err, errNoSecret) {
		t.Errorf("without a secret: %v", err)
	}
}

func TestCheckSecret(t *testing.T) {
	for secret, ok := range map[string]bool{
		NewSecret(): true,
		testSecret:  true,
		"whsec_" + strings.Repeat("A", 84) + "AA==": true,  // 64 bytes
		"whsec_" + strings.Repeat("A", 88):          false, // 66 bytes
		"whsec_" + strings.Repeat("A", 28):          false, // 21 bytes
		"whsec_not base64, not base64, not":         false,
		"whsec_":                                    false,
		"12345678":                                  true,
		"a passphrase of some words":                true,
		"1234567":                                   false,
		strings.Repeat("x", 256):                    true,
		strings.Repeat("x", 257):                    false,
		" 12345678":                                 false,
		"pässwörter":                                false,
		"line\nbreak":                               false,
		"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n":  false,
		"": false,
	} {
		err := CheckSecret(secret)
		var e *store.Error
		if ok != (err == nil) || (err != nil && (!errors.As(err, &e) || e.Code != store.CodeInvalid || e.Field != "secret")) {
			t.Errorf("%q: %v", secret, err)
		}
		if err != nil && len(secret) > 6 && strings.Contains(err.Error(), secret) {
			t.Errorf("the error quotes the secret: %v", err)
		}
	}
	if one, other := NewSecret(), NewSecret(); one == other {
		t.Error("two secrets are the same")
	}
}

func FuzzVerify(f *testing.F) {
	f.Add(testSecret, "evt_1", "1614265330", "v1,AAAA v1a,BBBB", "{}")
	f.Add("plain", "", "-1", ",", "")
	f.Fuzz(func(t *testing.T, secret, id, stamp, signature, body string) {
		h := http.Header{"Webhook-Id": {id}, "Webhook-Timestamp": {stamp}, "Webhook-Signature": {signature}}
		if Verify(secret, h, []byte(body)) == nil {
			t.Fatal("a made-up signature holds")
		}
		now := time.Now()
		own := http.Header{}
		if err := Sign(own, "X-Plain", []store.Secret{{Value: secret}}, "evt_1", now, []byte(body)); err != nil {
			t.Fatal(err)
		}
		if err := Verify(secret, canonical(own), []byte(body)); err != nil {
			t.Fatal(err)
		}
		if err := VerifyPlain(secret, raw(own, "X-Plain"), []byte(body)); err != nil {
			t.Fatal(err)
		}
	})
}
