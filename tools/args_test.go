package tools

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/tellhook/tellhook/store"
)

func TestParseArgsKeepsBytes(t *testing.T) {
	t.Parallel()
	args, err := ParseArgs([]byte(` { "a" : {"x": 1.0,  "y":"<>"} , "b":12345678901234567890 } `))
	want := Args{"a": json.RawMessage(`{"x": 1.0,  "y":"<>"}`), "b": json.RawMessage(`12345678901234567890`)}
	if diff := cmp.Diff(want, args); err != nil || diff != "" {
		t.Errorf("%v, (-want +got):\n%s", err, diff)
	}
}

func TestDuplicateNames(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"a":1,"b":{"a":1},"c":[{"a":1},{"a":2}]}`: "",
		`{"a":1,"a":2}`:                       "a",
		`{"a":{"b":[{"c":1},{"c":1,"c":2}]}}`: "a.b.c",
		`{"a":"{\"a\":1,\"a\":2}"}`:           "",
		`{"a\"":1,"a\\":2,"a\"":3}`:           `a"`,
		`{"é":1,"\u00e9":2}`:                  "é",
		`[["a","a"],{"x":["a","a"]}]`:         "",
	} {
		if got := duplicateName([]byte(text)); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// FuzzParseArgs compares with a slow, plain reading of the same text by the
// standard library's tokens.
func FuzzParseArgs(f *testing.F) {
	for _, text := range []string{`{"a":1,"a":2}`, `{"a":{"b":[{"c":"x\\\""}]}}`, `[1]`, `null`, `{"\u0061":1,"a":2}`, "{\"\xff\":1}", `{"a":[{},{}],"b":{}}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		args, err := ParseArgs(text)
		if want := utf8.Valid(text) && plainObject(text); (err == nil) != want {
			t.Fatalf("%q: %v, want ok %v", text, err, want)
		}
		if err != nil && store.CodeOf(err) != store.CodeInvalid {
			t.Fatalf("%q: %v", text, err)
		}
		for name, raw := range args {
			if !json.Valid(raw) || !bytes.Contains(text, raw) {
				t.Fatalf("%q: %s is %q", text, name, raw)
			}
		}
	})
}

// plainObject tells whether text is one JSON object without a name twice.
func plainObject(text []byte) bool {
	if !json.Valid(text) || bytes.TrimLeft(text, " \t\r\n")[0] != '{' {
		return false
	}
	d := json.NewDecoder(bytes.NewReader(text))
	type level struct {
		names map[string]bool
		key   bool // a name comes next
	}
	var open []*level
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return true
		}
		if err != nil {
			return !strings.Contains(err.Error(), "invalid") // too large a number is not our matter
		}
		var top *level
		if len(open) > 0 {
			top = open[len(open)-1]
		}
		switch token {
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
			continue
		}
		if top != nil && top.names != nil {
			if name, ok := token.(string); ok && top.key {
				if top.names[name] {
					return false
				}
				top.names[name], top.key = true, false
				continue
			}
			top.key = true
		}
		switch token {
		case json.Delim('{'):
			open = append(open, &level{names: map[string]bool{}, key: true})
		case json.Delim('['):
			open = append(open, &level{})
		}
	}
}

// FuzzDecode throws arguments at the widest input of the table: no panic, and
// every refusal is CodeInvalid with a message.
func FuzzDecode(f *testing.F) {
	f.Add("url", []byte(`"https://example.com"`))
	f.Add("events", []byte(`["scan",null,1e5]`))
	f.Add("filter", []byte(`{"a":{"b":[1e400]}}`))
	f.Add("metadata", []byte(`{"a":"\u0000","":1}`))
	f.Add("status", []byte(`null`))
	f.Add("idempotency_key", []byte(`"\ud800"`))
	for _, o := range known() {
		if o.Name == "create_webhook" {
			f.Fuzz(func(t *testing.T, name string, raw []byte) {
				if !json.Valid(raw) || !utf8.Valid(raw) || !utf8.ValidString(name) {
					t.Skip()
				}
				args := Args{"url": json.RawMessage(`"https://example.com"`), "events": json.RawMessage(`["scan"]`)}
				args[name] = raw
				var in createWebhookIn
				err := decode(o.fields, args, reflect.ValueOf(&in).Elem())
				if err != nil && (store.CodeOf(err) != store.CodeInvalid || len(err.Error()) < 10) {
					t.Fatalf("%s = %s: %v", name, raw, err)
				}
			})
		}
	}
}

func TestDidYouMean(t *testing.T) {
	t.Parallel()
	known := []string{"scan", "scan.created", "form_submit"}
	for name, want := range map[string]string{
		"scna": "scan", "scan_created": "scan.created", "form-submit": "form_submit", "qqqqqqqq": "", strings.Repeat("x", 1<<16): "",
	} {
		got := didYouMean(name, known)
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%.20s: %q", name, got)
		}
	}
}
