package oci

import (
	"io"
	"os"
	"sort"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/layer"
)

// A Layer is a layer in the cache.
type Layer struct {
	Digest    digest.Digest // of the blob
	DiffID    digest.Digest // of what it inflates to
	Size      int64         // of the blob
	MediaType string

	index  indexFile
	header *layer.Index // without objects and entries
	pack   *os.File
	base   int64 // where the pack begins in that file
	once   sync.Once
	pieces []layer.Content // for TarOff
}

// Blob returns a piece of the pack: the content of an object or entry, whose
// offset there and size the index has.
func (l *Layer) Blob(off, size int64) rootfs.Blob {
	if size == 0 {
		return Blob{}
	}
	return Blob{l, off, size}
}

// A Blob is content of a layer. Blobs are equal when they are the same piece of
// the same layer; the zero value is empty.
type Blob struct {
	Layer *Layer
	Off   int64 // in the pack
	Len   int64
}

// Size returns the size in bytes.
func (b Blob) Size() int64 { return b.Len }

// ReadAt reads from the pack.
func (b Blob) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, os.ErrInvalid
	}
	if off >= b.Len {
		return 0, io.EOF
	}
	var eof error
	if left := b.Len - off; int64(len(p)) > left {
		p, eof = p[:left], io.EOF
	}
	n, err := b.Layer.pack.ReadAt(p, b.Layer.base+b.Off+off)
	if n < len(p) {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return n, err
	}
	return n, eof
}

// Origin names the layer that the content came in.
func (b Blob) Origin() string {
	if b.Layer == nil {
		return ""
	}
	return "layer " + b.Layer.Digest.String()
}

// Pack returns the digest of the layer that the content came in, and the offset
// of the content in the layer's pack: [Layer.Blob] with it is the same content.
func (b Blob) Pack() (layer string, off int64) {
	if b.Layer == nil {
		return "", 0
	}
	return b.Layer.Digest.String(), b.Off
}

// File returns the file that holds the content, and where it is in there, for
// who can have the kernel copy it. The file is the layer's: it is only read,
// at offsets, and not closed.
func (b Blob) File() (*os.File, int64) {
	if b.Layer == nil {
		return nil, 0
	}
	return b.Layer.pack, b.Layer.base + b.Off
}

// TarOff returns where the content is in the layer's tar, or -1 if it is not
// in one piece there.
func (b Blob) TarOff() int64 {
	if b.Layer == nil {
		return -1
	}
	all := b.Layer.contents()
	i := sort.Search(len(all), func(i int) bool { return all[i].Off+all[i].Size > b.Off })
	if i == len(all) || all[i].Off > b.Off || all[i].TarOff < 0 {
		return -1
	}
	return all[i].TarOff + b.Off - all[i].Off
}
