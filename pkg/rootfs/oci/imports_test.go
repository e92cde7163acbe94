package oci

import (
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// TestImports stores an entry, and finds it in the list of the cache until it is
// removed or pruned. An entry that was loaded can be read until its image is closed.
func TestImports(t *testing.T) {
	dir := t.TempDir()
	image := &Image{Manifest: &Manifest{o: Options{Cache: dir}}}
	i, key := image.Imports(), strings.Repeat("ab", 32)
	read := func(b rootfs.Blob) string {
		all, err := rootfs.ReadAll(b, 100)
		if err != nil {
			return err.Error()
		}
		return string(all)
	}
	if _, ok := i.Load(key); ok {
		t.Error("an empty cache has an entry")
	}
	for range 2 {
		kept, ok := i.Store(key, []byte("en"), nil, []byte("try"))
		if !ok || read(kept) != "entry" {
			t.Fatalf("kept %q, %v", read(kept), ok)
		}
		if entry, ok := i.Load(key); !ok || read(entry) != "entry" {
			t.Errorf("entry %q, %v", read(entry), ok)
		}
		checkCache(t, dir)
		i.Remove(key)
		if _, ok := i.Load(key); ok {
			t.Error("a removed entry is still there")
		}
	}
	kept, _ := i.Store(key, []byte("entry"))
	all, err := Usage(dir)
	if err != nil || len(all) != 1 || all[0].Kind != "import" || all[0].Digest.Encoded() != key || all[0].Size != 5 {
		t.Errorf("%+v, %v", all, err)
	}
	if freed, err := Prune(dir, PruneOptions{}); err != nil || freed != 5 {
		t.Errorf("%d bytes freed, %v", freed, err)
	}
	if _, ok := i.Load(key); ok {
		t.Error("a pruned entry is still there")
	}
	if read(kept) != "entry" {
		t.Error("an entry in use cannot be read after it was pruned")
	}
	if err := image.Close(); err != nil || read(kept) == "entry" {
		t.Errorf("close: %v; the entry remains open", err)
	}
}
