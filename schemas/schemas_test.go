package schemas_test

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/tellhook/tellhook/schemas"
	"github.com/tellhook/tellhook/store"
)

// compile compiles as strictly as a careful consumer would.
func compile(t *testing.T, schema []byte) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("urn:test", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("urn:test")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func decode(t *testing.T, text []byte) any {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// required repeats the contract's bold fields.
var required = map[string][]string{
	"scan": {"qr_code_id"}, "first_scan": {"qr_code_id"},
	"form_submit":   {"landing_page_id", "fields"},
	"file_download": {"shared_file_id"},
	"scan.created":  {"node_slug", "node_id"}, "scan.redirect": {"node_slug", "node_id"},
	"scan.vcard_download": {"node_slug", "node_id"}, "scan.blocked": {"node_slug", "node_id"},
	"test": {"test"},
}

func TestEvents(t *testing.T) {
	t.Parallel()
	for _, e := range schemas.Events() {
		t.Run(e.Name, func(t *testing.T) {
			t.Parallel()
			s := compile(t, e.Schema)
			if err := s.Validate(decode(t, e.Example)); err != nil {
				t.Errorf("own example: %v", err)
			}
			if e.Title == "" || !strings.HasSuffix(e.Description, ".") {
				t.Errorf("title %q, description %q", e.Title, e.Description)
			}
			if want := e.Name == store.TypeTest || store.Operational(e.Name); e.Reserved != want {
				t.Errorf("Reserved = %v, want %v", e.Reserved, want)
			}
			if want, ok := required[e.Name]; ok {
				if diff := cmp.Diff(want, s.Required); diff != "" {
					t.Errorf("required fields (-want +got):\n%s", diff)
				}
			}
			checkFields(t, e, s)
		})
	}
}

// checkFields takes each field away, and sets it to null: that must matter for
// required fields alone. A field more must not matter.
func checkFields(t *testing.T, e schemas.EventType, s *jsonschema.Schema) {
	t.Helper()
	with := func(change func(map[string]any)) error {
		data := decode(t, e.Example).(map[string]any)
		change(data)
		return s.Validate(data)
	}
	for name := range s.Properties {
		must := slices.Contains(s.Required, name)
		if err := with(func(d map[string]any) { delete(d, name) }); (err != nil) != must {
			t.Errorf("without %s: %v, required %v", name, err, must)
		}
		if err := with(func(d map[string]any) { d[name] = nil }); (err != nil) != must {
			t.Errorf("%s null: %v, required %v", name, err, must)
		}
		if err := with(func(d map[string]any) { d[name] = []any{} }); err == nil {
			t.Errorf("%s takes an array", name)
		}
	}
	if err := with(func(d map[string]any) { d["one_more"] = "x" }); err != nil {
		t.Errorf("a field more: %v", err)
	}
}

func TestEventsCoverTheFolder(t *testing.T) {
	t.Parallel()
	files, err := os.ReadDir("events")
	if err != nil {
		t.Fatal(err)
	}
	if got := len(schemas.Events()); got != len(files) {
		t.Errorf("%d types for %d files in events/", got, len(files))
	}
}

func TestDeliveryFitsTheWire(t *testing.T) {
	t.Parallel()
	s := compile(t, schemas.Delivery())
	for _, e := range schemas.Events() {
		var data bytes.Buffer
		if err := json.Compact(&data, e.Example); err != nil {
			t.Fatal(err)
		}
		event := store.Event{ID: store.NewID(store.PrefixEvent), Type: e.Name, Data: data.Bytes()}
		if err := s.Validate(decode(t, event.Body())); err != nil {
			t.Errorf("%s: %v", e.Name, err)
		}
	}
	if err := s.Validate(map[string]any{"event": "scan"}); err == nil {
		t.Error("an envelope without data fits")
	}
}
