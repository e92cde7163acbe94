package disk

import (
	"errors"
	"io"
)

// ReadBlocks is ReadAt of a disk of size bytes that a file holds in blocks. For each
// block it calls read to fill the part of p in that block. The part never extends
// beyond the disk.
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
