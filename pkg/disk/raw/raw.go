// Package raw writes images as raw files, byte by byte.
//
// [Write] streams every byte to a writer. [WriteFile] writes a sparse file, in
// which the holes of the image occupy no space. Every format that is an image
// itself becomes a file that way.
package raw

import (
	"io"
	"iter"
	"os"
	"sync"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
)

const (
	// grain is the block size of most file systems: smaller holes save no space.
	grain = 4096
	// chunk is the size of a write. It fits in the cache of a core, from which
	// both hashing and writing read it.
	chunk = 256 << 10
)

// Write writes the whole image to w, holes as zeros.
func Write(w io.Writer, img *disk.Image) error {
	_, err := img.WriteTo(w)
	return err
}

// WriteFile makes f a sparse file that holds the image, and removes its previous
// content. It reads and writes on all cores. If tap is not nil, every byte of the
// image is written to it in order, zeros included, while the file is written:
// the way to hash an image without reading it again.
func WriteFile(f *os.File, img *disk.Image, tap io.Writer) error {
	if err := f.Truncate(0); err != nil { // holes must not show the previous content
		return err
	}
	if err := f.Truncate(img.Size()); err != nil {
		return err
	}
	w := &fileWriter{f: f, img: img, buffers: sync.Pool{New: func() any { return new([chunk]byte) }}}
	for p, err := range disk.InOrder(pieces(img), func() func(disk.Run) piece { return w.write }) {
		if err == nil {
			err = p.err
		}
		if err == nil && tap != nil {
			_, err = p.chunk().WriteTo(tap)
		}
		if err != nil {
			return err
		}
		if p.buf != nil {
			w.buffers.Put(p.buf)
		}
	}
	return nil
}

// pieces yields the image as holes and pieces of content of at most one chunk.
func pieces(img *disk.Image) iter.Seq2[disk.Run, error] {
	return func(yield func(disk.Run, error) bool) {
		for run := range img.Runs(grain) {
			step := int64(chunk)
			if run.Hole {
				step = run.Len
			}
			for off := run.Off; off < run.End(); off += step {
				if !yield(disk.Run{Off: off, Len: min(step, run.End()-off), Hole: run.Hole}, nil) {
					return
				}
			}
		}
	}
}

// A piece is a part of the image that the file holds, or the error of it.
type piece struct {
	disk.Run
	buf *[chunk]byte // nil for a hole
	err error
}

func (p piece) chunk() disk.Chunk {
	c := disk.Chunk{Run: p.Run}
	if p.buf != nil {
		c.Data = p.buf[:p.Len]
	}
	return c
}

// A fileWriter copies pieces of an image to a file. Its methods may be called
// concurrently.
type fileWriter struct {
	f       *os.File
	img     *disk.Image
	buffers sync.Pool
}

// write copies one piece.
func (w *fileWriter) write(run disk.Run) piece {
	if run.Hole {
		return piece{Run: run}
	}
	p := piece{Run: run, buf: w.buffers.Get().(*[chunk]byte)}
	data := p.buf[:run.Len]
	if n, err := w.img.ReadAt(data, run.Off); n < len(data) {
		p.err = err
		return p
	}
	_, p.err = w.f.WriteAt(data, run.Off)
	return p
}
