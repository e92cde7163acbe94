// Package archive lays out tar archives, without compression, as images.
//
// An archive is made of blocks of 512 bytes: for each file a header of one or more
// blocks, and its content; two blocks of zeros at the end. The size of each file is
// known before its content is read, and so is the place of every byte. Where a
// header, or a small file, holds a digest of a file behind it, [Lazy] computes it
// when it is read.
package archive

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"sync"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

const (
	block     = 512
	endBlocks = 2 // of zeros, at the end of an archive
)

// A File is a member of an archive.
type File struct {
	Header  tar.Header  // Format sets its Size
	Content rootfs.Blob // nil for a directory
}

// Format returns an archive of files in the given order.
func Format(files ...File) (*disk.Image, error) {
	var extents []disk.Extent
	var at int64
	add := func(b rootfs.Blob) {
		extents = append(extents, disk.Extent{Off: at, Blob: b})
		at += (b.Size() + block - 1) &^ (block - 1)
	}
	for _, f := range files {
		head, err := f.header()
		if err != nil {
			return nil, fmt.Errorf("%s of %s: %w", f.Header.Name, rootfs.Bytes(f.size()), err)
		}
		add(bytes.NewReader(head))
		if f.Content != nil {
			add(f.Content)
		}
	}
	return disk.New(at+endBlocks*block, extents...)
}

// Tail returns the number of bytes that follow the content of the last file, if it
// has the given size: padding, and the end of the archive. All are zeros.
func Tail(size int64) int64 { return -size&(block-1) + endBlocks*block }

func (f File) size() int64 {
	if f.Content == nil {
		return 0
	}
	return f.Content.Size()
}

func (f File) header() ([]byte, error) {
	f.Header.Size = f.size()
	var b bytes.Buffer
	err := tar.NewWriter(&b).WriteHeader(&f.Header)
	return b.Bytes(), err
}

// Lazy returns content of the given size, for which the first read calls compute.
// After an error the next read calls it again. It is an error if compute returns
// another number of bytes.
func Lazy(size int64, compute func() ([]byte, error)) rootfs.Blob {
	return &lazy{size: size, compute: compute}
}

type lazy struct {
	size    int64
	compute func() ([]byte, error)

	mu   sync.Mutex
	data []byte // nil until it is computed
}

func (l *lazy) Size() int64 { return l.size }

func (l *lazy) ReadAt(p []byte, off int64) (int, error) {
	data, err := l.get()
	if err != nil {
		return 0, err
	}
	return bytes.NewReader(data).ReadAt(p, off)
}

func (l *lazy) get() ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.data != nil {
		return l.data, nil
	}
	data, err := l.compute()
	if err == nil && int64(len(data)) != l.size {
		err = fmt.Errorf("computed %d bytes, want %d: %w", len(data), l.size, io.ErrUnexpectedEOF)
	}
	if err != nil {
		return nil, err
	}
	l.data = data
	return data, nil
}
