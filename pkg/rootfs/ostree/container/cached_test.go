package container

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree"
)

// A mapCache is a Cache in memory that counts.
type mapCache struct {
	entries       map[string][]byte
	hits, removed int
}

func (c *mapCache) Load(key string) (rootfs.Blob, bool) {
	entry, ok := c.entries[key]
	if ok {
		c.hits++
	}
	return bytes.NewReader(entry), ok
}

func (c *mapCache) Store(key string, parts ...[]byte) (rootfs.Blob, bool) {
	entry := bytes.Join(parts, nil)
	c.entries[key] = entry
	return bytes.NewReader(entry), true
}

func (c *mapCache) Remove(key string) {
	delete(c.entries, key)
	c.removed++
}

// only returns the one entry and its key.
func (c *mapCache) only(t *testing.T) (key string, entry []byte) {
	t.Helper()
	if len(c.entries) != 1 {
		t.Fatalf("%d entries, want 1", len(c.entries))
	}
	for key, entry = range c.entries {
	}
	return key, entry
}

// cacheable returns images of every kind: with layers on a base, and a plain one.
func cacheable(t *testing.T) map[string]*Image {
	system := []entry{dir("usr"), file("usr/lib/modules/6.0/initramfs.img", "x"), file("usr/lib/os-release", "x"), file("usr/b", ""), symlink("usr/c", "a"),
		file("usr/ping", "p").xattr("security.capability", strings.Repeat("x", 20)), hardlink("usr/pong", "usr/ping")}
	change := makeLayer(t, file("usr/sudo", "x").by(0, 0, 0o4111), file("var/lib/x", "warned of"), file("usr/.wh.b", ""))
	return map[string]*Image{
		"derived": derivedImage(t, change),
		"plain":   makeImage(t, -1, makeLayer(t, system...), change),
	}
}

