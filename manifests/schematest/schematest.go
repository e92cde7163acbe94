// Package schematest helps the tests of documents with a JSON Schema. It makes the
// schema of Go types, with their comments as descriptions, and validates documents.
package schematest

import (
	"bytes"
	"encoding/json"
	"os"
	"path"
	"strings"
	"testing"

	schema "github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"
)

// Shipped fails the test unless the embedded schema is the schema of the type of v. pkg
// is the import path of the type's package, whose source is in the working directory.
// tag is the struct tag with the names of keys. With update it writes the schema to
// file.
func Shipped(t testing.TB, pkg, file string, embedded []byte, v any, tag string, update bool) {
	t.Helper()
	r := schema.Reflector{FieldNameTag: tag, Anonymous: true, ExpandedStruct: true, DoNotReference: true, RequiredFromJSONSchemaTags: true}
	if err := r.AddGoComments(pkg, "."); err != nil {
		t.Fatal(err)
	}
	for key, comment := range r.CommentMap {
		r.CommentMap[strings.Replace(key, path.Base(pkg)+"/./", path.Base(pkg), 1)] = strings.ReplaceAll(comment, "\n", " ")
	}
	got, err := json.MarshalIndent(r.Reflect(v), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	} else if !bytes.Equal(got, embedded) {
		t.Errorf("%s differs from the schema of the types, write it with -update:\n%s", file, got)
	}
}

// Valid validates a document in JSON.
func Valid(t testing.TB, schema, text []byte) error {
	t.Helper()
	doc, err := validator.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		t.Fatal(err)
	}
	c := validator.NewCompiler()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	v, err := validator.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	return s.Validate(v)
}
