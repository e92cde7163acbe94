// Package gcp writes disks in the form that Google Compute Engine imports: a tar
// archive, compressed by gzip, of one sparse file.
//
//	header | more of the map, if it is long | content of the disk | zeros
//
// The requirements of the importer: "The disk image filename must be
// disk.raw"; "The RAW image file must have a size in an increment of 1 GB" (in
// fact GiB); "The compressed file must be a .tar.gz file that uses
// gzip compression and the --format=oldgnu option for the tar utility". See
// https://cloud.google.com/compute/docs/import/import-existing-image. The
// format is "Old GNU Format" in the manual of GNU tar. Holes of the disk are in its
// map and not in the archive.
//
// [Format] lays out the archive as an image; [Write] compresses it.
package gcp

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/compress"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// Options describe the file in the archive.
type Options struct {
	Time int64 // of the file, in seconds since 1970
}

const (
	member = "disk.raw"
	unit   = 1 << 30 // of the disk's size

	block  = 512        // of the archive
	record = 20 * block // the archive is a whole number of these
	// grain is the block size of the file systems on the disk. Smaller holes would
	// save no space in the extracted file.
	grain = 4096
	chunk = 1 << 20 // is read at once
)

// sparse is an entry of the map: where content goes.
type sparse struct {
	Offset, Bytes [12]byte
}

// header is struct posix_header of tar.h, with struct oldgnu_header in place of the
// prefix. Text ends in a zero if there is room.
type header struct {
	Name       [100]byte
	Mode       [8]byte
	UID, GID   [8]byte
	Size       [12]byte // of the content in the archive
	MTime      [12]byte
	Checksum   [8]byte
	Type       byte
	LinkName   [100]byte
	Magic      [8]byte
	User       [32]byte
	Group      [32]byte
	DevMajor   [8]byte
	DevMinor   [8]byte
	ATime      [12]byte
	CTime      [12]byte
	Offset     [12]byte
	LongNames  [4]byte
	_          byte
	Map        [4]sparse
	IsExtended byte
	RealSize   [12]byte
	_          [17]byte
}

// extension is struct sparse_header: more of the map.
type extension struct {
	Map        [21]sparse
	IsExtended byte
	_          [7]byte
}

const typeSparse = 'S'

// Check returns why a disk of a size in bytes cannot be imported.
func Check(size int64) error {
	if size%unit != 0 || size == 0 {
		return fmt.Errorf("gcp: a disk of %s: must be a whole number of GiB", rootfs.Bytes(size))
	}
	return nil
}

// Write writes the compressed archive to w from start to end. It uses the default
// level: the highest, which other tools use for this file, takes four times as long
// and saves one percent.
func Write(w io.Writer, img *disk.Image, o Options) error {
	if err := Check(img.Size()); err != nil {
		return err
	}
	packed, err := compress.NewWriter(w, filetype.Gzip, compress.Options{})
	if err != nil {
		return fmt.Errorf("gcp: %w", err)
	}
	defer packed.Close()
	if err = writeTar(packed, img, o); err == nil {
		err = packed.Close()
	}
	if err != nil {
		return fmt.Errorf("gcp: %w", err)
	}
	return nil
}

func writeTar(out io.Writer, img *disk.Image, o Options) error {
	w := bufio.NewWriterSize(out, chunk) // keeps the first error until Flush
	head, size := beginning(img, o)
	w.Write(head)
	for c, err := range img.Chunks(grain, chunk, nil) {
		if err != nil {
			return err
		}
		if _, err := w.Write(c.Data); err != nil {
			return err
		}
	}
	w.Write(make([]byte, tail(int64(len(head))+size)))
	return w.Flush()
}

// Format returns the archive before compression, itself an image.
func Format(img *disk.Image, o Options) (*disk.Image, error) {
	if err := Check(img.Size()); err != nil {
		return nil, err
	}
	head, _ := beginning(img, o)
	at := int64(len(head))
	extents := []disk.Extent{{Blob: bytes.NewReader(head)}}
	for run := range img.Runs(grain) {
		if !run.Hole {
			extents = append(extents, disk.Extent{Off: at, Blob: img.Section(run.Off, run.Len)})
			at += run.Len
		}
	}
	return disk.New(at+tail(at), extents...)
}

// beginning returns the headers, and the size of the content behind them.
func beginning(img *disk.Image, o Options) (head []byte, size int64) {
	entries, size := sparseMap(img)
	first, extensions := headers(entries, size, img.Size(), o)
	head = encode(first)
	for _, e := range extensions {
		head = append(head, encode(e)...)
	}
	return head, size
}

// tail returns the number of zeros behind the content: the end of the archive, and
// the rest of its last record.
func tail(written int64) int64 {
	written += 2 * block
	return 2*block + (record-written%record)%record
}

// sparseMap returns the map and how many bytes of content there are.
func sparseMap(img *disk.Image) (entries []sparse, size int64) {
	for r := range img.Runs(grain) {
		if !r.Hole {
			entries = append(entries, entry(r.Off, r.Len))
			size += r.Len
		}
	}
	return append(entries, entry(img.Size(), 0)), size // where the file ends, which may be a hole
}

func entry(off, n int64) (s sparse) {
	number(s.Offset[:], off)
	number(s.Bytes[:], n)
	return s
}

// headers returns the header and as many extensions as the map needs.
func headers(entries []sparse, size, realSize int64, o Options) (header, []extension) {
	h := header{Type: typeSparse, Magic: [8]byte([]byte("ustar  \x00"))}
	copy(h.Name[:], member)
	copy(h.User[:], "root")
	copy(h.Group[:], "root")
	number(h.Mode[:], 0o644)
	number(h.UID[:], 0)
	number(h.GID[:], 0)
	number(h.Size[:], size)
	number(h.MTime[:], o.Time)
	number(h.RealSize[:], realSize)
	entries = entries[copy(h.Map[:], entries):]
	var extensions []extension
	for part := range slices.Chunk(entries, len(extension{}.Map)) {
		var e extension
		if copy(e.Map[:], part) < len(entries) {
			e.IsExtended = 1
		}
		entries = entries[len(part):]
		extensions = append(extensions, e)
	}
	if len(extensions) > 0 {
		h.IsExtended = 1
	}
	copy(h.Checksum[:], "        ") // counts as blanks
	var sum int64
	for _, b := range encode(h) {
		sum += int64(b)
	}
	number(h.Checksum[:7], sum)
	h.Checksum[6] = 0
	return h, extensions
}

// number stores a number in a field: octal digits and a zero, or, if they do not fit,
// a bit and big-endian bytes.
func number(field []byte, v int64) {
	if digits := len(field) - 1; v >= 0 && v < 1<<(3*digits) {
		copy(field, fmt.Sprintf("%0*o", digits, v))
		return
	}
	for i := range field {
		field[i] = byte(v >> 63)
	}
	binary.BigEndian.PutUint64(field[len(field)-8:], uint64(v))
	field[0] |= 0x80
}

func encode(v any) []byte {
	b, err := binary.Append(nil, binary.LittleEndian, v)
	if err != nil {
		panic(err) // a structure of this package without a fixed size
	}
	return b
}
