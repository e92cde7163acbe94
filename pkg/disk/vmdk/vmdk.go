// Package vmdk writes and reads disks in VMware's Virtual Disk Format 5.0.
//
// [Write] writes the form streamOptimized, which clouds and vSphere import. Its file
// is a sequence of sectors of 512 bytes that is written once from start to end, and
// can be read that way:
//
//	header | descriptor | grains, each with its place, and after those of each
//	32 MiB of the disk a table of their places | directory of the tables |
//	footer, a copy of the header with the place of the directory | end
//
// A grain is 64 KiB of the disk, compressed (RFC 1950). Holes and grains of zeros
// are not in the file. Grains are compressed on all cores, with the same result on
// any number of them.
//
// [Format] lays out the form monolithicSparse, which hypervisors run from:
//
//	header | descriptor | directory, tables | directory, tables | grains
//
// The first directory and its tables are the redundant copy of the second. Grains
// are not compressed, so the whole file is known before any content is read.
//
// [Descriptor] describes a disk in a file of its own, in the form monolithicFlat.
//
// Left out are the other forms, with several extents and with parents.
package vmdk

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/klauspost/compress/zlib"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// Options describe the disk in a file.
type Options struct {
	// ID is the content id of the descriptor, by which VMware detects that a
	// disk was changed. 0xffffffff and 0xfffffffe mean "no id".
	ID uint32
	// Name is the name of the file that holds the content, as the descriptor
	// records it: disk.vmdk if empty.
	Name string
}

const (
	sectorSize = 512
	grain      = 64 << 10
	tableSize  = 512                        // entries of a grain table
	tableSpan  = tableSize * grain          // bytes of the disk
	tableBytes = tableSize * 4              // bytes of the file
	overhead   = 64 << 10                   // header and descriptor, to the first grain
	descriptor = 20 * sectorSize            // room of the descriptor
	maxSize    = int64(1) << 32 * tableSpan // entries count sectors in 32 bits

	// chunk is the number of bytes of content that are read at once.
	chunk = 1 << 20
)

// header is SparseExtentHeader. Its numbers are in sectors.
type header struct {
	Magic             [4]byte
	Version           uint32
	Flags             uint32
	Capacity          uint64
	GrainSize         uint64
	DescriptorOffset  uint64
	DescriptorSize    uint64
	NumGTEsPerGT      uint32
	RGDOffset         uint64
	GDOffset          uint64
	OverHead          uint64
	UncleanShutdown   uint8
	SingleEndLine     byte
	NonEndLine        byte
	DoubleEndLine1    byte
	DoubleEndLine2    byte
	CompressAlgorithm uint16
	Pad               [433]byte
}

const (
	flagNewLine    = 1 << 0 // the end-of-line characters are there to be checked
	flagRedundant  = 1 << 1 // there is a second directory
	flagCompressed = 1 << 16
	flagMarkers    = 1 << 17
	deflate        = 1
	atEnd          = 1<<64 - 1 // the directory is where the footer says
)

// A marker is the header of the sectors behind it. A marker with a size is a grain,
// whose data begins in the marker itself, in place of the type.
type marker struct {
	Value uint64 // how many sectors follow
	Size  uint32 // 0
	Type  uint32
	Pad   [496]byte
}

const (
	markEnd       = 0
	markTable     = 1
	markDirectory = 2
	markFooter    = 3
)

// Check returns why a disk of a size in bytes cannot be written.
func Check(size int64) error {
	if size <= 0 || size%sectorSize != 0 || size > maxSize {
		return fmt.Errorf("vmdk: a disk of %s: must be a whole number of sectors of %d, at most %s", rootfs.Bytes(size), sectorSize, rootfs.Bytes(int64(maxSize)))
	}
	return nil
}

// Write writes the image to w from start to end. Its size must be one that
// Check accepts.
func Write(w io.Writer, img *disk.Image, o Options) error {
	if err := Check(img.Size()); err != nil {
		return err
	}
	text, err := describe("streamOptimized", "RDONLY %d SPARSE %q", img.Size(), o)
	if err != nil {
		return err
	}
	f := &file{w: bufio.NewWriterSize(w, chunk)}
	head := newHeader(img.Size())
	head.Version, head.Flags, head.CompressAlgorithm = 3, flagNewLine|flagCompressed|flagMarkers, deflate
	head.GDOffset, head.OverHead = atEnd, overhead/sectorSize
	f.put(head)
	f.write([]byte(text))
	f.pad(overhead)
	directory, err := f.grains(img)
	if err != nil {
		return fmt.Errorf("vmdk: %w", err)
	}
	size := (4*len(directory) + sectorSize - 1) / sectorSize
	f.put(marker{Value: uint64(size), Type: markDirectory})
	head.GDOffset = uint64(f.at / sectorSize)
	f.put(directory)
	f.pad(sectorSize)
	f.put(marker{Value: 1, Type: markFooter})
	f.put(head)
	f.put(marker{Type: markEnd})
	if f.err == nil {
		f.err = f.w.Flush()
	}
	if f.err != nil {
		return fmt.Errorf("vmdk: %w", f.err)
	}
	return nil
}

