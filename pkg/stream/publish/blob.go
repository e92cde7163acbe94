package publish

import (
	"bytes"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// A blob is what a registry keeps under its digest: a file, a part of one, a
// file in a tarball, or some bytes.
type blob struct {
	desc imgspec.Descriptor
	name string // for people, and as title

	path string      // of the file, if it is one
	from int64       // where the blob begins in the file
	wrap *disk.Image // the tarball without the file, which is at [tarHeader]
	text []byte      // if it is no file
}

// bytesBlob returns a blob of some bytes.
func bytesBlob(name string, text []byte) blob {
	return blob{name: name, text: text, desc: imgspec.Descriptor{Digest: digest.FromBytes(text), Size: int64(len(text))}}
}

func bytesReader(b []byte) *bytes.Reader { return bytes.NewReader(b) }

// An openBlob is content that can be read at any offset.
type openBlob struct {
	rootfs.Blob
	io.Closer
}

// open opens a blob for reading.
func (b blob) open() (*openBlob, error) {
	if b.path == "" {
		return b.wrapped(bytes.NewReader(b.text), io.NopCloser(nil))
	}
	f, err := os.Open(b.path)
	if err != nil {
		return nil, err
	}
	size := b.desc.Size
	if b.wrap != nil {
		info, err := f.Stat()
		if err != nil {
			f.Close()
			return nil, err
		}
		size = info.Size()
	}
	return b.wrapped(io.NewSectionReader(f, b.from, size), f)
}

// wrapped puts content into the tarball, if there is to be one.
func (b blob) wrapped(content rootfs.Blob, c io.Closer) (*openBlob, error) {
	if b.wrap == nil {
		return &openBlob{content, c}, nil
	}
	whole, err := disk.New(b.wrap.Size(), disk.Extent{Blob: b.wrap}, disk.Extent{Off: tarHeader, Blob: content})
	if err != nil {
		c.Close()
		return nil, err
	}
	return &openBlob{whole, c}, nil
}
