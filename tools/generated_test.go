package tools

import (
	"bytes"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the generated files instead of comparing them")

// generated answers what the repository must hold, by path from its root.
func generated(t *testing.T) map[string][]byte {
	t.Helper()
	tools, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{"docs/reference/operations.md": []byte(reference(tools.Operations()))}
	add := func(path string, v any) {
		text, err := marshal(v)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		var b bytes.Buffer
		if err := json.Indent(&b, text, "", "  "); err != nil {
			t.Fatal(err)
		}
		files[path] = append(b.Bytes(), '\n')
	}
	for _, o := range tools.Operations() {
		add("schemas/tools/"+o.Name+".input.json", o.In)
		add("schemas/tools/"+o.Name+".output.json", o.Out)
	}
	add("schemas/problem.json", problemSchema())
	add("schemas/openapi.json", tools.openAPI())
	return files
}

// TestGenerated fails where a generated file is stale; go generate ./tools
// writes them.
func TestGenerated(t *testing.T) {
	t.Parallel()
	root := ".."
	want := generated(t)
	for _, path := range slices.Sorted(maps.Keys(want)) {
		file := filepath.Join(root, filepath.FromSlash(path))
		if *update {
			if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, want[path], 0o600); err != nil {
				t.Fatal(err)
			}
			continue
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatalf("%v; run go generate ./tools", err)
		}
		if diff := cmp.Diff(string(want[path]), string(got)); diff != "" {
			t.Errorf("%s is stale; run go generate ./tools (-want +got):\n%s", path, diff)
		}
	}
	stray, err := filepath.Glob(filepath.Join(root, "schemas", "tools", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range stray {
		if want["schemas/tools/"+filepath.Base(file)] == nil {
			t.Errorf("%s belongs to no operation; delete it", file)
		}
	}
}

// TestTable holds every row to the rules of the house.
func TestTable(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, o := range known() {
		if seen[o.Name] || o.Title == "" || !strings.HasSuffix(o.Description, ".") || o.Status == 0 {
			t.Errorf("%s: twice in the table, or without title, description or status", o.Name)
		}
		seen[o.Name] = true
		if o.ReadOnly != (o.Method == "GET") || o.ReadOnly && (o.Destructive || !o.Idempotent) {
			t.Errorf("%s: annotations do not go with %s", o.Name, o.Method)
		}
		for kind, s := range map[string]any{"In": o.In, "Out": o.Out, "SlimOut": o.SlimOut} {
			text, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			for _, wrong := range []string{"$ref", `"int64"`, `"int32"`, `"double"`, `["array","null"]`} {
				if bytes.Contains(text, []byte(wrong)) {
					t.Errorf("%s: %s holds %s", o.Name, kind, wrong)
				}
			}
			if _, err := compileSchema(o.Name, text); err != nil {
				t.Errorf("%s: %s: %v", o.Name, kind, err)
			}
		}
		if o.In.AdditionalProperties != false || o.Out.AdditionalProperties != nil || o.SlimOut.AdditionalProperties != nil {
			t.Errorf("%s: inputs are closed and outputs open", o.Name)
		}
		for i := range o.fields {
			f := &o.fields[i]
			for _, example := range f.schema.Examples {
				text, err := marshal(example)
				if err != nil {
					t.Fatal(err)
				}
				if err := f.validate(text); err != nil {
					t.Errorf("%s: own example of %s: %v", o.Name, f.name, err)
				}
			}
		}
	}
}
