package build

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
)

// TestList: a file that is missing or has another size than its record is a problem.
func TestList(t *testing.T) {
	dir := t.TempDir()
	if _, err := List(dir); !errors.Is(err, ErrNoBuild) {
		t.Errorf("an empty folder: %v", err)
	}
	m := stream.Meta{
		BuildID: "1", Name: "os", OSTreeCommit: strings.Repeat("0", 64), OSTreeTimestamp: "2026-01-01T00:00:00Z", OSTreeVersion: "1", BaseArch: "x86_64",
		Images: map[string]stream.Artifact{"qemu": {Path: "os.qcow2", SHA256: strings.Repeat("0", 64), Size: 4}},
	}
	if err := os.WriteFile(filepath.Join(dir, MetaFile), stream.Marshal(m), 0o666); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "os.qcow2")
	for content, problem := range map[string]string{"": "no such file", "disk": "", "larger": "6 bytes, meta.json says 4 bytes"} {
		os.Remove(file)
		if content != "" {
			if err := os.WriteFile(file, []byte(content), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		l, err := List(dir)
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		if err := l.WriteText(&text); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(l.Problems, "; "); (got == "") != (problem == "") || !strings.Contains(got, problem) || !strings.Contains(text.String(), problem) {
			t.Errorf("%q: problems %q, want %q: %s", content, got, problem, &text)
		}
		if paths := l.Paths(); len(paths) != 1 || paths[0] != file || !strings.Contains(text.String(), file) {
			t.Errorf("%q: paths %q: %s", content, paths, &text)
		}
	}
}
