package tools

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"github.com/tellhook/tellhook/store"
)

// firstFault answers the first leaf of a validation error by place, so that the
// same input always gets the same message; nil for no error.
func firstFault(err error) *jsonschema.ValidationError {
	var top *jsonschema.ValidationError
	if !errors.As(err, &top) {
		return nil
	}
	var leaves []*jsonschema.ValidationError
	var collect func(*jsonschema.ValidationError)
	collect = func(e *jsonschema.ValidationError) {
		switch e.ErrorKind.(type) {
		case *kind.AnyOf, *kind.OneOf, *kind.Not, *kind.PropertyNames: // their causes mislead alone
			leaves = append(leaves, e)
			return
		}
		if len(e.Causes) == 0 {
			leaves = append(leaves, e)
		}
		for _, c := range e.Causes {
			collect(c)
		}
	}
	collect(top)
	return slices.MinFunc(leaves, func(a, b *jsonschema.ValidationError) int {
		return cmp.Or(
			cmp.Compare(len(a.InstanceLocation), len(b.InstanceLocation)),
			slices.Compare(a.InstanceLocation, b.InstanceLocation),
			slices.Compare(a.ErrorKind.KeywordPath(), b.ErrorKind.KeywordPath()))
	})
}

// faultPath writes the place of a fault in v: name.field[0]. A member that is
// missing or unknown is a place of its own.
func faultPath(name string, v any, fault *jsonschema.ValidationError) string {
	location := fault.InstanceLocation
	switch k := fault.ErrorKind.(type) {
	case *kind.Required:
		location = append(slices.Clip(location), k.Missing[0])
	case *kind.AdditionalProperties:
		location = append(slices.Clip(location), slices.Min(k.Properties))
	}
	path := name
	for _, token := range location {
		if list, ok := v.([]any); ok {
			path += "[" + token + "]"
			v = item(list, token)
			continue
		}
		path += "." + store.Clip(token, 60)
		object, _ := v.(map[string]any)
		v = object[token]
	}
	return path
}

func valueAt(v any, location []string) any {
	for _, token := range location {
		switch c := v.(type) {
		case []any:
			v = item(c, token)
		case map[string]any:
			v = c[token]
		}
	}
	return v
}

func item(list []any, index string) any {
	if i, err := strconv.Atoi(index); err == nil && i < len(list) {
		return list[i]
	}
	return nil
}

// wording says what is wrong with the value at path. A field that is written
// only (a secret) is never quoted.
func wording(path string, got any, fault *jsonschema.ValidationError, s *huma.Schema) string {
	said := "got " + quoted(got)
	if s != nil && s.WriteOnly {
		said = "got " + kindOf(got)
	}
	switch k := fault.ErrorKind.(type) {
	case *kind.Type:
		return fmt.Sprintf("%s: %s, expected %s", path, said, kinds(k.Want))
	case *kind.Enum:
		return fmt.Sprintf("%s: %s, expected one of %s", path, said, listed(k.Want))
	case *kind.Const:
		return fmt.Sprintf("%s: %s, expected %s", path, said, quoted(k.Want))
	case *kind.Format:
		return fmt.Sprintf("%s: %s, expected %s", path, said, formatWords(k.Want))
	case *kind.Pattern:
		if s != nil && s.PatternDescription != "" {
			return fmt.Sprintf("%s: %s, expected %s", path, said, s.PatternDescription)
		}
		return fmt.Sprintf("%s: %s, expected text that matches %s", path, said, k.Want)
	case *kind.Required:
		return path + " is missing"
	case *kind.AdditionalProperties:
		return path + ": unknown field"
	case *kind.PropertyNames:
		return fmt.Sprintf("%s: the name %q is not allowed", path, store.Clip(k.Property, 60))
	case *kind.AnyOf, *kind.OneOf, *kind.Not:
		return fmt.Sprintf("%s: %s, which fits none of the forms allowed", path, said)
	}
	return limitWording(path, fault)
}

