// Package raw writes an image as what it is: byte by byte.
//
// [Write] streams every byte to anything. [WriteFile] makes a sparse file, in
// which the holes of the image take no room.
package raw

import (
	"fmt"
	"io"
	"os"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
)

const (
	// grain is the block size of the file systems that a sparse file is likely
	// to stand on: smaller holes would save nothing.
	grain = 4096
	// chunk is what one write takes. It still fits in the cache of a core, so
	// that hashing and writing read it from there.
	chunk = 256 << 10
)

// Write writes the whole image to w, holes as zeros.
func Write(w io.Writer, img *disk.Image) error {
	for c, err := range img.Chunks(grain, chunk, nil) {
		if err != nil {
			return fmt.Errorf("raw: %w", err)
		}
		if _, err := c.WriteTo(w); err != nil {
			return fmt.Errorf("raw: at %d: %w", c.Off, err)
		}
	}
	return nil
}

// WriteFile makes f, whatever was in it, a sparse file that holds the image.
// If tap is not nil it is written every byte of the image in order while the
// file is being written, as if by [Write]: the way to hash an image without
// reading it again.
func WriteFile(f *os.File, img *disk.Image, tap io.Writer) error {
	if err := f.Truncate(0); err != nil { // what was there must not shine through a hole
		return fmt.Errorf("raw: %w", err)
	}
	if err := f.Truncate(img.Size()); err != nil {
		return fmt.Errorf("raw: %w", err)
	}
	for c, err := range img.Chunks(grain, chunk, tap) {
		if err != nil {
			return fmt.Errorf("raw: %w", err)
		}
		if c.Hole {
			continue
		}
		if _, err := f.WriteAt(c.Data, c.Off); err != nil {
			return fmt.Errorf("raw: %w", err)
		}
	}
	return nil
}
