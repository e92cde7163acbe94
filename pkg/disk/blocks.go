package disk

import (
	"errors"
	"io"
)

// ReadBlocks is ReadAt of a disk of the given size that a file has in blocks.
// It has read fill the part of p that each block holds, which is never more
// than is left of the disk.
func ReadBlocks(p []byte, off, size, block int64, read func(p []byte, at int64) error) (int, error) {
	if off < 0 {
		return 0, errors.New("disk: negative offset")
	}
	if off >= size {
		return 0, io.EOF
	}
	var eof error
	if int64(len(p)) > size-off {
		p, eof = p[:size-off], io.EOF
	}
	for done := 0; done < len(p); {
		at := off + int64(done)
		part := p[done:min(int64(len(p)), int64(done)+block-at%block)]
		if err := read(part, at); err != nil {
			return done, err
		}
		done += len(part)
	}
	return len(p), eof
}
