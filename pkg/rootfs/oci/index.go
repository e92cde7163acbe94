package oci

import (
	"cmp"
	"fmt"
	"os"
	"slices"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/layer"
)

// An indexFile is the serialized index of a layer. It is read when the index is
// wanted, because an image whose import is cached never needs it.
type indexFile struct {
	file *os.File
	base int64 // offset of the index in the file
	size int64
}

// Index reads the index of the layer. Every call parses it again, so that the
// index is garbage when its caller has no more use for it.
func (l *Layer) Index() (*layer.Index, error) {
	b := make([]byte, l.index.size)
	if err := rootfs.ReadFull(l.index.file, b, l.index.base); err != nil {
		return nil, fmt.Errorf("index of layer %s: %w", short(l.Digest), err)
	}
	x, err := layer.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("index of layer %s: %w", short(l.Digest), err)
	}
	return x, nil
}

// close closes the files of a layer that is no part of an image yet.
func (l *Layer) close() {
	l.pack.Close()
	l.index.file.Close()
}

// contents returns all pieces of content of the pack in order, none if the index
// cannot be read.
func (l *Layer) contents() []layer.Content {
	l.once.Do(func() {
		x, err := l.Index()
		if err != nil {
			return
		}
		for _, o := range x.Objects {
			if o.Size > 0 {
				l.pieces = append(l.pieces, o.Content)
			}
		}
		for _, e := range x.Entries {
			if e.Size > 0 {
				l.pieces = append(l.pieces, e.Content)
			}
		}
		slices.SortFunc(l.pieces, func(a, b layer.Content) int { return cmp.Compare(a.Off, b.Off) })
	})
	return l.pieces
}
