package store

import (
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		pattern, eventType string
		want               bool
	}{
		{"scan", "scan", true},
		{"scan", "scan.created", false},
		{"scan.*", "scan.created", true},
		{"scan.*", "scan", false},
		{"scan.*", "scanner.created", false},
		{"*", "scan", true},
		{"*", "first_scan", true},
		{"*", TypeTest, false},
		{"*", TypeWebhookFailing, false},
		{"*", TypeDeliveryFailed, false},
		{"webhook.*", TypeWebhookFailing, true},
		{TypeTest, TypeTest, true},
	} {
		if got := Covers(c.pattern, c.eventType); got != c.want {
			t.Errorf("Covers(%q, %q) = %v, want %v", c.pattern, c.eventType, got, c.want)
		}
	}
}

func TestFilterMismatch(t *testing.T) {
	data := `{"country":"CH","n":42,"big":12345678901234567890,"ok":true,"nothing":null,
		"fields":{"email":"a@b.c","deep":{"x":1}},"a.b":"dotted","list":["CH"]}`
	for _, c := range []struct {
		name, filter, want string
	}{
		{"none", `{}`, ""},
		{"equal", `{"country":"CH"}`, ""},
		{"other", `{"country":"DE"}`, "country"},
		{"one of", `{"country":["DE","CH"]}`, ""},
		{"none of", `{"country":["DE","FR"]}`, "country"},
		{"empty list", `{"country":[]}`, "country"},
		{"all must match", `{"country":"CH","n":41}`, "n"},
		{"first by name", `{"n":41,"country":"DE"}`, "country"},
		{"missing", `{"city":"Zurich"}`, "city"},
		{"missing is not null", `{"city":null}`, "city"},
		{"null", `{"nothing":null}`, ""},
		{"string is not number", `{"n":"42"}`, "n"},
		{"number is not string", `{"country":1}`, "country"},
		{"bool is not string", `{"ok":"true"}`, "ok"},
		{"bool", `{"ok":true}`, ""},
		{"same number, other text", `{"n":4.20e1}`, ""},
		{"beyond float64", `{"big":12345678901234567891}`, "big"},
		{"beyond float64, equal", `{"big":12345678901234567890}`, ""},
		{"huge exponent", `{"n":1e99999999999999999999}`, "n"},
		{"nested", `{"fields.email":"a@b.c"}`, ""},
		{"nested twice", `{"fields.deep.x":1}`, ""},
		{"through a scalar", `{"country.x":"CH"}`, "country.x"},
		{"name with a dot", `{"a.b":"dotted"}`, ""},
		{"list never equals", `{"list":"CH"}`, "list"},
		{"object never equals", `{"fields":"x"}`, "fields"},
	} {
		var f Filter
		if err := json.Unmarshal([]byte(c.filter), &f); err != nil {
			t.Fatal(err)
		}
		if got := f.Mismatch(DecodeData([]byte(data))); got != c.want {
			t.Errorf("%s: Mismatch = %q, want %q", c.name, got, c.want)
		}
	}
	if (Filter{"a": json.RawMessage(`1`)}).Mismatch(DecodeData([]byte(`[1]`))) != "a" {
		t.Error("data that is no object matched a filter")
	}
}

func TestWantsDecodesOnlyForFilters(t *testing.T) {
	plain := &Webhook{Events: []string{"scan"}}
	if !plain.Wants("scan", func() map[string]any { t.Error("decoded without need"); return nil }) {
		t.Error("a webhook without a filter refused its type")
	}
	filtered := &Webhook{Events: []string{"scan"}, Filter: Filter{"n": json.RawMessage(`1`)}}
	data := func() map[string]any { return DecodeData([]byte(`{"n":2}`)) }
	if filtered.Wants("scan", data) {
		t.Error("a filter that does not match let an event through")
	}
}

// Numbers are equal when they denote the same value, however written.
func TestCanonicalNumber(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		digits := rapid.StringMatching(`[1-9][0-9]{0,25}`).Draw(t, "digits")
		zeros := rapid.IntRange(0, 5).Draw(t, "zeros")
		sign := rapid.SampledFrom([]string{"", "-"}).Draw(t, "sign")
		want := canonicalNumber(sign + digits)
		for _, form := range []string{
			sign + digits + "." + strings.Repeat("0", zeros+1),
			sign + digits + "e0",
			sign + digits + strings.Repeat("0", zeros) + "E-" + string(rune('0'+zeros)),
		} {
			if got := canonicalNumber(form); got != want {
				t.Fatalf("canonicalNumber(%s) = %s, of %s = %s", form, got, sign+digits, want)
			}
		}
		if other := canonicalNumber(sign + digits + "1"); other == want {
			t.Fatalf("%s1 and %s have the same canonical form", digits, digits)
		}
	})
	for _, zero := range []string{"0", "-0", "0.000", "0e5", "-0.0E-3"} {
		if got := canonicalNumber(zero); got != "0" {
			t.Errorf("canonicalNumber(%s) = %s", zero, got)
		}
	}
}

func TestFirstScanKey(t *testing.T) {
	for _, c := range []struct {
		eventType, data, want string
		ok                    bool
	}{
		{"scan", `{"qr_code_id":42}`, "42e0", true},
		{"scan", `{"qr_code_id":42.0}`, "42e0", true},
		{"scan", `{"qr_code_id":"42"}`, `"42"`, true},
		{"first_scan", `{"qr_code_id":"x"}`, `"x"`, true},
		{"scan.created", `{"qr_code_id":42}`, "", false},
		{"scan", `{}`, "", false},
		{"scan", `{"qr_code_id":null}`, "", false},
	} {
		if got, ok := FirstScanKey(c.eventType, []byte(c.data)); got != c.want || ok != c.ok {
			t.Errorf("FirstScanKey(%s, %s) = %q, %v; want %q, %v", c.eventType, c.data, got, ok, c.want, c.ok)
		}
	}
}
