package tools

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/tellhook/tellhook/store"
)

const (
	maxFilterFields = 20
	maxFilterValues = 100 // in one field's list
)

// filterIn is a filter as callers write it.
type filterIn map[string]json.RawMessage

// Schema tells of an object of scalars and lists of them; check says the rest.
func (filterIn) Schema(huma.Registry) *huma.Schema {
	limit := maxFilterFields
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true, MaxProperties: &limit}
}

// checkFilter judges a filter against the schemas of the types that events
// cover: each field must be known to one of them, each value fit it there. What
// could never match would only look like a webhook that works.
func (c *catalogue) checkFilter(filter map[string]json.RawMessage, events []string) error {
	types := c.covered(events)
	for _, name := range slices.Sorted(maps.Keys(filter)) {
		field := "filter." + store.Clip(name, 60)
		forms := formsOf(types, name)
		if len(forms) == 0 {
			return store.Errorf(store.CodeInvalid, field, "%s: no event of %s has this field%s; known are %s",
				field, strings.Join(events, ", "), didYouMean(name, fieldNames(types)), fieldList(types))
		}
		values, err := filterValues(field, filter[name])
		if err != nil {
			return err
		}
		for _, v := range values {
			if !slices.ContainsFunc(forms, func(f *jsonschema.Schema) bool { return f.Validate(v) == nil }) {
				return store.Errorf(store.CodeInvalid, field, "%s: got %s, expected %s; types count, so \"42\" is not 42",
					field, quoted(v), formWords(forms))
			}
		}
	}
	return nil
}

// filterValues splits a filter's value, a scalar or a list of scalars.
func filterValues(field string, raw json.RawMessage) ([]any, error) {
	v, err := decodeValue(field, raw)
	if err != nil {
		return nil, err
	}
	values, isList := v.([]any)
	if !isList {
		values = []any{v}
	}
	if len(values) == 0 || len(values) > maxFilterValues {
		return nil, store.Errorf(store.CodeInvalid, field, "%s: the list has %s, expected 1 to %d", field, count(len(values), "value"), maxFilterValues)
	}
	for _, v := range values {
		switch v.(type) {
		case []any, map[string]any:
			return nil, store.Errorf(store.CodeInvalid, field,
				`%s: got %s; a filter compares with a string, number, boolean or null, or a list of them; write nested fields dotted, like "fields.email"`, field, quoted(v))
		}
	}
	return values, nil
}

// formsOf answers the schemas of a dotted field in those types that know it.
func formsOf(types []*eventType, field string) []*jsonschema.Schema {
	var forms []*jsonschema.Schema
	for _, e := range types {
		if s := formOf(e.check, field); s != nil {
			forms = append(forms, s)
		}
	}
	return forms
}

// anything is the form of a member that a schema leaves open.
var anything = &jsonschema.Schema{DraftVersion: 2020, Bool: new(true)}

func formOf(s *jsonschema.Schema, field string) *jsonschema.Schema {
	if p := s.Properties[field]; p != nil {
		return p
	}
	head, rest, nested := strings.Cut(field, ".")
	p := s.Properties[head]
	switch {
	case !nested || rest == "" || p == nil:
		return nil
	case len(p.Properties) > 0:
		return formOf(p, rest)
	case p.Types != nil && slices.Contains(p.Types.ToStrings(), "object") && p.AdditionalProperties != false:
		return anything
	}
	return nil
}

func fieldNames(types []*eventType) []string {
	names := map[string]bool{}
	for _, e := range types {
		for name := range e.check.Properties {
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// fieldList tells the fields that can be filtered by, each with its kinds.
func fieldList(types []*eventType) string {
	var words []string
	for _, name := range fieldNames(types) {
		words = append(words, fmt.Sprintf("%s (%s)", name, formWords(formsOf(types, name))))
	}
	return strings.Join(words, ", ")
}

func formWords(forms []*jsonschema.Schema) string {
	var words []string
	add := func(w string) {
		if !slices.Contains(words, w) {
			words = append(words, w)
		}
	}
	for _, f := range forms {
		switch {
		case f.Enum != nil:
			add("one of " + listed(f.Enum.Values))
		case f.Const != nil:
			add(quoted(*f.Const))
		case f.Types != nil:
			for _, k := range f.Types.ToStrings() {
				add(withArticle(k))
			}
		}
	}
	return strings.Join(words, " or ")
}
