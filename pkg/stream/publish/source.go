package publish

import (
	"io"
	"os"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
)

// A fileSource is a file, or a part of one.
type fileSource struct {
	path string
	off  int64
	size int64
}

// Open implements [registry.Source].
func (s fileSource) Open() (registry.Content, error) {
	f, err := os.Open(s.path)
	if err != nil {
		return nil, err
	}
	return content{io.NewSectionReader(f, s.off, s.size), f}, nil
}

// A tarSource is a tar archive with one file, whose content is at [tarHeader].
type tarSource struct {
	frame *disk.Image // the archive without the content
	file  registry.Source
	size  int64 // of the file
}

// Open implements [registry.Source].
func (s tarSource) Open() (registry.Content, error) {
	file, err := s.file.Open()
	if err != nil {
		return nil, err
	}
	whole, err := disk.New(s.frame.Size(), disk.Extent{Blob: s.frame}, disk.Extent{Off: tarHeader, Blob: io.NewSectionReader(file, 0, s.size)})
	if err != nil {
		file.Close()
		return nil, err
	}
	return content{whole, file}, nil
}

// content is readable content with the file to close.
type content struct {
	io.ReaderAt
	io.Closer
}
