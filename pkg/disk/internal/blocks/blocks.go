// Package blocks is for readers of disks that a file holds in blocks. A [Layout]
// divides reads into those of blocks, and a [Cache] keeps decompressed blocks.
package blocks

import (
	"errors"
	"fmt"
	"io"
)

// A Layout is the division of a disk into blocks.
type Layout struct {
	Name  string // of a block, for errors: "vhd: block"
	Size  int64  // of the disk, in bytes
	Block int64  // bytes of a block
}

// ReadAt is ReadAt of the disk. For each block it calls read to fill the part of p in
// that block, from offset at of the disk on. The part never extends beyond the disk.
func (l Layout) ReadAt(p []byte, off int64, read func(p []byte, at int64) error) (int, error) {
	if off < 0 {
		return 0, errors.New("disk: negative offset")
	}
	if off >= l.Size {
		return 0, io.EOF
	}
	var eof error
	if int64(len(p)) > l.Size-off {
		p, eof = p[:l.Size-off], io.EOF
	}
	for done := 0; done < len(p); {
		at := off + int64(done)
		part := p[done:min(int64(len(p)), int64(done)+l.Block-at%l.Block)]
		if err := read(part, at); err != nil {
			return done, fmt.Errorf("%s at %d: %w", l.Name, at-at%l.Block, err)
		}
		done += len(part)
	}
	return len(p), eof
}
