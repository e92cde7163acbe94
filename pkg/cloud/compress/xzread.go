package compress

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"github.com/ulikunitz/xz/lzma"
)

// xzReader reads streams that stand one behind the other.
type xzReader struct {
	in    source
	check xzCheck
	index xzSums  // of the stream's blocks so far
	block xzBlock // the one that is being read
}

// xzSums stands for an index of any length: the number of its records and
// their hash.
type xzSums struct {
	n       uint64
	records hash.Hash
}

func (s *xzSums) add(r xzRecord) {
	s.n++
	s.records.Write(binary.AppendUvarint(binary.AppendUvarint(nil, r.unpadded), r.size))
}

func (s *xzSums) equal(t xzSums) bool {
	return s.n == t.n && bytes.Equal(s.records.Sum(nil), t.records.Sum(nil))
}

// xzBlock is a block that is being read.
type xzBlock struct {
	data   io.Reader // nil between blocks
	sum    hash.Hash
	header int    // bytes
	start  int64  // of the packed data, in the input
	size   uint64 // that was read

	wantPacked, wantSize uint64 // if the header knew
	known                byte
}

// take reads n bytes that must be there.
func (s source) take(n int) ([]byte, error) {
	b := make([]byte, n)
	_, err := io.ReadFull(s, b)
	return b, whole(err)
}

// takeCRC reads n bytes and their checksum.
func (s source) takeCRC(n int, what string) ([]byte, error) {
	b, err := s.take(n + crc32.Size)
	if err == nil && crc32.ChecksumIEEE(b[:n]) != binary.LittleEndian.Uint32(b[n:]) {
		err = fmt.Errorf("%s: wrong checksum", what)
	}
	return b[:n], err
}

func readXz(in source) (io.Reader, error) {
	x := &xzReader{in: in}
	return x, x.startStream()
}

func (x *xzReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if x.block.data == nil {
			if err := x.next(); err != nil {
				return 0, err
			}
			continue
		}
		n, err := x.block.data.Read(p)
		x.block.size += uint64(n)
		x.block.sum.Write(p[:n])
		if err == io.EOF {
			err = x.endBlock()
		}
		if n > 0 || err != nil {
			return n, whole(err)
		}
	}
}

// next starts the next block. If there is none it ends the stream and starts
// the next one; if there is none, that is the end of the file.
func (x *xzReader) next() error {
	words, err := x.in.ReadByte()
	if err != nil {
		return whole(err)
	}
	if words > 0 {
		return x.startBlock(words)
	}
	if err := x.endStream(); err != nil {
		return err
	}
	for {
		b, err := x.in.Peek(xzAlign)
		switch {
		case len(b) == 0 && err == io.EOF:
			return io.EOF
		case len(b) < xzAlign:
			return whole(err)
		case !allZeros(b):
			return x.startStream()
		}
		x.in.Discard(xzAlign) // stream padding
	}
}

func (x *xzReader) startStream() error {
	magic, err := x.in.take(len(xzMagic))
	if err != nil {
		return err
	}
	if string(magic) != xzMagic {
		return errors.New("there is something else behind the end of the stream")
	}
	flags, err := x.in.takeCRC(2, "header")
	if err != nil {
		return err
	}
	x.check = xzCheck(flags[1])
	if flags[0] != 0 {
		return errors.New("header: flags that are not known")
	}
	_, err = x.check.hash()
	x.index = xzSums{records: sha256.New()}
	return err
}

// endStream reads the index, whose indicator was read, and the footer.
func (x *xzReader) endStream() error {
	start := x.in.pos() - 1
	crc := crc32.NewIEEE()
	crc.Write([]byte{0})
	in := &summed{x.in, crc}
	n, err := binary.ReadUvarint(in)
	if err != nil {
		return fmt.Errorf("index: %w", whole(err))
	}
	index := xzSums{records: sha256.New()}
	for index.n < n && index.n < x.index.n {
		var r xzRecord
		if r.unpadded, err = binary.ReadUvarint(in); err == nil {
			r.size, err = binary.ReadUvarint(in)
		}
		if err != nil {
			return fmt.Errorf("index: %w", whole(err))
		}
		index.add(r)
	}
	if n != index.n || !index.equal(x.index) {
		return errors.New("index: it is not that of the blocks")
	}
	for (x.in.pos()-start)%xzAlign != 0 {
		if b, err := in.ReadByte(); err != nil || b != 0 {
			return errors.New("index: padding that is not zero")
		}
	}
	sum, err := x.in.take(crc32.Size)
	if err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(sum) != crc.Sum32() {
		return errors.New("index: wrong checksum")
	}
	size := x.in.pos() - start
	want := xzFooter(x.check, int(size))
	footer, err := x.in.take(len(want))
	if err == nil && (!bytes.Equal(footer, want) || size/xzAlign > 1<<32) {
		err = errors.New("footer: it is not that of the stream")
	}
	return err
}

