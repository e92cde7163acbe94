// Package qcow2 writes and reads images in the format of QEMU, version 3
// ("compat 1.1"), as QEMU's docs/interop/qcow2.rst describes it.
//
// A file consists of clusters of 64 KiB, in this order:
//
//	header
//	refcount table       where the refcount blocks are
//	refcount blocks      16 bits for each cluster of the file
//	L1 table             where the L2 tables are
//	L2 tables            where the clusters of the disk are
//	data                 clusters of the disk in their order
//
// Clusters of the disk without content are not in the file, nor are L2 tables without
// entries. This is known before any content is read, so [Format] returns the file as
// an image. Compression is the exception: the place of a cluster depends on the sizes
// of those before it. [Write] keeps them in a spool and writes the tables first.
//
// Left out: backing files, snapshots, encryption, external data files,
// bitmaps, subclusters. [Open] ignores snapshots and bitmaps, and rejects images that
// need the others to be read.
package qcow2

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
)

// Compression is the form in which clusters of the disk are stored.
type Compression int

// Kinds of compression. All readers of qcow2 support Deflate; QEMU 5.1 and later
// support Zstd.
const (
	None Compression = iota
	Deflate
	Zstd
)

// Options select the compression. The zero value selects none.
type Options struct {
	Compression Compression
	Spool       Spool // required for compression
}

// A Spool keeps compressed clusters until all are compressed: a temporary file. Its
// previous content does not matter. The caller removes it.
type Spool interface {
	io.ReaderAt
	io.WriterAt
}

// clusterBits is the logarithm of the size of clusters, 64 KiB as QEMU's
// default.
const clusterBits = 16

// chunk is the number of bytes of content that are read at once.
const chunk = 1 << 20

// Check returns why a disk of a size in bytes cannot be written.
func Check(size int64) error {
	if err := (&layout{bits: clusterBits, size: size}).check(); err != nil {
		return fmt.Errorf("qcow2: %w", err)
	}
	return nil
}

// Format returns a file that holds the disk without compression, itself an image.
// Its size must be a whole number of sectors of 512 bytes.
func Format(img *disk.Image, o Options) (*disk.Image, error) {
	if o.Compression != None {
		return nil, errors.New("qcow2: compressed clusters must be written, see Write")
	}
	return format(img, clusterBits)
}

func format(img *disk.Image, bits int) (*disk.Image, error) {
	l := newLayout(img, bits)
	if err := l.check(); err != nil {
		return nil, fmt.Errorf("qcow2: %w", err)
	}
	l.place()
	metadata := l.metadata(img,
		func(data int64) uint16 { return 1 },
		func(content int64) uint64 { return l.offset(l.dataStart()+content) | entryCopied })
	extents := []disk.Extent{{Blob: bytes.NewReader(metadata)}}
	at := l.dataStart()
	for run := range img.Runs(l.cluster()) {
		if run.Hole {
			continue
		}
		extents = append(extents, disk.Extent{Off: int64(l.offset(at)), Blob: img.Section(run.Off, run.Len)})
		at += ceil(run.Len, l.cluster())
	}
	return disk.New(l.clusters()<<bits, extents...)
}

// Write writes a file that holds the disk to w from start to end.
func Write(w io.Writer, img *disk.Image, o Options) error {
	return write(w, img, o, clusterBits)
}

func write(w io.Writer, img *disk.Image, o Options, bits int) error {
	if o.Compression == None {
		file, err := format(img, bits)
		if err != nil {
			return err
		}
		_, err = file.WriteTo(w)
		return wrap(err)
	}
	l := newLayout(img, bits)
	err := l.check()
	switch {
	case err != nil:
	case o.Compression != Deflate && o.Compression != Zstd:
		err = fmt.Errorf("unknown compression %d", o.Compression)
	case o.Spool == nil:
		err = errors.New("compression needs a spool")
	default:
		err = writeCompressed(w, img, l, o)
	}
	return wrap(err)
}

func wrap(err error) error {
	if err != nil {
		return fmt.Errorf("qcow2: %w", err)
	}
	return nil
}
