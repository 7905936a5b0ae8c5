package seal

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

func ring(t *testing.T, keys ...string) *Keyring {
	t.Helper()
	k, err := Parse(strings.Join(keys, ", "))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestSealAndOpen(t *testing.T) {
	older, newer := GenerateKey(), GenerateKey()
	plain := []byte("whsec_secret")
	sealed, err := ring(t, older).Seal(plain, Context("team_a", "whk_1"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, plain) {
		t.Error("sealed text shows the secret")
	}
	if got, err := ring(t, newer, older).Open(sealed, Context("team_a", "whk_1")); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("after a rotation: %q, %v", got, err)
	}
	if _, err := ring(t, newer).Open(sealed, Context("team_a", "whk_1")); !errors.Is(err, ErrKey) {
		t.Errorf("another key opened it, or a wrong error: %v", err)
	}
	if _, err := ring(t, older).Open(sealed, Context("team_b", "whk_1")); !errors.Is(err, ErrKey) {
		t.Errorf("it opened in another team's row: %v", err)
	}
	again, err := ring(t, newer, older).Seal(plain, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ring(t, newer).Open(again, ""); err != nil {
		t.Errorf("the newest key does not seal: %v", err)
	}
}

func TestParseRefuses(t *testing.T) {
	good := GenerateKey()
	short := base64.StdEncoding.EncodeToString(make([]byte, KeySize-1))
	for _, keys := range []string{"", ",", "not base64!", short, good + "," + good, good + ","} {
		if _, err := Parse(keys); err == nil {
			t.Errorf("Parse took %q", keys)
		} else if strings.Contains(err.Error(), good) {
			t.Errorf("the error quotes a key: %v", err)
		}
	}
}
