package inspect

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// Google Compute Engine takes a tar archive in the old GNU format whose only
// file is a sparse disk.raw. The header has the first four ranges of data, and
// extension blocks behind it have 21 each:
// https://www.gnu.org/software/tar/manual/html_node/Standard.html
const (
	sparseName    = "disk.raw"
	sparseInHead  = 386 // offset of the ranges in the header
	extendedHead  = 482
	realSize      = 483
	rangesInHead  = 4
	rangesInBlock = 21
	extendedBlock = 504
	rangeSize     = 24 // two numbers of 12 bytes: offset and length
	maxRanges     = 1 << 20
)

// isSparse reports whether a tar archive begins with a sparse disk.raw.
func isSparse(file io.ReaderAt) bool {
	head := make([]byte, tarBlock)
	return rootfs.ReadFull(file, head, 0) == nil && head[156] == 'S' && strings.HasPrefix(string(head), sparseName+"\x00")
}

// openSparse returns the disk in an archive for which [isSparse] holds.
func openSparse(file io.ReaderAt) (*disk.Image, error) {
	block := make([]byte, tarBlock)
	if err := rootfs.ReadFull(file, block, 0); err != nil {
		return nil, fmt.Errorf("tar: %w", err)
	}
	size, err := tarNumber(block[realSize:][:12])
	if err != nil {
		return nil, fmt.Errorf("tar: size: %w", err)
	}
	ranges, at := block[sparseInHead:][:rangesInHead*rangeSize], int64(tarBlock)
	for more := block[extendedHead] != 0; more; at += tarBlock {
		block = make([]byte, tarBlock)
		if err := rootfs.ReadFull(file, block, at); err != nil {
			return nil, fmt.Errorf("tar: sparse header: %w", err)
		}
		ranges = append(ranges[:len(ranges):len(ranges)], block[:rangesInBlock*rangeSize]...)
		if len(ranges) > maxRanges*rangeSize {
			return nil, fmt.Errorf("tar: sparse header: more than %d ranges", maxRanges)
		}
		more = block[extendedBlock] != 0
	}
	extents, err := sparseExtents(file, ranges, at)
	if err != nil {
		return nil, fmt.Errorf("tar: sparse header: %w", err)
	}
	img, err := disk.New(size, extents...)
	if err != nil {
		return nil, fmt.Errorf("tar: sparse header: %w", err)
	}
	return img, nil
}

// sparseExtents places the data that begins at an offset of the archive where
// the ranges say.
func sparseExtents(file io.ReaderAt, ranges []byte, data int64) (extents []disk.Extent, err error) {
	for ; len(ranges) >= rangeSize; ranges = ranges[rangeSize:] {
		if ranges[0] == 0 { // unused
			break
		}
		off, err1 := tarNumber(ranges[:12])
		n, err2 := tarNumber(ranges[12:][:12])
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		if n > 0 {
			extents = append(extents, disk.Extent{Off: off, Blob: io.NewSectionReader(file, data, n)})
			data += n
		}
	}
	return extents, nil
}

// tarNumber returns a number of a tar header: octal digits, or binary in big
// endian if the first bit is set.
func tarNumber(b []byte) (n int64, err error) {
	if b[0]&0x80 != 0 {
		for _, c := range b[len(b)-8:] {
			n = n<<8 | int64(c)
		}
	} else if n, err = strconv.ParseInt(strings.Trim(string(b), " \x00"), 8, 64); err != nil {
		return 0, fmt.Errorf("invalid number %q", b)
	}
	if n < 0 || n > 1<<60 {
		return 0, fmt.Errorf("invalid number %d", n)
	}
	return n, nil
}
