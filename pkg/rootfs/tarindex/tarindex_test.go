package tarindex

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// TestIndex reads archives that GNU tar has written.
func TestIndex(t *testing.T) {
	dir := t.TempDir()
	long := strings.Repeat("long/", 60) + "file"
	for name, text := range map[string]string{"a": "first", "dir/b": strings.Repeat("x", 700), long: "deep", "empty": ""} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("a", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	sparse := filepath.Join(dir, "sparse")
	if err := os.WriteFile(sparse, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(sparse, 1<<20); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"gnu", "pax", "oldgnu"} {
		archive := filepath.Join(t.TempDir(), "archive.tar")
		treetest.Run(t, "tar", "--sparse", "--format="+format, "-C", dir, "-cf", archive, ".")
		b, err := os.ReadFile(archive)
		if err != nil {
			t.Fatal(err)
		}
		files, err := Index(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		if len(files) != 4 {
			t.Errorf("%s: %d files: %v", format, len(files), files)
		}
		for name, want := range map[string]string{"a": "first", "dir/b": strings.Repeat("x", 700), long: "deep", "empty": ""} {
			content, ok := files[name]
			if !ok {
				t.Errorf("%s: no %s", format, name)
				continue
			}
			if got, err := io.ReadAll(content); err != nil || string(got) != want {
				t.Errorf("%s: %s: %q, %v", format, name, got, err)
			}
		}
	}
}

// TestDamaged fails on an archive that ends in a header.
func TestDamaged(t *testing.T) {
	if _, err := Index(strings.NewReader(strings.Repeat("x", 600)), 600); err == nil {
		t.Error("no error")
	}
}
