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
	if n, want := bytes.Count(Schema, []byte(`"description"`)), len(keys(reflect.TypeFor[Image]())); n < want-4 {
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

// TestStrict: what is wrong is refused with its place, by the schema as well.
func TestStrict(t *testing.T) {
	head := "apiVersion: ohp.dev/v1alpha1\nkind: Image\nspec:\n  source: a/b@sha256:" + strings.Repeat("0", 64) + "\n  platforms: [qemu]\n"
	if _, err := Parse([]byte(head), "x.yaml"); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ text, want string }{
		{head + "  kernelArgs: [quiet]\n", `x.yaml:6:3: unknown field "kernelArgs", is "kernelArguments" meant?`},
		{head + "  ignitoin: [a]\n", `6:3: unknown field "ignitoin", is "ignition" meant?`},
		{head + "  disk: {sice: 1GiB}\n", `x.yaml:6:10: unknown field "sice", is "size" meant?`},
		{head + "  qqqqqqqqqqq: 1\n", `6:3: unknown field "qqqqqqqqqqq"`},
		{head + "  platforms: [aws]\n", `6:3: `},
		{head + "  strict: perhaps\n", `6:11: `},
		{head + "  disk: [1]\n", `6:9: `},
		{strings.Replace(head, "@sha256:", "@sha1:", 1), `is not a digest`},
		{strings.Replace(head, "@sha256:", ":", 1), `inspect shows the digest`},
		{strings.Replace(head, "v1alpha1", "v2", 1), `want ohp.dev/v1alpha1`},
		{strings.Replace(head, "Image", "Disk", 1), `want ohp.dev/v1alpha1, Image`},
		{strings.Replace(head, "[qemu]", "[]", 1), `spec.platforms: none`},
		{"", `want ohp.dev`},
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
}

// TestPaths: what a definition names stands beside it.
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

// FuzzParse: a definition is taken or refused, and what is taken is pinned.
func FuzzParse(f *testing.F) {
	f.Add(Template)
	f.Add([]byte("a: &a [*a]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if m, err := Parse(text, "x.yaml"); err == nil && m.Spec.checkSource() != nil {
			t.Errorf("%q: %+v", text, m)
		}
	})
}
