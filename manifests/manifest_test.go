package manifests

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/ohp-assemble/ohp-assemble/manifests/schematest"
)

var update = flag.Bool("update", false, "write the schema")

// TestSchema: the embedded schema is the one of the types, with their comments as
// descriptions.
func TestSchema(t *testing.T) {
	schematest.Shipped(t, "github.com/ohp-assemble/ohp-assemble/manifests", "image.schema.json", Schema, &Image{}, "yaml", *update)
	if n, want := bytes.Count(Schema, []byte(`"description"`)), len(keysOf(reflect.TypeFor[Image]())); n < want-4 {
		t.Errorf("%d descriptions of %d keys", n, want)
	}
}

// valid validates a definition by the schema alone.
func valid(t *testing.T, text []byte) error {
	t.Helper()
	text, err := toJSON(text)
	if err != nil {
		return err
	}
	return schematest.Valid(t, Schema, text)
}

// toJSON converts YAML to JSON, independently of the package under test.
func toJSON(text []byte) ([]byte, error) {
	var v any
	if err := yaml.Unmarshal(text, &v); err != nil {
		return nil, err
	}
	return json.Marshal(v)
}

// TestExamples: the examples are valid, and their files exist.
func TestExamples(t *testing.T) {
	names, _ := filepath.Glob("examples/*.yaml")
	if len(names) < 2 {
		t.Fatalf("examples: %q", names)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		m, err := Parse(text, name)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, file := range m.Spec.Ignition {
			if _, err := os.Stat(file); err != nil {
				t.Error(err)
			}
		}
		if err := valid(t, text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestStrict: errors have a place, and the schema rejects them as well.
func TestStrict(t *testing.T) {
	head := "apiVersion: ohp.dev/v1alpha1\nkind: Image\nspec:\n  source: a/b@sha256:" + strings.Repeat("0", 64) + "\n  platforms: [qemu]\n"
	if _, err := Parse([]byte(head), "x.yaml"); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ text, want string }{
		{head + "  kernelArgs: [quiet]\n", `x.yaml:6:3: unknown field "kernelArgs", is "kernelArguments" meant?`},
		{head + "  ignitoin: [a]\n", `6:3: unknown field "ignitoin", is "ignition" meant?`},
		{head + "  disk: {sice: 1GiB}\n", `x.yaml:6:10: unknown field "sice", is "size" meant?`},
		{head + "  sice: 1GiB\n", `x.yaml:6:3: unknown field "sice", is "disk.size" meant?`}, // size is a key of disk only
		{head + "  apiVersion: x\n", `x.yaml:6:3: unknown field "apiVersion"`},
		{head + "sources: x\n", `x.yaml:6:1: unknown field "sources", is "spec.source" meant?`},
		{head + "  architectures: []\n", `x.yaml:6:18: spec.architectures: the list is empty`},
		{head + "  architectures:\n    - amd64\n    - amd64\n", `x.yaml:8:7: spec.architectures: duplicate item "amd64"`},
		{head + "  kernelArguments: [a, 5, null]\n", `x.yaml:6:24: spec.kernelArguments.1: got number, want string`},
		{head + "  kernelArguments: [null]\n", `x.yaml:6:21: spec.kernelArguments.0: got null, want string`},
		{head + "  ignition: ['']\n", `x.yaml:6:14: spec.ignition.0: `},
		{head + "  disk: {size: 1 GiB}\n", `x.yaml:6:16: spec.disk.size: "1 GiB" must match `},
		{head + "  publish: {repository: not a ref!!}\n", `x.yaml:6:25: spec.publish.repository: "not a ref!!" must match `},
		{head + "  publish: {repository: team/os}\n", `x.yaml:6:25: spec.publish.repository: `}, // names no registry
		{head + "  publish: {repository: a.b/c@sha256:0}\n", `x.yaml:6:25: spec.publish.repository: `},
		{strings.Replace(head, "[qemu]", "['qemu,aws']", 1), `x.yaml:5:15: spec.platforms.0: "qemu,aws" must match`},
		{head + "  qqqqqqqqqqq: 1\n", `6:3: unknown field "qqqqqqqqqqq"`},
		{head + "  platforms: [aws]\n", `x.yaml:6:3: duplicate key "platforms", first in line 5`},
		{head + "  strict: perhaps\n", `6:11: `},
		{head + "  disk: [1]\n", `6:9: `},
		{strings.Replace(head, "@sha256:", "@sha1:", 1), `x.yaml:4:11: spec.source: "a/b@sha1:`},
		{strings.Replace(head, "@sha256:", ":", 1), `inspect shows the digest`},
		{strings.Replace(head, "v1alpha1", "v2", 1), `x.yaml:1:13: apiVersion: value must be 'ohp.dev/v1alpha1'`},
		{strings.Replace(head, "Image", "Disk", 1), `x.yaml:2:7: kind: value must be 'Image'`},
		{strings.Replace(head, "[qemu]", "[]", 1), `x.yaml:5:14: spec.platforms: the list is empty`},
		{"", `x.yaml: no definition in the file`},
		{"# nothing\n---\n", `x.yaml: no definition in the file`},
		{"{", `x.yaml:1:1: `},
		{"- 1\n", `x.yaml:1:1: `},
	} {
		_, err := Parse([]byte(tc.text), "x.yaml")
		if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, want %s", tc.text, err, tc.want)
		}
		if valid(t, []byte(tc.text)) == nil {
			t.Errorf("%q: the schema allows it", tc.text)
		}
	}
	for _, tc := range []struct{ text, want string }{
		{head + "   indented: 3\n", `x.yaml:6:15: invalid YAML: did not find expected key, in a value that begins near line 3`},
		{head + "  origin: [a, b\n", `x.yaml:6:16: invalid YAML: did not find expected ',' or ']', in a value that begins near line 5`},
		{head + "  origin: \"é\xff", `x.yaml:6:13: invalid YAML: invalid leading UTF-8 octet`},
		{head + "  ignition: *no\n", `x.yaml:6:16: invalid YAML: unknown anchor 'no' referenced`},
		{head + "  ? [a]\n  : 1\n", `x.yaml:6:5: a key must be a string`},
		{head + "  strict: !!bool perhaps\n", `x.yaml:6:11: "perhaps" is not a valid !!bool`},
		{head + "  origin: .nan\n", `x.yaml:6:11: spec.origin: got number, want string`},
		{head + "  disk:\n    <<: {sice: 1}\n", `x.yaml:6:3: unknown field "sice", is "size" meant?`},
		{head + "  disk:\n    <<: 5\n", `x.yaml:7:5: the value of << must be a mapping or a list of mappings`},
		{"metadata: &m\n  name: x\n" + head + "  disk: *m\n", `x.yaml:2:3: unknown field "name"`},
	} {
		if _, err := Parse([]byte(tc.text), "x.yaml"); err == nil || err.Error() != tc.want {
			t.Errorf("%q: %v, want %s", tc.text, err, tc.want)
		}
	}
	if _, err := Parse([]byte(head+"---\n"+head), "x.yaml"); err == nil || !strings.Contains(err.Error(), "x.yaml:7:1: a second document") {
		t.Errorf("two documents: %v", err)
	}
	for _, repository := range []string{"registry.example/a/b_c--d.e:43-images", "localhost/os", "127.0.0.1:5000/os", "[::1]:5000/os:x", "docker://quay.io/a/b"} {
		if _, err := Parse([]byte(head+"  publish: {repository: '"+repository+"'}\n---\n# the end\n"), "x.yaml"); err != nil {
			t.Error(err)
		}
	}
}

// TestLimits: the expansion of aliases and the size of the text are limited.
func TestLimits(t *testing.T) {
	bomb := "a0: &a0 [x, x, x, x, x, x, x, x]\n"
	for i := range 20 {
		bomb += fmt.Sprintf("a%d: &a%[1]d [*a%d, *a%[2]d, *a%[2]d, *a%[2]d]\n", i+1, i)
	}
	for text, want := range map[string]string{
		bomb:                           "x.yaml:1:16: more than 16384 values",
		"a: &a [*a]\n":                 "x.yaml:1:8: more than 16384 values",
		"a: &a {b: *a}\n":              "x.yaml:1:11: more than 16384 values",
		strings.Repeat("#", maxText+1): "x.yaml: definition is larger than 1 MiB",
	} {
		if _, err := Parse([]byte(text), "x.yaml"); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.99q: %v, want %s", text, err, want)
		}
	}
}

