package compress

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
)

// deflateBlock is the size of a block. The first 32 KiB of a block compress worse,
// because they lack the history before them; they are a small part of it.
const deflateBlock = 1 << 20

// deflateWriter writes one deflate stream (RFC 1951) of many blocks. Each block ends
// at a byte boundary, so that blocks can be concatenated.
type deflateWriter struct {
	*blocks
	w io.Writer
}

func newDeflate(w io.Writer, level int) *deflateWriter {
	worker := func() func([]byte) []byte { return deflater(level) }
	return &deflateWriter{newBlocks(deflateBlock, worker, func(p packed) error {
		_, err := w.Write(p.data)
		return err
	}), w}
}

// deflater returns a function for one goroutine that deflates a block.
func deflater(level int) func([]byte) []byte {
	var buf bytes.Buffer
	w, err := flate.NewWriter(&buf, level)
	if err != nil {
		panic("compress: internal error: " + err.Error()) // the level was checked
	}
	return func(in []byte) []byte {
		buf.Reset()
		w.Reset(&buf)
		w.Write(in) // to memory, so it cannot fail
		w.Flush()
		return bytes.Clone(buf.Bytes())
	}
}

// Close ends the stream with an empty block that is marked as the last.
func (d *deflateWriter) Close() error {
	if err := d.blocks.Close(); err != nil {
		return err
	}
	_, err := d.w.Write([]byte{3, 0})
	return err
}

// gzipWriter writes one member, because some importers of clouds read only the first.
type gzipWriter struct {
	d   *deflateWriter
	w   io.Writer
	crc uint32
	n   uint32 // modulo 2^32, as the format requires
}

// newGzip writes the header: deflate, no name, no time, Unix.
func newGzip(w io.Writer, o Options) (io.WriteCloser, error) {
	if _, err := w.Write([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3}); err != nil {
		return nil, err
	}
	return &gzipWriter{d: newDeflate(w, o.Level), w: w}, nil
}

func (g *gzipWriter) Write(p []byte) (int, error) {
	n, err := g.d.Write(p)
	g.crc = crc32.Update(g.crc, crc32.IEEETable, p[:n])
	g.n += uint32(n)
	return n, err
}

func (g *gzipWriter) Close() error {
	if err := g.d.Close(); err != nil {
		return err
	}
	return binary.Write(g.w, binary.LittleEndian, [2]uint32{g.crc, g.n})
}

func readGzip(in source) (io.ReadCloser, error) { return gzip.NewReader(in.Reader) }
