package manifests

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/ohp-assemble/ohp-assemble/manifests/schematest"
)

var update = flag.Bool("update", false, "write the schema")

// TestSchema: the schema that is shipped is that of the types, with their
// comments for descriptions.
func TestSchema(t *testing.T) {
	schematest.Shipped(t, "github.com/ohp-assemble/ohp-assemble/manifests", "image.schema.json", Schema, &Image{}, "yaml", *update)
	if n, want := bytes.Count(Schema, []byte(`"description"`)), len(keysOf(reflect.TypeFor[Image]())); n < want-4 {
		t.Errorf("%d descriptions of %d keys", n, want)
	}
}

// valid has the schema judge a definition.
func valid(t *testing.T, text []byte) error {
	t.Helper()
	text, err := yaml.YAMLToJSON(text)
	if err != nil {
		return err
	}
	return schematest.Valid(t, Schema, text)
}

// TestExamples: the examples are right, in our eyes and in the schema's.
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
		{head + "  sice: 1GiB\n", `x.yaml:6:3: unknown field "sice", is "disk.size" meant?`}, // there is no size here
		{head + "  apiVersion: x\n", `x.yaml:6:3: unknown field "apiVersion"`},
		{head + "sources: x\n", `x.yaml:6:1: unknown field "sources", is "spec.source" meant?`},
		{head + "  architectures: []\n", `x.yaml:6:18: spec.architectures: none is named`},
		{head + "  architectures:\n    - amd64\n    - amd64\n", `x.yaml:8:7: spec.architectures: amd64 is there twice`},
		{head + "  kernelArguments: [a, 5, null]\n", `x.yaml:6:24: spec.kernelArguments.1: got number, want string`},
		{head + "  kernelArguments: [null]\n", `x.yaml:6:21: spec.kernelArguments.0: got null, want string`},
		{head + "  ignition: ['']\n", `x.yaml:6:14: spec.ignition.0: `},
		{head + "  disk: {size: 1 GiB}\n", `x.yaml:6:16: spec.disk.size: "1 GiB" must match `},
		{head + "  publish: {repository: not a ref!!}\n", `x.yaml:6:25: spec.publish.repository: "not a ref!!" must match `},
		{head + "  publish: {repository: team/os}\n", `x.yaml:6:25: spec.publish.repository: `}, // names no registry
		{head + "  publish: {repository: a.b/c@sha256:0}\n", `x.yaml:6:25: spec.publish.repository: `},
		{strings.Replace(head, "[qemu]", "['qemu,aws']", 1), `x.yaml:5:15: spec.platforms.0: "qemu,aws" must match`},
		{head + "  qqqqqqqqqqq: 1\n", `6:3: unknown field "qqqqqqqqqqq"`},
		{head + "  platforms: [aws]\n", `6:3: `},
		{head + "  strict: perhaps\n", `6:11: `},
		{head + "  disk: [1]\n", `6:9: `},
		{strings.Replace(head, "@sha256:", "@sha1:", 1), `x.yaml:4:11: spec.source: "a/b@sha1:`},
		{strings.Replace(head, "@sha256:", ":", 1), `inspect shows the digest`},
		{strings.Replace(head, "v1alpha1", "v2", 1), `x.yaml:1:13: apiVersion: value must be 'ohp.dev/v1alpha1'`},
		{strings.Replace(head, "Image", "Disk", 1), `x.yaml:2:7: kind: value must be 'Image'`},
		{strings.Replace(head, "[qemu]", "[]", 1), `x.yaml:5:14: spec.platforms: none is named`},
		{"", `x.yaml: there is no definition in it`},
		{"# nothing\n---\n", `x.yaml: there is no definition in it`},
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
	if _, err := Parse([]byte(head+"---\n"+head), "x.yaml"); err == nil || !strings.Contains(err.Error(), "x.yaml:7:1: a second document") {
		t.Errorf("two documents: %v", err)
	}
	for _, repository := range []string{"registry.example/a/b_c--d.e:43-images", "localhost/os", "127.0.0.1:5000/os", "[::1]:5000/os:x", "docker://quay.io/a/b"} {
		if _, err := Parse([]byte(head+"  publish: {repository: '"+repository+"'}\n---\n# the end\n"), "x.yaml"); err != nil {
			t.Error(err)
		}
	}
}

// TestPaths: paths in a definition are relative to it.
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