// newHeader returns the parts of the header that all forms share.
func newHeader(size int64) header {
	return header{
		Magic: [4]byte{'K', 'D', 'M', 'V'}, Capacity: uint64(size / sectorSize), GrainSize: grain / sectorSize,
		DescriptorOffset: 1, DescriptorSize: descriptor / sectorSize, NumGTEsPerGT: tableSize,
		SingleEndLine: '\n', NonEndLine: ' ', DoubleEndLine1: '\r', DoubleEndLine2: '\n',
	}
}

// describe returns the descriptor of a form, with its format of an extent. Virtual
// hardware of version 6 and later reads it.
func describe(form, extent string, size int64, o Options) (string, error) {
	name := cmp.Or(o.Name, "disk.vmdk")
	if len(name) > 255 || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' || strings.ContainsRune(`"/\`, r) }) {
		return "", fmt.Errorf("vmdk: invalid file name %q, must be at most 255 printable ASCII characters without quotes and slashes", name)
	}
	const heads, sectors = 255, 63
	return fmt.Sprintf(`# Disk DescriptorFile
version=1
CID=%08x
parentCID=ffffffff
createType="%s"

# Extent description
%s

# The Disk Data Base
#DDB

ddb.virtualHWVersion = "6"
ddb.geometry.cylinders = "%d"
ddb.geometry.heads = "%d"
ddb.geometry.sectors = "%d"
ddb.adapterType = "lsilogic"
`, o.ID, form, fmt.Sprintf(extent, size/sectorSize, name), min((size/sectorSize+heads*sectors-1)/(heads*sectors), 65535), heads, sectors), nil
}

// A file is a file being written. It keeps the first error.
type file struct {
	w   *bufio.Writer
	at  int64
	err error
}

func (f *file) write(b []byte) {
	if f.err == nil {
		_, f.err = f.w.Write(b)
	}
	f.at += int64(len(b))
}

// put writes a structure.
func (f *file) put(v any) {
	f.write(encode(v))
}

func encode(v any) []byte {
	b, err := binary.Append(nil, binary.LittleEndian, v)
	if err != nil {
		panic(err) // a structure of this package without a fixed size
	}
	return b
}

// pad writes zeros up to a multiple of n.
func (f *file) pad(n int64) { f.write(make([]byte, -f.at&(n-1))) }

// A piece is a grain with content, first uncompressed, then compressed.
type piece struct {
	off  int64 // in the disk
	data []byte
}

// grains writes the grains and their tables, and returns the directory.
func (f *file) grains(img *disk.Image) (directory []uint32, err error) {
	directory = make([]uint32, (img.Size()+tableSpan-1)/tableSpan)
	var table [tableSize]uint32
	current := int64(-1)
	finish := func() {
		if current >= 0 {
			f.put(marker{Value: tableBytes / sectorSize, Type: markTable})
			directory[current] = uint32(f.at / sectorSize)
			f.put(table)
			clear(table[:])
		}
	}
	for p, err := range disk.InOrder(pieces(img), compressor) {
		if err != nil {
			return nil, err
		}
		if p.data == nil {
			continue
		}
		if p.off/tableSpan != current {
			finish()
			current = p.off / tableSpan
		}
		if f.at/sectorSize >= 1<<32 {
			return nil, fmt.Errorf("the file would be larger than %s", rootfs.Bytes(int64(1)<<32*sectorSize))
		}
		table[p.off%tableSpan/grain] = uint32(f.at / sectorSize)
		var head [12]byte
		binary.LittleEndian.PutUint64(head[:], uint64(p.off/sectorSize))
		binary.LittleEndian.PutUint32(head[8:], uint32(len(p.data)))
		f.write(head[:])
		f.write(p.data)
		f.pad(sectorSize)
		if f.err != nil {
			return nil, f.err
		}
	}
	finish()
	return directory, nil
}

// pieces yields the grains that have content.
func pieces(img *disk.Image) iter.Seq2[piece, error] {
	return func(yield func(piece, error) bool) {
		for c, err := range img.Chunks(grain, chunk, nil) {
			if err != nil {
				yield(piece{}, err)
				return
			}
			for off, data := c.Off, c.Data; len(data) > 0; off += grain {
				p := piece{off, make([]byte, grain)}
				data = data[copy(p.data, data):] // the last grain of the disk may be short
				if !yield(p, nil) {
					return
				}
			}
		}
	}
}

// compressor returns a function that compresses a grain. Its data is nil if the grain
// is all zeros.
func compressor() func(piece) piece {
	var buf bytes.Buffer
	w := zlib.NewWriter(&buf)
	return func(p piece) piece {
		if disk.IsZero(p.data) {
			return piece{off: p.off}
		}
		buf.Reset()
		w.Reset(&buf)
		w.Write(p.data) // to memory: cannot fail
		w.Close()
		return piece{p.off, bytes.Clone(buf.Bytes())}
	}
}