// sameTree compares all of two trees.
func sameTree(t *testing.T, a, b *Tree) {
	t.Helper()
	if a.Deployed != b.Deployed || a.Base != b.Base || a.ACL != b.ACL {
		t.Errorf("commits %s and %s, %s and %s, ACL %q and %q", a.Deployed, b.Deployed, a.Base, b.Base, a.ACL, b.ACL)
	}
	for what, pair := range map[string][2]any{
		"warnings": {a.Warnings, b.Warnings}, "notes": {a.Notes, b.Notes}, "labels": {a.Labels, b.Labels},
		"refs": {a.Repo.Refs, b.Repo.Refs}, "metadata": {a.Repo.Metadata, b.Repo.Metadata},
	} {
		if diff := cmp.Diff(pair[0], pair[1]); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
	names := func(r *ostree.Repo) map[ostree.Checksum]bool {
		all := map[ostree.Checksum]bool{}
		ids := r.IDs()
		for id, n := range r.Files {
			all[id] = ids[n] == id
		}
		return all
	}
	if x, y := read(t, a.Composefs), read(t, b.Composefs); len(x) == 0 || !bytes.Equal(x, y) {
		t.Errorf("composefs images of %d and %d bytes differ", len(x), len(y))
	}
	if !maps.Equal(names(a.Repo), names(b.Repo)) {
		t.Error("the repositories have other files")
	}
	for d, err := range rootfs.Diff(a.Root, b.Root) {
		t.Errorf("%s: %v %v", d.Path, d.What, err)
	}
}

func read(t *testing.T, b rootfs.Blob) []byte {
	t.Helper()
	all, err := rootfs.ReadAll(b, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestCachedImport(t *testing.T) {
	for name, img := range cacheable(t) {
		t.Run(name, func(t *testing.T) {
			want, err := Import(img, Options{Reference: testReference})
			if err != nil {
				t.Fatal(err)
			}
			cache := &mapCache{entries: map[string][]byte{}}
			img.Cache = cache
			for round := range 3 {
				got, err := Import(img, Options{Reference: testReference})
				if err != nil {
					t.Fatal(err)
				}
				sameTree(t, want, got)
				if cache.hits != round {
					t.Errorf("round %d: %d hits", round, cache.hits)
				}
			}
			if cache.removed > 0 {
				t.Errorf("%d entries removed", cache.removed)
			}
			for _, o := range []Options{{Reference: testReference + "x"}, {Reference: testReference, Merge: MergeOCI}, {Reference: testReference, Importer: "x"}} {
				if _, err := Import(img, o); err != nil {
					t.Fatal(err)
				}
			}
			if len(cache.entries) != 4 {
				t.Errorf("%d entries for 4 kinds of import", len(cache.entries))
			}
		})
	}
}

// TestDamagedImport damages an entry in every place: whether or not that shows in
// its checksum, the import is the same or is made again.
func TestDamagedImport(t *testing.T) {
	img := cacheable(t)["plain"]
	cache := &mapCache{entries: map[string][]byte{}}
	img.Cache = cache
	want, err := Import(img, Options{Reference: testReference})
	if err != nil {
		t.Fatal(err)
	}
	key, entry := cache.only(t)
	for i := 0; i < len(entry); i += 7 {
		for _, damaged := range [][]byte{entry[:i], append(bytes.Clone(entry[:i]), append([]byte{entry[i] ^ 0xff}, entry[i+1:]...)...)} {
			cache.entries[key] = damaged
			got, err := Import(img, Options{Reference: testReference})
			if err != nil {
				t.Fatal(err)
			}
			if got.Deployed != want.Deployed {
				t.Fatalf("byte %d damaged: another commit", i)
			}
			if _, again := cache.only(t); !bytes.Equal(again, entry) {
				t.Fatalf("byte %d damaged: the entry was not made again", i)
			}
		}
	}
}

// TestForgedImport gives the decoder entries with a good checksum and bad content.
func TestForgedImport(t *testing.T) {
	img := cacheable(t)["plain"]
	cache := &mapCache{entries: map[string][]byte{}}
	img.Cache = cache
	if _, err := Import(img, Options{Reference: testReference}); err != nil {
		t.Fatal(err)
	}
	_, entry := cache.only(t)
	b, image, err := split(bytes.NewReader(entry))
	if err != nil {
		t.Fatal(err)
	}
	seal := func(record []byte) rootfs.Blob {
		sum := ostree.Sum(record)
		size := binary.BigEndian.AppendUint64(nil, uint64(image.Size()))
		return bytes.NewReader(slices.Concat(record, sum[:], read(t, image), size))
	}
	body := b[:len(b)-32]
	if _, err := decode(img, seal(body)); err != nil {
		t.Fatal(err)
	}
	step := 1
	if testing.Short() { // the race detector is slow, and decode has one goroutine
		step = 11
	}
	for i := len(format); i < len(body); i += step {
		for _, v := range []byte{0, 1, 0x7f, 0x80, 0xff} {
			forged := bytes.Clone(body)
			forged[i] = v
			_, _ = decode(img, seal(forged)) // an error or another tree, and no panic
		}
		if _, err := decode(img, seal(body[:i])); err == nil {
			t.Fatalf("%d bytes of %d are an entry", i, len(body))
		}
	}
}

// TestImportFormat fails when the result of an import changes. Then the number in
// [format] must change too, or caches would keep the old result.
func TestImportFormat(t *testing.T) {
	img := cacheable(t)["plain"]
	cache := &mapCache{entries: map[string][]byte{}}
	img.Cache = cache
	if _, err := Import(img, Options{Reference: testReference}); err != nil {
		t.Fatal(err)
	}
	_, entry := cache.only(t)
	sum := ostree.Sum(entry)
	const want = "ohpimp 3 8c735931595b0e0c"
	if got := format + " " + hex.EncodeToString(sum[:8]); got != want {
		t.Errorf("an import is %s, want %s: raise the number in format", got, want)
	}
}
