package tools

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/tellhook/tellhook/store"
)

// ParseArgs splits a JSON object into its members, values untouched. Refused
// with CodeInvalid and the place: text that is no UTF-8 or no JSON, anything but
// an object, and a name that stands twice in one object at any depth, which
// readers of JSON take in different ways (RFC 8259 section 4).
func ParseArgs(b []byte) (Args, error) {
	if !utf8.Valid(b) {
		return nil, store.Errorf(store.CodeInvalid, "", "the JSON is not valid UTF-8; send UTF-8 text")
	}
	var args Args
	if err := json.Unmarshal(b, &args); err != nil {
		return nil, malformed(b, err)
	}
	if args == nil {
		return nil, store.Errorf(store.CodeInvalid, "", `got null, expected a JSON object like {"name": "value"}`)
	}
	if path := duplicateName(b); path != "" {
		return nil, store.Errorf(store.CodeInvalid, path, "%s: this name stands twice in one object; give it once", store.Clip(path, 100))
	}
	return args, nil
}

func malformed(b []byte, err error) error {
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) {
		return store.Errorf(store.CodeInvalid, "", `got %s, expected a JSON object like {"name": "value"}`, rawKind(b))
	}
	at := min(int(syntax.Offset), len(b))
	before := b[:max(0, at-1)]
	line := 1 + bytes.Count(before, []byte{'\n'})
	column := len(before) - bytes.LastIndexByte(before, '\n')
	return store.Errorf(store.CodeInvalid, "", "not valid JSON at line %d, column %d: %v", line, column, err)
}

// rawKind names the kind of a JSON value by its first character.
func rawKind(raw json.RawMessage) string {
	raw = bytes.TrimLeft(raw, " \t\r\n")
	if len(raw) == 0 {
		return "nothing"
	}
	switch raw[0] {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}

// duplicateName finds the first name that stands twice in one object of valid
// JSON, and answers its dotted path, or "".
func duplicateName(b []byte) string {
	type level struct {
		names map[string]bool // nil in an array
		last  string
	}
	var open []level
	atName := false
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '{':
			open, atName = append(open, level{names: map[string]bool{}}), true
		case '[':
			open, atName = append(open, level{}), false
		case '}', ']':
			open, atName = open[:len(open)-1], false
		case ',':
			atName = open[len(open)-1].names != nil
		case '"':
			end := stringEnd(b, i)
			if atName {
				top := &open[len(open)-1]
				top.last, atName = unquote(b[i:end]), false
				if top.names[top.last] {
					var path []string
					for _, l := range open {
						if l.names != nil {
							path = append(path, l.last)
						}
					}
					return strings.Join(path, ".")
				}
				top.names[top.last] = true
			}
			i = end - 1
		}
	}
	return ""
}

// stringEnd answers the index behind the closing quote of the string at start.
func stringEnd(b []byte, start int) int {
	for i := start + 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(b)
}

func unquote(quoted []byte) string {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1 : len(quoted)-1])
	}
	var s string
	_ = json.Unmarshal(quoted, &s) // valid JSON already
	return s
}
