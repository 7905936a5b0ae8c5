package tools

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tellhook/tellhook/store"
)

// restArgs gathers the arguments from where their fields sit.
func (o *Operation) restArgs(r *http.Request, nestedArg string) (Args, error) {
	args := Args{}
	if o.takesBody() {
		body, err := o.readBody(r)
		if err != nil {
			return nil, err
		}
		args = body
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, store.Errorf(store.CodeInvalid, "", "the query string cannot be read: %v", err)
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		f, values := o.field(name), query[name]
		if f == nil || f.in != "query" || name == nestedArg {
			return nil, o.unknownParameter(name, nestedArg)
		}
		if len(values) > 1 {
			return nil, store.Errorf(store.CodeInvalid, name, "%s: given %d times in the query string; give it once", name, len(values))
		}
		args[name] = f.textArg(values[0])
	}
	for i := range o.fields {
		f := &o.fields[i]
		switch {
		case f.name == nestedArg:
			args[f.name] = f.textArg(r.PathValue("id"))
		case f.in == "path":
			args[f.name] = f.textArg(r.PathValue(f.name))
		case f.in == "header":
			if values := r.Header.Values(f.header()); len(values) > 0 {
				args[f.name] = f.textArg(strings.Join(values, ", "))
			}
		}
	}
	for name, raw := range args {
		if !utf8.Valid(raw) {
			return nil, store.Errorf(store.CodeInvalid, name, "%s: is not valid UTF-8", store.Clip(strings.ToValidUTF8(name, "?"), 60))
		}
	}
	return args, nil
}

// readBody reads a JSON object of the fields that sit in the body.
func (o *Operation) readBody(r *http.Request) (Args, error) {
	if err := o.checkMediaType(r); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(r.Body)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, store.Errorf(store.CodeTooLarge, "", "the body is over the limit of %d bytes; send less", tooLarge.Limit)
	case err != nil:
		return nil, &store.Error{Code: store.CodeInvalid, Message: "the body could not be read to its end", Err: err}
	case len(body) == 0 && o.needsBody():
		return nil, store.Errorf(store.CodeInvalid, "", "the body is empty; send a JSON object with %s", strings.Join(o.bodyFields(), ", "))
	case len(body) == 0:
		return Args{}, nil
	}
	args, err := ParseArgs(body)
	if err != nil {
		return nil, err
	}
	for name := range args {
		if f := o.field(name); f != nil && f.in != "" {
			return nil, store.Errorf(store.CodeInvalid, name, "unknown field %q in the body; it belongs in the %s", name, f.place())
		}
	}
	return args, nil
}

func (o *Operation) checkMediaType(r *http.Request) error {
	text := r.Header.Get("Content-Type")
	if text == "" && r.ContentLength == 0 {
		return nil // no body: what is missing is said by name
	}
	media, params, err := mime.ParseMediaType(text)
	if charset, ok := params["charset"]; err == nil && media == "application/json" && (!ok || strings.EqualFold(charset, "utf-8")) {
		return nil
	}
	if text == "" {
		text = "none"
	}
	return store.Errorf(store.CodeUnsupported, "", "Content-Type: got %s, expected application/json", store.Clip(text, 60))
}

func (o *Operation) field(name string) *field {
	for i := range o.fields {
		if o.fields[i].name == name {
			return &o.fields[i]
		}
	}
	return nil
}

func (o *Operation) takesBody() bool { return len(o.bodyFields()) > 0 }

func (o *Operation) bodyFields() []string {
	return o.fieldNames(func(f *field) bool { return f.in == "" })
}

func (o *Operation) needsBody() bool {
	return len(o.fieldNames(func(f *field) bool { return f.in == "" && f.required })) > 0
}

func (o *Operation) fieldNames(keep func(*field) bool) []string {
	var names []string
	for i := range o.fields {
		if keep(&o.fields[i]) {
			names = append(names, o.fields[i].name)
		}
	}
	return names
}

func (o *Operation) unknownParameter(name, nestedArg string) error {
	known := o.fieldNames(func(f *field) bool { return f.in == "query" && f.name != nestedArg })
	if len(known) == 0 {
		return store.Errorf(store.CodeInvalid, name, "unknown query parameter %q; this route takes none", store.Clip(name, 60))
	}
	return store.Errorf(store.CodeInvalid, name, "unknown query parameter %q%s; known are %s",
		store.Clip(name, 60), didYouMean(name, known), strings.Join(known, ", "))
}

// textArg is the JSON of a value that came as text; what is no number or
// boolean stays a string, for the schema to refuse.
func (f *field) textArg(text string) json.RawMessage {
	switch f.schema.Type {
	case "integer", "number", "boolean":
		if json.Valid([]byte(text)) {
			return json.RawMessage(text)
		}
	}
	if !utf8.ValidString(text) {
		return json.RawMessage(text) // refused by restArgs
	}
	quoted, _ := marshal(text) // a string always marshals
	return quoted
}

// header is the REST header of a field: idempotency_key is Idempotency-Key.
func (f *field) header() string {
	return http.CanonicalHeaderKey(strings.ReplaceAll(f.name, "_", "-"))
}

func (f *field) place() string {
	switch f.in {
	case "header":
		return "header " + f.header()
	case "query":
		return "query string"
	}
	return f.in
}
