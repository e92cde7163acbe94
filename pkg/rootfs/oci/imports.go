package oci

import (
	"io"
	"os"
	"path/filepath"
)

// Imports keeps results that are computed from images, in the same cache as the
// images. It implements the Cache of package container.
//
// An entry is read when it is whole, and its reader checks it: what is kept here
// has a checksum of its own. Entries appear in [Usage] as imports and are pruned
// like layers.
type Imports struct{ dir string }

// Imports returns the place for results that are computed from the image.
func (m *Image) Imports() Imports { return Imports{m.o.Cache} }

// maxImport bounds an entry. One of 300,000 files has 60 MiB.
const maxImport = 512 << 20

func (i Imports) path(key string) string { return filepath.Join(i.dir, version, "imports", key) }

// Load returns the entry of a key.
func (i Imports) Load(key string) (entry []byte, ok bool) {
	f, err := os.Open(i.path(key))
	if err != nil {
		return nil, false
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() > maxImport {
		return nil, false
	}
	entry = make([]byte, info.Size())
	if _, err := io.ReadFull(f, entry); err != nil {
		return nil, false
	}
	touch(f.Name())
	return entry, true
}

// Store keeps an entry. A cache without room keeps nothing: the entry is computed
// again the next time.
func (i Imports) Store(key string, entry []byte) {
	c, err := openCache(i.dir)
	if err != nil {
		return
	}
	defer c.close()
	_ = c.writeFile(i.path(key), entry)
}

// Remove removes a damaged entry.
func (i Imports) Remove(key string) { remove(i.path(key)) }