// TestMerge: aliases and the key << repeat parts of a definition.
func TestMerge(t *testing.T) {
	source := "  source: a/b@sha256:" + strings.Repeat("0", 64) + "\n"
	m, err := Parse([]byte("apiVersion: ohp.dev/v1alpha1\nkind: Image\nspec:\n"+source+
		"  platforms: &p [qemu]\n  architectures: *p\n  origin: 2026-01-01\n"+
		"  disk:\n    size: 1GiB\n    <<: [{bootSize: 2GiB, size: 2GiB}, {bootSize: 3GiB, espSize: 3GiB}]\n"), "x.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if want := (Disk{Size: "1GiB", BootSize: "2GiB", ESPSize: "3GiB"}); m.Spec.Disk != want {
		t.Errorf("disk %+v, want %+v", m.Spec.Disk, want)
	}
	if m.Spec.Architectures[0] != "qemu" || m.Spec.Origin != "2026-01-01" {
		t.Errorf("%+v", m.Spec)
	}
	if got, want := m.At("spec.disk.size"), "x.yaml:9:11: spec.disk.size"; got != want {
		t.Errorf("At: %s, want %s", got, want)
	}
}

// TestPaths: paths in a definition are relative to its file.
func TestPaths(t *testing.T) {
	text, err := os.ReadFile("examples/cloud.yaml")
	if err != nil {
		t.Fatal(err)
	}
	m, err := Parse(text, "../somewhere/cloud.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if m.Spec.Ignition[0] != "../somewhere/first-boot.bu" || m.Spec.FilesDir != "../somewhere/files" {
		t.Errorf("%+v", m.Spec)
	}
}

// FuzzParse: every accepted definition has a pinned source.
func FuzzParse(f *testing.F) {
	f.Add(Template)
	f.Add([]byte("a: &a [*a]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if m, err := Parse(text, "x.yaml"); err == nil && checkSource(m.Spec.Source) != nil {
			t.Errorf("%q: %+v", text, m)
		}
	})
}
