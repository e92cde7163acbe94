package stream

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	schema "github.com/invopop/jsonschema"
)

var update = flag.Bool("update", false, "write the schemas and the golden documents")

// golden compares a document with its file in testdata, or writes that.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs, look at it and write it with -update:\n%s", name, got)
	}
}

// TestSchemas: the schemas that are shipped are those of the types.
func TestSchemas(t *testing.T) {
	r := schema.Reflector{Anonymous: true, ExpandedStruct: true, RequiredFromJSONSchemaTags: true, AllowAdditionalProperties: true}
	if err := r.AddGoComments("github.com/ohp-assemble/ohp-assemble/pkg/stream", "."); err != nil {
		t.Fatal(err)
	}
	for key, comment := range r.CommentMap {
		r.CommentMap[strings.Replace(key, "stream/./", "stream", 1)] = strings.ReplaceAll(comment, "\n", " ")
	}
	for kind, v := range map[Kind]any{KindMeta: &Meta{}, KindStream: &Stream{}, KindRelease: &Release{}, KindIndex: &Index{}} {
		got, err := json.MarshalIndent(r.Reflect(v), "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, filepath.Join("schema", string(kind)), append(got, '\n'))
	}
}