// limitWording speaks of values of the right kind that are too small or large.
func limitWording(path string, fault *jsonschema.ValidationError) string {
	switch k := fault.ErrorKind.(type) {
	case *kind.MinLength:
		return fmt.Sprintf("%s: has %s, expected at least %d", path, count(k.Got, "character"), k.Want)
	case *kind.MaxLength:
		return fmt.Sprintf("%s: has %s, expected at most %d", path, count(k.Got, "character"), k.Want)
	case *kind.MinItems:
		return fmt.Sprintf("%s: has %s, expected at least %d", path, count(k.Got, "item"), k.Want)
	case *kind.MaxItems:
		return fmt.Sprintf("%s: has %s, expected at most %d", path, count(k.Got, "item"), k.Want)
	case *kind.MinProperties:
		return fmt.Sprintf("%s: has %s, expected at least %d", path, count(k.Got, "entry"), k.Want)
	case *kind.MaxProperties:
		return fmt.Sprintf("%s: has %s, expected at most %d", path, count(k.Got, "entry"), k.Want)
	case *kind.UniqueItems:
		return fmt.Sprintf("%s: items %d and %d are the same; give each once", path, k.Duplicates[0], k.Duplicates[1])
	case *kind.Minimum:
		return fmt.Sprintf("%s: got %s, expected at least %s", path, number(k.Got), number(k.Want))
	case *kind.Maximum:
		return fmt.Sprintf("%s: got %s, expected at most %s", path, number(k.Got), number(k.Want))
	case *kind.ExclusiveMinimum:
		return fmt.Sprintf("%s: got %s, expected more than %s", path, number(k.Got), number(k.Want))
	case *kind.ExclusiveMaximum:
		return fmt.Sprintf("%s: got %s, expected less than %s", path, number(k.Got), number(k.Want))
	}
	return fmt.Sprintf("%s: does not fit the schema's %s", path, strings.Join(fault.ErrorKind.KeywordPath(), "."))
}

// quoted shows a value: scalars as JSON, clipped; of the rest the kind.
func quoted(v any) string {
	switch v := v.(type) {
	case json.Number:
		return "the number " + store.Clip(string(v), 40)
	case string:
		return strconv.Quote(store.Clip(v, 60))
	case bool:
		return strconv.FormatBool(v)
	}
	return kindOf(v)
}

func kindOf(v any) string {
	switch v.(type) {
	case map[string]any:
		return "an object"
	case []any:
		return "an array"
	case json.Number:
		return "a number"
	case string:
		return "a string"
	case bool:
		return "a boolean"
	}
	return "null"
}

func kinds(want []string) string {
	words := make([]string, len(want))
	for i, k := range want {
		words[i] = withArticle(k)
	}
	return strings.Join(words, " or ")
}

func withArticle(kind string) string {
	switch kind {
	case "null", "":
		return kind
	case "integer", "array", "object":
		return "an " + kind
	}
	return "a " + kind
}

func listed(values []any) string {
	words := make([]string, len(values))
	for i, v := range values {
		if s, ok := v.(string); ok {
			words[i] = s
			continue
		}
		words[i] = quoted(v)
	}
	return strings.Join(words, ", ")
}

func formatWords(format string) string {
	switch format {
	case "date-time":
		return "an RFC 3339 time like 2026-02-09T14:30:00Z"
	case "uri":
		return "an absolute URL"
	case "email":
		return "an e-mail address"
	}
	return "a valid " + format
}

func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	if stem, ok := strings.CutSuffix(thing, "y"); ok {
		return fmt.Sprintf("%d %sies", n, stem)
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

func number(r *big.Rat) string {
	if r.IsInt() {
		return store.Clip(r.Num().String(), 40)
	}
	f, _ := r.Float64()
	return strconv.FormatFloat(f, 'g', -1, 64)
}

func lowerFirst(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	if next, _ := utf8.DecodeRuneInString(s[n:]); unicode.IsUpper(next) { // an abbreviation: URL, JSON
		return strings.TrimSuffix(s, ".")
	}
	return string(unicode.ToLower(r)) + strings.TrimSuffix(s[n:], ".")
}

// didYouMean suggests the nearest known name, in brackets, where one is near.
func didYouMean(name string, known []string) string {
	if meant := store.Nearest(name, known); meant != "" {
		return fmt.Sprintf(" (did you mean %q?)", meant)
	}
	return ""
}
