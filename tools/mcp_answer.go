package tools

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/tellhook/tellhook/store"
)

// Caps of third-party text in an answer to a model, in bytes. REST answers it
// whole.
const (
	capText    = 500  // descriptions, error texts
	capBody    = 2048 // response bodies and headers
	capData    = 4096 // an event's data
	capInLists = 300  // any of them, in each row of a list
)

// untrusted are the fields that others than the caller may have written, and
// their caps.
var untrusted = map[string]int{
	"description": capText, "error": capText,
	"response_body": capBody, "response_headers": capBody,
	"data": capData,
}

// secretNote stands beside a secret, which is shown when it is made and never
// again.
const secretNote = "Store secret now, where the receiver can read it to verify signatures: it is not shown again."

// modelJSON is the answer as a model gets it over MCP: the REST answer with
// third-party text cut and named in untrusted_fields, and a note beside a new
// secret.
func modelJSON(answer any) (json.RawMessage, error) {
	whole, err := marshal(answer)
	if err != nil {
		return nil, err
	}
	o, err := membersOf(whole)
	if err != nil {
		return nil, err
	}
	var marked []string
	if err := o.distrust(false, &marked); err != nil {
		return nil, err
	}
	if secret := o.find("secret"); secret != nil && secret.value[0] == '"' {
		o = append(o, member{"note", mustMarshal(secretNote)})
	}
	if len(marked) > 0 {
		o = append(o, member{"untrusted_fields", mustMarshal(marked)})
	}
	return o.json(), nil
}

// members are those of a JSON object in their order.
type members []member

type member struct {
	name  string
	value json.RawMessage
}

func membersOf(object []byte) (members, error) {
	d := json.NewDecoder(bytes.NewReader(object))
	if _, err := d.Token(); err != nil { // {
		return nil, err
	}
	var all members
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		name, _ := token.(string) // in an object, the decoder answers nothing else
		m := member{name: name}
		if err := d.Decode(&m.value); err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

func (o members) find(name string) *member {
	if i := slices.IndexFunc(o, func(m member) bool { return m.name == name }); i >= 0 {
		return &o[i]
	}
	return nil
}

func (o members) json() json.RawMessage {
	b := []byte{'{'}
	for i, m := range o {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, mustMarshal(m.name)...), ':'), m.value...)
	}
	return append(b, '}')
}

// distrust cuts the untrusted members, and those of the rows of a list or of a
// delivery's attempts. Deeper down there is only what belongs to one of them.
func (o members) distrust(inList bool, marked *[]string) error {
	for i := range o {
		m := &o[i]
		limit, is := untrusted[m.name]
		switch {
		case m.value[0] == '[' && (m.name == "data" || m.name == "attempts"):
			if err := m.rows(m.name == "data", marked); err != nil {
				return err
			}
		case is && !empty(m.value):
			if inList {
				limit = min(limit, capInLists)
			}
			var err error
			if m.value, err = cut(m.value, limit); err != nil {
				return err
			}
			if !slices.Contains(*marked, m.name) {
				*marked = append(*marked, m.name)
			}
		}
	}
	return nil
}

func (m *member) rows(inList bool, marked *[]string) error {
	var rows []json.RawMessage
	if err := json.Unmarshal(m.value, &rows); err != nil {
		return err
	}
	for i, row := range rows {
		if row[0] != '{' {
			continue
		}
		o, err := membersOf(row)
		if err != nil {
			return err
		}
		if err := o.distrust(inList, marked); err != nil {
			return err
		}
		rows[i] = o.json()
	}
	var err error
	m.value, err = marshal(rows)
	return err
}

func empty(v json.RawMessage) bool {
	switch string(v) {
	case "null", `""`, "{}", "[]":
		return true
	}
	return false
}

// cut keeps the beginning of a string, and of an object its text: what is cut in
// the middle is no JSON any more, and the field must stay an object.
func cut(v json.RawMessage, limit int) (json.RawMessage, error) {
	if len(v) <= limit {
		return v, nil
	}
	var s string
	if json.Unmarshal(v, &s) == nil {
		return marshal(store.Clip(s, limit))
	}
	return marshal(struct {
		Cut   string `json:"_cut"`
		Bytes int    `json:"_bytes"`
	}{store.Clip(string(v), limit), len(v)})
}
