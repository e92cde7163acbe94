package oci

import (
	"io"
	"os"
	"path/filepath"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// Imports keeps results that are computed from images, in the same cache as the
// images. It implements the Cache of package container.
//
// An entry appears when it is whole, and its reader checks it: an entry has checksums
// of its own. Entries appear in [Usage] as imports and are pruned
// like layers.
type Imports struct{ image *Image }

// Imports returns the place for results that are computed from the image.
func (m *Image) Imports() Imports { return Imports{m} }

func (i Imports) path(key string) string {
	return filepath.Join(i.image.o.Cache, version, "imports", key)
}

// Load returns the entry of a key. It can be read until the image is closed.
func (i Imports) Load(key string) (entry rootfs.Blob, ok bool) {
	f, err := os.Open(i.path(key))
	if err != nil {
		return nil, false
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, false
	}
	i.image.keep(f)
	touch(f.Name())
	return io.NewSectionReader(f, 0, info.Size()), true
}

// Store keeps an entry, which consists of parts, and returns it as Load does. A cache
// without room keeps nothing: the entry is computed again the next time.
func (i Imports) Store(key string, parts ...[]byte) (entry rootfs.Blob, ok bool) {
	c, err := openCache(i.image.o.Cache)
	if err != nil {
		return nil, false
	}
	defer c.close()
	if c.writeFile(i.path(key), parts...) != nil {
		return nil, false
	}
	return i.Load(key)
}

// Remove removes a damaged entry.
func (i Imports) Remove(key string) { remove(i.path(key)) }
