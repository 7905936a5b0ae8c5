package tools

import (
	"cmp"
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tellhook/tellhook/store"
)

// serveOpenAPI answers the document, made once. It needs no key.
func (t *Tools) serveOpenAPI() http.HandlerFunc {
	document := sync.OnceValues(func() ([]byte, error) { return json.Marshal(t.openAPI()) })
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := document()
		if err != nil {
			WriteError(w, r, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "public, max-age=60")
		_, _ = w.Write(append(slices.Clip(body), '\n')) // a client that has gone needs no answer
	}
}

// openAPI describes the REST face in OpenAPI 3.1, from the table alone.
func (t *Tools) openAPI() *huma.OpenAPI {
	doc := &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{
			Title:       t.config.ProductName + " API",
			Version:     cmp.Or(t.config.Version, "1"),
			Description: "Webhooks: register URLs, publish events, see what was delivered. Errors are problem+json (RFC 9457).",
		},
		Servers:  []*huma.Server{{URL: t.root() + restRoot}},
		Paths:    map[string]*huma.PathItem{},
		Security: []map[string][]string{{"api_key": {}}},
		Components: &huma.Components{
			SecuritySchemes: map[string]*huma.SecurityScheme{"api_key": {
				Type: "http", Scheme: "bearer", Description: "An API key: Authorization: Bearer thk_…",
			}},
			Responses: map[string]*huma.Response{"Problem": {
				Description: "What went wrong and how to mend it.",
				Headers:     map[string]*huma.Param{"X-Request-Id": {Description: "Names the request in the server's log.", Schema: &huma.Schema{Type: huma.TypeString}}},
				Content:     map[string]*huma.MediaType{"application/problem+json": {Schema: problemSchema()}},
			}},
		},
	}
	for _, o := range t.ops {
		addRoute(doc, o, o.Path, o.Name, "")
		if o.Nested != "" {
			addRoute(doc, o, o.Nested, o.Name+"_by_"+o.NestedArg, o.NestedArg) // an operationId is unique
		}
	}
	addRoute(doc, &Operation{
		Method: http.MethodGet, Title: "This document", Status: http.StatusOK, Out: &huma.Schema{Type: huma.TypeObject},
	}, "/openapi.json", "openapi", "")
	doc.Paths["/openapi.json"].Get.Security = []map[string][]string{{}}
	return doc
}

func problemSchema() *huma.Schema { return outputSchema(reflect.TypeFor[Problem]()) }

func addRoute(doc *huma.OpenAPI, o *Operation, path, id, nestedArg string) {
	op := &huma.Operation{
		OperationID: id, Summary: o.Title, Description: o.Description,
		Responses: responses(o),
	}
	if o.Scope != "" {
		op.Description += " Needs the scope " + string(o.Scope) + "."
	}
	for i := range o.fields {
		if p := parameter(&o.fields[i], nestedArg); p != nil {
			op.Parameters = append(op.Parameters, p)
		}
	}
	if o.takesBody() {
		op.RequestBody = &huma.RequestBody{
			Required: o.needsBody(),
			Content:  map[string]*huma.MediaType{"application/json": bodyMedia(o)},
		}
	}
	item := doc.Paths[path]
	if item == nil {
		item = &huma.PathItem{}
		doc.Paths[path] = item
	}
	switch o.Method {
	case http.MethodGet:
		item.Get = op
	case http.MethodPost:
		item.Post = op
	case http.MethodPut:
		item.Put = op
	case http.MethodPatch:
		item.Patch = op
	case http.MethodDelete:
		item.Delete = op
	}
}

// parameter describes a field outside of the body; nil for one in it.
func parameter(f *field, nestedArg string) *huma.Param {
	switch {
	case f.name == nestedArg:
		return &huma.Param{Name: "id", In: "path", Required: true, Description: f.schema.Description, Schema: f.schema}
	case f.in == "":
		return nil
	case f.in == "header":
		return &huma.Param{Name: f.header(), In: f.in, Description: f.schema.Description, Schema: f.schema}
	}
	return &huma.Param{Name: f.name, In: f.in, Required: f.in == "path", Description: f.schema.Description, Schema: f.schema}
}

// bodyMedia is the part of the input that sits in the body, with an example of
// the fields that have one.
func bodyMedia(o *Operation) *huma.MediaType {
	s := &huma.Schema{Type: huma.TypeObject, Properties: map[string]*huma.Schema{}, AdditionalProperties: false}
	example := map[string]any{}
	for i := range o.fields {
		f := &o.fields[i]
		if f.in != "" {
			continue
		}
		s.Properties[f.name] = f.schema
		if f.required {
			s.Required = append(s.Required, f.name)
		}
		if len(f.schema.Examples) > 0 {
			example[f.name] = f.schema.Examples[0]
		}
	}
	return &huma.MediaType{Schema: s, Example: example}
}

func responses(o *Operation) map[string]*huma.Response {
	success := &huma.Response{Description: http.StatusText(o.Status)}
	if o.Status != http.StatusNoContent {
		success.Content = map[string]*huma.MediaType{"application/json": {Schema: o.Out}}
	}
	if o.Method == http.MethodPost {
		success.Headers = map[string]*huma.Param{"Location": {Description: "Where what was made can be read.", Schema: &huma.Schema{Type: huma.TypeString}}}
	}
	all := map[string]*huma.Response{strconv.Itoa(o.Status): success}
	for _, code := range problemCodes(o) {
		all[strconv.Itoa(failures[code].status)] = &huma.Response{Ref: "#/components/responses/Problem"}
	}
	if o.field(idempotencyField) != nil {
		all[strconv.Itoa(http.StatusUnprocessableEntity)] = &huma.Response{Ref: "#/components/responses/Problem"}
	}
	return all
}

// problemCodes are the failures that an operation may answer.
func problemCodes(o *Operation) []store.Code {
	if o.call == nil {
		return []store.Code{store.CodeInternal}
	}
	codes := []store.Code{store.CodeInvalid, store.CodeUnauthenticated, store.CodeRateLimited, store.CodeUnavailable, store.CodeInternal}
	if o.Scope != "" {
		codes = append(codes, store.CodeForbidden)
	}
	if strings.Contains(o.Path, "{") {
		codes = append(codes, store.CodeNotFound)
	}
	if o.takesBody() {
		codes = append(codes, store.CodeConflict, store.CodeUnsupported, store.CodeTooLarge)
	}
	return codes
}
