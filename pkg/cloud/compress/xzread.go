package compress

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"iter"

	"github.com/ulikunitz/xz/lzma"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
)

// xzSmall is the largest block that is decompressed in memory and in parallel.
const xzSmall = 8 << 20

// xzReader reads concatenated streams. One goroutine splits them into blocks; small
// blocks are decompressed on all cores.
type xzReader struct {
	next func() (xzPart, error, bool)
	stop func()
	cur  []byte
	err  error // after cur
}

// xzPart is a small block, or content of a large one.
type xzPart struct {
	block *xzBlock // nil if data is content
	data  []byte
	err   error
}

func readXz(in source) (io.ReadCloser, error) {
	x := &xzStreams{in: in}
	next, stop := iter.Pull2(disk.InOrder(x.parts, xzUnpacker))
	return &xzReader{next: next, stop: stop}, nil
}

func (x *xzReader) Read(p []byte) (int, error) {
	for len(x.cur) == 0 && len(p) > 0 {
		if x.err != nil {
			return 0, x.err
		}
		part, err, ok := x.next()
		if !ok {
			err = io.EOF
		}
		x.cur, x.err = part.data, cmp.Or(err, part.err)
	}
	n := copy(p, x.cur)
	x.cur = x.cur[n:]
	return n, nil
}

func (x *xzReader) Close() error {
	x.stop()
	return nil
}

// xzUnpacker returns a function for one goroutine that decompresses small blocks. It
// keeps the last block of zeros, because equal blocks often follow.
func xzUnpacker() func(xzPart) xzPart {
	var hollow, zero []byte // the last block of zeros, compressed and not
	return func(p xzPart) xzPart {
		switch {
		case p.block == nil:
			return p
		case bytes.Equal(p.data, hollow) && int(p.block.size) == len(zero):
			return xzPart{data: zero}
		}
		out := bytes.NewBuffer(make([]byte, 0, p.block.size))
		if _, err := p.block.unpack(newSource(bytes.NewReader(p.data), 4096), out); err != nil {
			return xzPart{err: err}
		}
		if disk.IsZero(out.Bytes()) {
			hollow, zero = p.data, out.Bytes()
		}
		return xzPart{data: out.Bytes()}
	}
}

// xzStreams splits a file into blocks.
type xzStreams struct {
	in    source
	check xzCheck
	index xzSums // of the blocks so far
}

// xzSums represents an index of any length by the number of its records and their
// hash.
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

// errStopped is the error of a reader that was closed early.
var errStopped = errors.New("stopped")

// parts yields the blocks of the file.
func (x *xzStreams) parts(yield func(xzPart, error) bool) {
	send := func(p xzPart) error {
		if !yield(p, nil) {
			return errStopped
		}
		return nil
	}
	for {
		err := x.stream(send)
		if err == nil {
			err = x.skipPadding()
		}
		switch err {
		case nil:
			continue
		case errStopped, io.EOF:
		default:
			yield(xzPart{}, err)
		}
		return
	}
}

// stream reads one stream.
func (x *xzStreams) stream(send func(xzPart) error) error {
	if err := x.header(); err != nil {
		return err
	}
	for {
		words, err := x.in.ReadByte()
		if err != nil {
			return unexpectedEOF(err)
		}
		if words == 0 {
			return x.end()
		}
		r, err := x.block(words, send)
		if err != nil {
			return unexpectedEOF(err)
		}
		x.index.add(r)
	}
}

// skipPadding skips zeros between streams. It returns io.EOF when there is no
// further stream.
func (x *xzStreams) skipPadding() error {
	for {
		b, err := x.in.Peek(xzAlign)
		switch {
		case len(b) == 0:
			return err
		case len(b) < xzAlign:
			return unexpectedEOF(err)
		case !disk.IsZero(b):
			return nil
		}
		x.in.Discard(xzAlign)
	}
}

// header reads the header of a stream.
func (x *xzStreams) header() error {
	b, err := x.in.take(len(xzHeader(0)))
	if err != nil {
		return err
	}
	x.check = xzCheck(b[len(xzMagic)+1])
	x.index = xzSums{records: sha256.New()}
	if !bytes.Equal(b, xzHeader(x.check)) {
		return errors.New("damaged header of the stream")
	}
	_, err = x.check.hash()
	return err
}

// end reads the index after its first byte, and the footer.
func (x *xzStreams) end() error {
	start := x.in.pos() - 1
	crc := crc32.NewIEEE()
	crc.Write([]byte{0})
	in := &summed{x.in, crc}
	n, err := binary.ReadUvarint(in)
	index := xzSums{records: sha256.New()}
	for err == nil && index.n < min(n, x.index.n) {
		var r xzRecord
		if r.unpadded, err = binary.ReadUvarint(in); err == nil {
			r.size, err = binary.ReadUvarint(in)
		}
		index.add(r)
	}
	for err == nil && (x.in.pos()-start)%xzAlign != 0 {
		_, err = in.ReadByte()
	}
	if err != nil {
		return fmt.Errorf("index: %w", unexpectedEOF(err))
	}
	sum, err := x.in.take(crc32.Size)
	if err != nil {
		return err
	}
	if n != index.n || !index.equal(x.index) || binary.LittleEndian.Uint32(sum) != crc.Sum32() {
		return errors.New("index is damaged, or does not match the blocks")
	}
	size := x.in.pos() - start
	footer, err := x.in.take(len(xzFooter(0, 0)))
	if err == nil && (size > xzAlign<<32 || !bytes.Equal(footer, xzFooter(x.check, size))) {
		err = errors.New("footer is damaged, or does not match the stream")
	}
	return err
}

