// Package qcow2 writes and reads images in the format of QEMU, version 3
// ("compat 1.1"), as QEMU's docs/interop/qcow2.rst describes it.
//
// A file is made of clusters of 64 KiB. [Write] lays it out so that it streams:
//
//	header
//	refcount table       where the refcount blocks are
//	refcount blocks      16 bits for each cluster of the file
//	L1 table             where the L2 tables are
//	L2 tables            where the clusters of the disk are
//	data                 clusters of the disk in their order
//
// A cluster of the disk that no extent of the image touches is not in the
// file, and neither is an L2 table without entries. Since that is known before
// any content is read, so is all that stands before the data. Compression is
// the exception: only when all clusters are compressed is it known where each
// of them stands, so they wait in a spool.
//
// Left out: backing files, snapshots, encryption, external data files,
// bitmaps, subclusters. [Open] refuses images that need those to be read,
// except that it ignores snapshots and bitmaps.
package qcow2

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
)

// Compression says how the clusters of the disk are stored.
type Compression int

// Kinds of compression. Deflate is understood by everything that knows qcow2,
// Zstd by QEMU 5.1 and later.
const (
	None Compression = iota
	Deflate
	Zstd
)

// Options say how an image is written. The zero value writes it as it is.
type Options struct {
	Compression Compression
	Spool       Spool // must be there for compression
}

// A Spool keeps compressed clusters until all are there. A temporary file is
// one. Whatever was in it is overwritten, and it is left for the caller to
// remove.
type Spool interface {
	io.ReaderAt
	io.WriterAt
}

// clusterBits is the logarithm of the size of clusters, 64 KiB as QEMU's
// default.
const clusterBits = 16

// chunk is how many bytes of content are read at once.
const chunk = 1 << 20

// Check returns why a disk of a size in bytes cannot be written.
func Check(size int64) error {
	if err := (&layout{bits: clusterBits, size: size}).check(); err != nil {
		return fmt.Errorf("qcow2: %w", err)
	}
	return nil
}

// Write writes the image to w from start to end.
func Write(w io.Writer, img *disk.Image, o Options) error {
	return write(w, img, o, clusterBits)
}

// Size returns how many bytes Write writes without compression.
func Size(img *disk.Image) int64 {
	l := newLayout(img, clusterBits)
	l.place()
	return l.clusters() << l.bits
}

func write(w io.Writer, img *disk.Image, o Options, bits int) error {
	l := newLayout(img, bits)
	b := bufio.NewWriterSize(w, chunk) // keeps the first error until Flush
	err := l.check()
	switch {
	case err != nil:
	case o.Compression == None:
		err = writePlain(b, img, l)
	case o.Compression != Deflate && o.Compression != Zstd:
		err = fmt.Errorf("unknown compression %d", o.Compression)
	case o.Spool == nil:
		err = errors.New("compression needs a spool")
	default:
		err = writeCompressed(b, img, l, o)
	}
	if err == nil {
		err = b.Flush()
	}
	if err != nil {
		return fmt.Errorf("qcow2: %w", err)
	}
	return nil
}

func writePlain(w *bufio.Writer, img *disk.Image, l *layout) error {
	l.place()
	l.writeTables(w, img,
		func(data int64) uint16 { return 1 },
		func(content int64) uint64 { return l.offset(l.dataStart()+content) | entryCopied })
	for c, err := range img.Chunks(l.cluster(), chunk, nil) {
		if err != nil {
			return err
		}
		if c.Hole {
			continue
		}
		// What is in the buffer would make every chunk be copied through it.
		if err := w.Flush(); err != nil {
			return err
		}
		if _, err := w.Write(c.Data); err != nil {
			return err
		}
		if rest := c.Len % l.cluster(); rest != 0 { // the end of the disk
			zeros(w, l.cluster()-rest)
		}
	}
	return nil
}
