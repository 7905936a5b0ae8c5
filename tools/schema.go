package tools

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"

	"github.com/danielgtaylor/huma/v2"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// inline is a huma.Registry that never refers: every schema stands where it is
// used, so that tool schemas need no $defs.
type inline struct{}

func (r inline) Schema(t reflect.Type, _ bool, _ string) *huma.Schema {
	return huma.SchemaFromType(r, t)
}
func (inline) SchemaFromRef(string) *huma.Schema            { return nil }
func (inline) TypeFromRef(string) reflect.Type              { return nil }
func (inline) Map() map[string]*huma.Schema                 { return nil }
func (inline) RegisterTypeAlias(reflect.Type, reflect.Type) {}

func inputSchema(t reflect.Type) *huma.Schema {
	s := huma.SchemaFromType(inline{}, t)
	walk(s, tidy)
	return s
}

// outputSchema is open: a later version may answer more fields.
func outputSchema(t reflect.Type) *huma.Schema {
	s := huma.SchemaFromType(inline{}, t)
	walk(s, func(s *huma.Schema) {
		tidy(s)
		if s.AdditionalProperties == false {
			s.AdditionalProperties = nil
		}
	})
	return s
}

// slimSchema keeps the fields tagged slim:"true" and of these the type alone: a
// full webhook schema in five tools would eat two fifths of the whole budget of
// tools/list. Nothing is required: some clients hold a failed call's structured
// content, a Failure, against the tool's output schema too, and would show the
// mismatch in place of the message.
func slimSchema(t reflect.Type) *huma.Schema {
	full := outputSchema(t)
	slim := &huma.Schema{Type: huma.TypeObject, Properties: map[string]*huma.Schema{}}
	for _, f := range reflect.VisibleFields(t) {
		name := jsonName(f)
		p := full.Properties[name]
		if p == nil || f.Tag.Get("slim") != "true" {
			continue
		}
		s := &huma.Schema{Type: p.Type, Nullable: p.Nullable}
		if p.Items != nil {
			s.Items = &huma.Schema{Type: p.Items.Type}
		}
		slim.Properties[name] = s
	}
	return slim
}

// tidy takes out what huma adds and JSON Schema does not know: numeric formats,
// and null for arrays, which we never answer.
func tidy(s *huma.Schema) {
	switch s.Type {
	case huma.TypeInteger, huma.TypeNumber:
		s.Format = ""
	case huma.TypeArray:
		s.Nullable = false
	}
}

func walk(s *huma.Schema, visit func(*huma.Schema)) {
	if s == nil {
		return
	}
	visit(s)
	walk(s.Items, visit)
	for _, p := range s.Properties {
		walk(p, visit)
	}
	if more, ok := s.AdditionalProperties.(*huma.Schema); ok {
		walk(more, visit)
	}
	for _, sub := range slices.Concat(s.OneOf, s.AnyOf, s.AllOf) {
		walk(sub, visit)
	}
}

// compileSchema compiles a JSON Schema (draft 2020-12) with formats asserted.
func compileSchema(name string, schema json.RawMessage) (*jsonschema.Schema, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		return nil, fmt.Errorf("schema %s: %w", name, err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	c.UseLoader(jsonschema.SchemeURLLoader{}) // no file and no address is ever loaded
	url := "urn:tellhook:" + name
	if err := c.AddResource(url, doc); err != nil {
		return nil, fmt.Errorf("schema %s: %w", name, err)
	}
	return c.Compile(url)
}

func mustCompile(name string, s *huma.Schema) *jsonschema.Schema {
	b, err := json.Marshal(s)
	if err != nil {
		panic(fmt.Sprintf("schema %s: %v", name, err))
	}
	c, err := compileSchema(name, b)
	if err != nil {
		panic(err)
	}
	return c
}