// summed adds up what is read.
type summed struct {
	in  source
	crc hash.Hash32
}

func (s *summed) ReadByte() (byte, error) {
	b, err := s.in.ReadByte()
	if err == nil {
		s.crc.Write([]byte{b})
	}
	return b, err
}

// startBlock reads the header of a block, whose first byte was read.
func (x *xzReader) startBlock(words byte) error {
	b := xzBlock{header: (int(words) + 1) * xzAlign}
	rest, err := x.in.take(b.header - 1)
	if err != nil {
		return err
	}
	head := append([]byte{words}, rest...)
	n := len(head) - crc32.Size
	if crc32.ChecksumIEEE(head[:n]) != binary.LittleEndian.Uint32(head[n:]) {
		return errors.New("block header: wrong checksum")
	}
	dict, err := b.parse(bytes.NewReader(head[1:n]))
	if err != nil {
		return fmt.Errorf("block header: %w", whole(err))
	}
	if b.sum, err = x.check.hash(); err != nil {
		return err
	}
	b.start = x.in.pos()
	if b.data, err = (lzma.Reader2Config{DictCap: int(dict)}).NewReader2(x.in.Reader); err != nil {
		return err
	}
	x.block = b
	return nil
}

// parse reads the fields of a block header and returns the size of the
// dictionary.
func (b *xzBlock) parse(r *bytes.Reader) (dict int64, err error) {
	if b.known, err = r.ReadByte(); err != nil {
		return 0, err
	}
	if b.known&xzFilters != 0 {
		return 0, errors.New("filters other than LZMA2 are not supported")
	}
	if b.known&xzPackedKnown != 0 {
		if b.wantPacked, err = binary.ReadUvarint(r); err != nil {
			return 0, err
		}
	}
	if b.known&xzSizeKnown != 0 {
		if b.wantSize, err = binary.ReadUvarint(r); err != nil {
			return 0, err
		}
	}
	var filter [3]byte
	if _, err := io.ReadFull(r, filter[:]); err != nil {
		return 0, err
	}
	if filter[0] != xzLZMA2 || filter[1] != 1 {
		return 0, errors.New("filters other than LZMA2 are not supported")
	}
	if dict, err = lzma.DecodeDictCap(filter[2]); err != nil {
		return 0, err
	}
	if dict > xzWindow {
		return 0, fmt.Errorf("a dictionary of %d bytes, at most %d are supported", dict, xzWindow)
	}
	if b.known&xzSizeKnown != 0 && b.wantSize < uint64(dict) {
		dict = int64(b.wantSize) // as much as there will be
	}
	for r.Len() > 0 {
		if pad, _ := r.ReadByte(); pad != 0 {
			return 0, errors.New("padding that is not zero")
		}
	}
	return max(dict, lzma.MinDictCap), nil
}

// endBlock checks a block of which all data was read.
func (x *xzReader) endBlock() error {
	b := &x.block
	packed := uint64(x.in.pos() - b.start)
	if b.known&xzPackedKnown != 0 && b.wantPacked != packed || b.known&xzSizeKnown != 0 && b.wantSize != b.size {
		return errors.New("block: it does not have the size of its header")
	}
	pad, err := x.in.take(int(-packed & (xzAlign - 1)))
	if err != nil {
		return err
	}
	if !allZeros(pad) {
		return errors.New("block: padding that is not zero")
	}
	sum, err := x.in.take(b.sum.Size())
	if err != nil {
		return err
	}
	if !bytes.Equal(sum, b.sum.Sum(nil)) {
		return errors.New("block: wrong check")
	}
	x.index.add(xzRecord{uint64(b.header) + packed + uint64(len(sum)), b.size})
	b.data = nil
	return nil
}
