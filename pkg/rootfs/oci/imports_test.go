package oci

import (
	"strings"
	"testing"
)

// TestImports stores an entry, and finds it in the list of the cache until it is
// removed or pruned.
func TestImports(t *testing.T) {
	dir := t.TempDir()
	i, key := Imports{dir}, strings.Repeat("ab", 32)
	if _, ok := i.Load(key); ok {
		t.Error("an empty cache has an entry")
	}
	for range 2 {
		i.Store(key, []byte("entry"))
		if entry, ok := i.Load(key); !ok || string(entry) != "entry" {
			t.Errorf("entry %q, %v", entry, ok)
		}
		checkCache(t, dir)
		i.Remove(key)
		if _, ok := i.Load(key); ok {
			t.Error("a removed entry is still there")
		}
	}
	i.Store(key, []byte("entry"))
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
}
