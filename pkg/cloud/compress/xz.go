package compress

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"

	"github.com/ulikunitz/xz/lzma"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
)

// xzMagic is the first field of the stream header.
var xzMagic = filetype.Xz.Magic()

// The .xz file format, version 1.2.1. Numbers of fixed size are little-endian.
const (
	xzEnd   = "YZ"
	xzLZMA2 = 0x21 // ID of the filter
	xzAlign = 4    // of blocks and of the index

	// Block flags.
	xzFilters     = 0x3f // number of filters less one, and reserved bits
	xzPackedKnown = 0x40 // the header has the size of the packed data
	xzSizeKnown   = 0x80 // the header has the size of the uncompressed data

	// xzDict is the dictionary of the highest levels: the encoder finds no more
	// matches with a larger one. The default level has a quarter of it, and is
	// twice as fast for 0.3 % of size.
	xzDict = 1 << 20
	// xzBlockSize is the size of a block, many times the dictionary.
	xzBlockSize = 4 << 20
	// xzWindow is the largest dictionary that the reader accepts, that of xz -9.
	xzWindow = 64 << 20
)

// xzCheck is the ID of the blocks' checksum, in the header and the footer.
type xzCheck byte

const xzCRC64 xzCheck = 4 // the default of xz

// hash returns the hash function of an ID, for the IDs that are in use.
func (c xzCheck) hash() (hash.Hash, error) {
	switch c {
	case 1:
		return littleEndian{crc32.NewIEEE()}, nil
	case xzCRC64:
		return littleEndian{crc64.New(crc64Table)}, nil
	case 10:
		return sha256.New(), nil
	}
	return nil, fmt.Errorf("check %d is not supported, must be CRC32, CRC64 or SHA-256", c)
}

var crc64Table = crc64.MakeTable(crc64.ECMA)

// littleEndian reverses the sums of hash/crc32 and hash/crc64, which are
// big-endian.
type littleEndian struct{ hash.Hash }

func (h littleEndian) Sum(b []byte) []byte {
	sum := h.Hash.Sum(nil)
	for i := range sum {
		b = append(b, sum[len(sum)-1-i])
	}
	return b
}

// xzRecord is the record of a block in the index.
type xzRecord struct {
	unpadded uint64 // bytes of header, data and check
	size     uint64 // bytes before compression
}

// withCRC appends the checksum of a structure.
func withCRC(b []byte) []byte { return binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b)) }

// padded appends zeros up to a multiple of four bytes.
func padded(b []byte) []byte { return append(b, make([]byte, -len(b)&(xzAlign-1))...) }

// xzFlags returns the stream flags of header and footer.
func xzFlags(c xzCheck) []byte { return []byte{0, byte(c)} }

func xzHeader(c xzCheck) []byte { return append([]byte(xzMagic), withCRC(xzFlags(c))...) }

// xzIndex returns the index: a zero byte, which no block begins with, the number of
// records, and the records.
func xzIndex(records []xzRecord) []byte {
	b := binary.AppendUvarint([]byte{0}, uint64(len(records)))
	for _, r := range records {
		b = binary.AppendUvarint(b, r.unpadded)
		b = binary.AppendUvarint(b, r.size)
	}
	return withCRC(padded(b))
}

// xzFooter returns the footer, which has the length of the index.
func xzFooter(c xzCheck, index int64) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(index/xzAlign-1))
	b = append(b, xzFlags(c)...)
	return append(append(binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE(b)), b...), xzEnd...)
}

// xzBlockHeader returns the header of a block with one filter. Because of its sizes,
// a reader can distribute blocks to several cores.
func xzBlockHeader(packed, size, dict int) []byte {
	b := binary.AppendUvarint([]byte{0, xzPackedKnown | xzSizeKnown}, uint64(packed))
	b = binary.AppendUvarint(b, uint64(size))
	b = padded(append(b, xzLZMA2, 1, lzma.EncodeDictCap(int64(dict))))
	b[0] = byte(len(b) / xzAlign) // of the whole header, in words less one
	return withCRC(b)
}

// xzWriter writes one stream of many blocks.
type xzWriter struct {
	*blocks
	w       io.Writer
	records []xzRecord
}

func newXz(w io.Writer, o Options) (io.WriteCloser, error) {
	if _, err := w.Write(xzHeader(xzCRC64)); err != nil {
		return nil, err
	}
	x := &xzWriter{w: w}
	x.blocks = newBlocks(xzBlockSize, func() func([]byte) []byte { return xzPacker(o.Level) }, func(p packed) error {
		x.records = append(x.records, xzRecord{xzUnpadded(p.data), uint64(p.n)})
		_, err := w.Write(p.data)
		return err
	})
	return x, nil
}

// xzPacker returns a function that makes a block: header, data, padding, check.
func xzPacker(level int) func([]byte) []byte {
	dict := min(32<<10<<level, xzDict)
	return func(in []byte) []byte {
		var data bytes.Buffer
		w, err := lzma.Writer2Config{DictCap: dict}.NewWriter2(&data)
		if err == nil {
			_, err = w.Write(in)
		}
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			panic("compress: internal error: " + err.Error()) // the options are valid, and writing to memory cannot fail
		}
		out := append(xzBlockHeader(data.Len(), len(in), dict), data.Bytes()...)
		return binary.LittleEndian.AppendUint64(padded(out), crc64.Checksum(in, crc64Table))
	}
}

// xzUnpadded returns the length of a block from xzPacker without its padding.
func xzUnpadded(b []byte) uint64 {
	packed, _ := binary.Uvarint(b[2:])
	return (uint64(b[0])+1)*xzAlign + packed + crc64.Size
}

func (x *xzWriter) Close() error {
	if err := x.blocks.Close(); err != nil {
		return err
	}
	index := xzIndex(x.records)
	_, err := x.w.Write(append(index, xzFooter(xzCRC64, int64(len(index)))...))
	return err
}
