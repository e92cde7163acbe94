package stream

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
)

// TestWriteFile replaces a symbolic link, and does not write through it.
func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	prey, name := filepath.Join(dir, "prey"), filepath.Join(dir, "document")
	if err := os.WriteFile(prey, []byte("prey"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("prey", name); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(name, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(prey); err != nil || string(got) != "prey" {
		t.Errorf("%q, %v", got, err)
	}
	if info, err := os.Lstat(name); err != nil || !info.Mode().IsRegular() || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := WriteFile(filepath.Join(dir, "missing", "document"), nil, 0o600); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// TestEdit changes a file behind a link, from several goroutines, and leaves it alone
// after an error.
func TestEdit(t *testing.T) {
	dir := t.TempDir()
	file, name := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := os.WriteFile(file, []byte("{\n  \"stream\": \"stable\"\n}\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("file", name); err != nil {
		t.Fatal(err)
	}
	keys := []string{"a", "b", "c", "d", "e", "f"}
	var edits sync.WaitGroup
	for _, key := range keys {
		edits.Go(func() {
			if err := Edit(name, func(d *Document) error { return d.Set("x", key) }); err != nil {
				t.Error(err)
			}
		})
	}
	edits.Wait()
	failed := errors.New("failed")
	if err := Edit(name, func(d *Document) error {
		d.Set("y", "a")
		return failed
	}); !errors.Is(err, failed) {
		t.Error(err)
	}
	d, perm, err := open(file)
	if err != nil || perm != 0o640 {
		t.Fatal(perm, err)
	}
	if got := slices.Sorted(slices.Values(d.root.keys[1:])); !slices.Equal(got, keys) || d.root.values["a"] != "x" {
		t.Errorf("%s", d.Bytes())
	}
	if info, err := os.Lstat(name); err != nil || info.Mode().Type() != os.ModeSymlink {
		t.Errorf("the link was replaced: %v, %v", info, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("%v, %v", entries, err)
	}
}
