package tools

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// reference writes the operations' page of the docs, from the table alone.
func reference(ops []*Operation) string {
	var b strings.Builder
	b.WriteString("# Operations\n\n" +
		"<!-- Written by `go generate ./tools` from the operation table; change it there. -->\n\n" +
		"Each operation is one REST route and, where it says so, one MCP tool of the same name and arguments. " +
		"REST lives under `/api/v1`; [openapi.json](../../schemas/openapi.json) describes it in full, " +
		"and [schemas/tools](../../schemas/tools) has each schema.\n\n" +
		"| operation | REST | scope | MCP |\n|---|---|---|---|\n")
	for _, o := range ops {
		fmt.Fprintf(&b, "| [%s](#%s) | %s | %s | %s |\n", o.Name, o.Name, routes(o), scopeWords(o), mcpWords(o))
	}
	for _, o := range ops {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n", o.Name, o.Description)
		fmt.Fprintf(&b, "%s → %d. Scope: %s. MCP: %s.\n", routes(o), o.Status, scopeWords(o), mcpWords(o))
		writeFields(&b, o)
		writeAnswer(&b, o)
	}
	return b.String()
}

func routes(o *Operation) string {
	text := "`" + o.Method + " " + o.Path + "`"
	if o.Nested != "" {
		text += ", `" + o.Method + " " + o.Nested + "`"
	}
	return text
}

func scopeWords(o *Operation) string {
	if o.Scope == "" {
		return "any key"
	}
	return "`" + string(o.Scope) + "`"
}

func mcpWords(o *Operation) string {
	switch {
	case !o.MCP:
		return "no"
	case o.ReadOnly:
		return "reads"
	case o.Destructive:
		return "writes, destructive"
	}
	return "writes"
}

func writeFields(b *strings.Builder, o *Operation) {
	if len(o.fields) == 0 {
		b.WriteString("\nIt takes no arguments.\n")
		return
	}
	b.WriteString("\n| argument | on REST | type | |\n|---|---|---|---|\n")
	for i := range o.fields {
		f := &o.fields[i]
		name := "`" + f.name + "`"
		if f.required {
			name = "**" + name + "**"
		}
		place := "body"
		if f.in != "" {
			place = f.place()
		}
		if f.name == o.NestedArg {
			place += ", or in the path"
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", name, place, typeWords(f.schema), cell(strings.TrimSuffix(f.schema.Description, ".")+f.example()))
	}
}

func writeAnswer(b *strings.Builder, o *Operation) {
	b.WriteString("\nAnswer: ")
	if o.Status == http.StatusNoContent {
		b.WriteString("nothing over REST; over MCP ")
	}
	writeNames(b, o.Out.Required)
	optional := slices.Sorted(maps.Keys(o.Out.Properties))
	optional = slices.DeleteFunc(optional, func(name string) bool { return slices.Contains(o.Out.Required, name) })
	if len(optional) > 0 {
		b.WriteString("; only when this call made one, ")
		writeNames(b, optional)
	}
	b.WriteString(".\n")
}

func writeNames(b *strings.Builder, names []string) {
	for i, name := range names {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(b, "`%s`", name)
	}
}

func typeWords(s *huma.Schema) string {
	text := s.Type
	switch {
	case len(s.Enum) > 0:
		text = listed(s.Enum)
	case s.Format == "date-time":
		text = "RFC 3339 time"
	case s.Items != nil:
		text += " of " + s.Items.Type + "s"
	}
	if s.Nullable {
		text += " or null"
	}
	if s.Minimum != nil && s.Maximum != nil {
		text += fmt.Sprintf(", %g to %g", *s.Minimum, *s.Maximum)
	}
	if s.Default != nil && s.Type != huma.TypeBoolean {
		text += fmt.Sprintf(", default %v", s.Default)
	}
	return text
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
