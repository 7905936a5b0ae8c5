package tools

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/tellhook/tellhook/store"
)

// field is one argument of an operation.
type field struct {
	name     string
	in       string // where it sits on REST: "path", "query", "header", or "" for the body
	index    []int  // in the input struct
	required bool
	verbatim bool // kept byte for byte; only its kind is checked here
	schema   *huma.Schema
	check    *jsonschema.Schema
	fallback json.RawMessage // the default tag, or nil
}

// fieldsOf lists the arguments in the order of the struct's fields.
func fieldsOf(t reflect.Type, s *huma.Schema) []field {
	var fields []field
	for _, sf := range reflect.VisibleFields(t) {
		if sf.Anonymous || !sf.IsExported() {
			continue
		}
		name := jsonName(sf)
		f := field{
			name:     name,
			in:       sf.Tag.Get("in"),
			index:    sf.Index,
			required: slices.Contains(s.Required, name),
			verbatim: sf.Type == reflect.TypeFor[verbatim](),
			schema:   s.Properties[name],
		}
		f.check = mustCompile(t.Name()+":"+name, f.schema)
		if f.schema.Default != nil {
			f.fallback, _ = json.Marshal(f.schema.Default) // came from a tag that huma checked
		}
		fields = append(fields, f)
	}
	return fields
}

func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// decode fills the input struct from args, or answers the first fault: unknown
// names in their order, then the fields in declared order.
func decode(fields []field, args Args, into reflect.Value) error {
	if err := refuseUnknown(fields, args); err != nil {
		return err
	}
	for i := range fields {
		f := &fields[i]
		raw, given := args[f.name]
		switch {
		case given:
			if err := f.validate(raw); err != nil {
				return err
			}
		case f.required:
			return store.Errorf(store.CodeInvalid, f.name, "%s is required: %s%s", f.name, lowerFirst(f.schema.Description), f.example())
		case f.fallback != nil:
			raw = f.fallback
		default:
			continue
		}
		if f.schema.Type == huma.TypeInteger {
			raw = plainInteger(raw)
		}
		if err := json.Unmarshal(raw, into.FieldByIndex(f.index).Addr().Interface()); err != nil {
			return store.Errorf(store.CodeInvalid, f.name, "%s: %s cannot be read as %s%s", f.name, store.Clip(string(raw), 60), f.expected(), f.example())
		}
	}
	return nil
}

// plainInteger writes a number as Go reads integers. To JSON Schema 20.0 and 2e1
// are integers too, and some clients write every number with a point.
func plainInteger(raw json.RawMessage) json.RawMessage {
	if n, ok := new(big.Rat).SetString(string(raw)); ok && n.IsInt() {
		return json.RawMessage(n.Num().String())
	}
	return raw
}

func refuseUnknown(fields []field, args Args) error {
	for _, name := range slices.Sorted(maps.Keys(args)) {
		if slices.ContainsFunc(fields, func(f field) bool { return f.name == name }) {
			continue
		}
		names := make([]string, len(fields))
		for i, f := range fields {
			names[i] = f.name
		}
		if len(names) == 0 {
			return store.Errorf(store.CodeInvalid, name, "unknown field %q; this operation takes none", store.Clip(name, 60))
		}
		return store.Errorf(store.CodeInvalid, name, "unknown field %q%s; known are %s", store.Clip(name, 60), didYouMean(name, names), strings.Join(names, ", "))
	}
	return nil
}

// validate checks a value against the field's schema.
func (f *field) validate(raw json.RawMessage) error {
	if f.verbatim {
		if kind := rawKind(raw); kind != "an object" {
			return store.Errorf(store.CodeInvalid, f.name, "%s: got %s, expected an object%s", f.name, kind, f.example())
		}
		return nil
	}
	v, err := decodeValue(f.name, raw)
	if err != nil {
		return err
	}
	if fault := firstFault(f.check.Validate(v)); fault != nil {
		path := faultPath(f.name, v, fault)
		return store.Errorf(store.CodeInvalid, path, "%s%s", wording(path, valueAt(v, fault.InstanceLocation), fault, f.schema), f.example())
	}
	if holdsNUL(v) {
		return store.Errorf(store.CodeInvalid, f.name, "%s: holds the character U+0000, which cannot be stored; leave it out", f.name)
	}
	return nil
}

func (f *field) example() string {
	if len(f.schema.Examples) == 0 {
		return ""
	}
	b, err := marshal(f.schema.Examples[0])
	if err != nil {
		return ""
	}
	return ", e.g. " + string(b)
}

func (f *field) expected() string {
	if f.schema.Format != "" {
		return formatWords(f.schema.Format)
	}
	return withArticle(f.schema.Type)
}

// decodeValue decodes valid JSON for the schemas to judge; numbers stay
// json.Number. The validator turns numbers into big.Rat, where 1e-2000000 costs
// megabytes or makes it panic: such numbers are CodeInvalid, as are deep values.
func decodeValue(field string, raw json.RawMessage) (any, error) {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", field, err) // the faces hand over valid JSON
	}
	if n, ok := wildNumber(v); ok {
		return nil, store.Errorf(store.CodeInvalid, field, "%s: holds the number %s; expected numbers of at most %d characters with an exponent of at most %d; send it as a string",
			field, store.Clip(string(n), 40), maxNumberText, maxNumberText)
	}
	if deeper(v, maxDepth) {
		return nil, store.Errorf(store.CodeInvalid, field, "%s: nests more than %d levels deep; flatten it", field, maxDepth)
	}
	return v, nil
}

// maxDepth is how deep a value may nest. Readers give up somewhere: encoding/json
// at 10,000 levels, counted from the outside, so that an event just below that
// could be published and never be listed again; other languages much earlier.
const maxDepth = 100

// deeper tells whether v nests more than so many levels.
func deeper(v any, levels int) bool {
	switch v := v.(type) {
	case []any:
		return levels == 0 || slices.ContainsFunc(v, func(item any) bool { return deeper(item, levels-1) })
	case map[string]any:
		if levels == 0 {
			return true
		}
		for _, item := range v {
			if deeper(item, levels-1) {
				return true
			}
		}
	}
	return false
}

// maxNumberText is the length of a number's text, and its largest exponent.
const maxNumberText = 400

func wildNumber(v any) (json.Number, bool) {
	switch v := v.(type) {
	case json.Number:
		text := string(v)
		if i := strings.IndexAny(text, "eE"); i >= 0 {
			e, err := strconv.Atoi(text[i+1:])
			if err != nil || e > maxNumberText || e < -maxNumberText {
				return v, true
			}
		}
		return v, len(text) > maxNumberText
	case []any:
		for _, item := range v {
			if n, ok := wildNumber(item); ok {
				return n, true
			}
		}
	case map[string]any:
		for _, item := range v {
			if n, ok := wildNumber(item); ok {
				return n, true
			}
		}
	}
	return "", false
}

// holdsNUL finds U+0000 in a string or name: PostgreSQL's text type has none.
func holdsNUL(v any) bool {
	switch v := v.(type) {
	case string:
		return strings.ContainsRune(v, 0)
	case []any:
		return slices.ContainsFunc(v, holdsNUL)
	case map[string]any:
		for name, value := range v {
			if strings.ContainsRune(name, 0) || holdsNUL(value) {
				return true
			}
		}
	}
	return false
}

// marshal is json.Marshal without the escaping of <, > and &, which would change
// data that was published.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), nil
}
