package oci

import (
	"fmt"
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
	DiffID    digest.Digest // of the uncompressed tar
	Size      int64         // of the blob
	MediaType string

	index  indexFile
	header *layer.Index // without objects and entries
	pack   *os.File
	base   int64 // where the pack begins in that file
	once   sync.Once
	pieces []layer.Content // see Source
}

// Blob returns a piece of the pack: the content of an object or entry, by its offset and size
// in the index.
func (l *Layer) Blob(off, size int64) rootfs.Blob {
	if size == 0 {
		return Blob{}
	}
	return Blob{l, off, size}
}

// A Blob is content of a layer. Two blobs are equal if they are the same piece of the same
// layer. The zero value is empty.
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

// Origin names the layer of the content.
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

// Section returns a part of the content. See [rootfs.Section].
func (b Blob) Section(off, n int64) rootfs.Blob {
	if off < 0 || n < 0 || n > b.Len-off {
		panic(fmt.Sprintf("oci: section %d+%d of a blob of %d bytes", off, n, b.Len))
	}
	if n == 0 {
		return Blob{}
	}
	return Blob{b.Layer, b.Off + off, n}
}

// Overlaps reports whether both blobs share bytes of a layer. See [rootfs.SameBlob].
func (b Blob) Overlaps(other rootfs.Blob) bool {
	o, ok := other.(Blob)
	return ok && b.Layer != nil && b.Layer == o.Layer && b.Off < o.Off+o.Len && o.Off < b.Off+b.Len
}

// Source returns the digest of the layer's blob, and the offset of the content in
// the layer's tar. It reports false for content that is not contiguous in the tar:
// that of a sparse file. See [rootfs.SourceOf].
func (b Blob) Source() (layer string, off int64, ok bool) {
	if b.Layer == nil {
		return "", 0, false
	}
	all := b.Layer.contents()
	i := sort.Search(len(all), func(i int) bool { return all[i].Off+all[i].Size > b.Off })
	if i == len(all) || all[i].Off > b.Off || all[i].TarOff < 0 {
		return "", 0, false
	}
	return b.Layer.Digest.String(), all[i].TarOff + b.Off - all[i].Off, true
}