// summed computes the checksum of its input.
type summed struct {
	in  io.ByteReader
	crc hash.Hash32
}

func (s *summed) ReadByte() (byte, error) {
	b, err := s.in.ReadByte()
	if err == nil {
		s.crc.Write([]byte{b})
	}
	return b, err
}

// xzBlock is the header of a block.
type xzBlock struct {
	length       int // bytes of the header
	flags        byte
	packed, size uint64 // zero unless the flags say that they are known
	dict         int64
	sum          func() (hash.Hash, error)
}

// block reads a block after its first byte.
func (x *xzStreams) block(words byte, send func(xzPart) error) (xzRecord, error) {
	b := &xzBlock{length: (int(words) + 1) * xzAlign, sum: x.check.hash}
	rest, err := x.in.take(b.length - 1)
	if err != nil {
		return xzRecord{}, err
	}
	head := append([]byte{words}, rest...)
	n := len(head) - crc32.Size
	if !bytes.Equal(head, withCRC(head[:n:n])) {
		return xzRecord{}, errors.New("block has a damaged header")
	}
	if err := b.parse(bytes.NewReader(head[1:n])); err != nil {
		return xzRecord{}, fmt.Errorf("block: header: %w", unexpectedEOF(err))
	}
	sum, err := b.sum()
	if err != nil {
		return xzRecord{}, err
	}
	if b.flags&xzPackedKnown == 0 || b.flags&xzSizeKnown == 0 || b.packed > xzSmall || b.size > xzSmall {
		return b.unpack(x.in, sender(send))
	}
	data, err := x.in.take(int((b.packed+xzAlign-1)&^(xzAlign-1)) + sum.Size())
	if err != nil {
		return xzRecord{}, err
	}
	return xzRecord{uint64(b.length) + b.packed + uint64(sum.Size()), b.size}, send(xzPart{block: b, data: data})
}

// sender is a writer that sends its input.
type sender func(xzPart) error

func (s sender) Write(p []byte) (int, error) {
	return len(p), s(xzPart{data: bytes.Clone(p)})
}

// parse reads the fields of the header.
func (b *xzBlock) parse(r *bytes.Reader) (err error) {
	if b.flags, err = r.ReadByte(); err != nil {
		return err
	}
	if b.flags&xzPackedKnown != 0 {
		if b.packed, err = binary.ReadUvarint(r); err != nil {
			return err
		}
	}
	if b.flags&xzSizeKnown != 0 {
		if b.size, err = binary.ReadUvarint(r); err != nil {
			return err
		}
	}
	var filter [3]byte
	if _, err := io.ReadFull(r, filter[:]); err != nil {
		return err
	}
	if b.flags&xzFilters != 0 || filter[0] != xzLZMA2 || filter[1] != 1 {
		return errors.New("filters other than LZMA2 are not supported")
	}
	if b.dict, err = lzma.DecodeDictCap(filter[2]); err != nil {
		return err
	}
	if b.dict > xzWindow {
		return fmt.Errorf("dictionary of %d bytes is not supported, at most %d bytes", b.dict, xzWindow)
	}
	if b.flags&xzSizeKnown != 0 {
		b.dict = int64(min(uint64(b.dict), b.size)) // more is never used
	}
	b.dict = max(b.dict, lzma.MinDictCap)
	padding, _ := io.ReadAll(r)
	if !disk.IsZero(padding) {
		return errors.New("padding is not zero")
	}
	return nil
}

// unpack reads the rest of a block, and writes its uncompressed data.
func (b *xzBlock) unpack(in source, out io.Writer) (xzRecord, error) {
	start := in.pos()
	data, err := lzma.Reader2Config{DictCap: int(b.dict)}.NewReader2(in.Reader)
	if err != nil {
		return xzRecord{}, unexpectedEOF(err)
	}
	sum, err := b.sum()
	if err != nil {
		return xzRecord{}, err
	}
	var content io.Reader = data
	if b.flags&xzSizeKnown != 0 {
		content = io.LimitReader(data, int64(min(b.size, 1<<62))+1) // one more byte shows that the size is wrong
	}
	n, err := io.CopyBuffer(io.MultiWriter(out, sum), content, make([]byte, 256<<10))
	if err != nil {
		return xzRecord{}, err
	}
	packed := uint64(in.pos() - start)
	if b.flags&xzPackedKnown != 0 && b.packed != packed || b.flags&xzSizeKnown != 0 && b.size != uint64(n) {
		return xzRecord{}, errors.New("block does not have the size in its header")
	}
	tail := int(-packed & (xzAlign - 1)) // padding
	rest, err := in.take(tail + sum.Size())
	if err != nil {
		return xzRecord{}, err
	}
	if !bytes.Equal(rest, sum.Sum(make([]byte, tail))) {
		return xzRecord{}, errors.New("block has a wrong checksum")
	}
	return xzRecord{uint64(b.length) + packed + uint64(sum.Size()), uint64(n)}, nil
}
