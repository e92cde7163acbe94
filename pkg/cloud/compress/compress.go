// Package compress writes and reads compressed image files: gzip, xz, zstd and
// zip.
//
// [NewWriter] cuts its input into blocks, compresses the blocks independently on
// all cores, and writes them in order, so the output does not depend on the
// number of cores. A block of zeros is compressed once. Each output is a single
// plain file:
//
//	gzip  one member (RFC 1952): header | deflate of each block | sums
//	xz    one stream of many blocks, as written by xz -T: header | blocks | index | footer
//	zstd  one frame for each block (RFC 8878), with its size and a checksum
//	zip   one deflated member: header | deflate of each block | sums | directory
//
// Independent blocks cost less than one percent of size.
//
// [NewReader] tells the compression by the first bytes and decompresses a stream. A
// zip archive must be a file. The input may be hostile:
// all checksums are verified, and windows are limited to the defaults of the
// formats' own tools. The caller must limit the size of the output.
//
// # Why this is not only a library
//
// The deflate and zstd coders are those of klauspost/compress, the LZMA2 coder is
// that of ulikunitz/xz, and the zip archives are those of archive/zip. The code
// here adds the blocks that are compressed in parallel: the writers of these
// libraries use one core, or compress the zeros of every hole anew. The .xz
// container is written and read here because ulikunitz/xz gives no access to
// single blocks, which parallel writing and reading need.
package compress

import (
	"bufio"
	"fmt"
	"io"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
)

// A coder writes and reads one compression.
type coder struct {
	compression filetype.Compression
	level       int // default
	highest     int
	write       func(w io.Writer, o Options) (io.WriteCloser, error)
	read        func(in source) (io.ReadCloser, error)
}

// With the default levels, files are about as large as those of gzip -6, xz -1
// and zstd -3.
var coders = []coder{
	{filetype.Gzip, 7, 9, newGzip, readGzip},
	{filetype.Xz, 3, 9, newXz, readXz},
	{filetype.Zstd, 3, 22, newZstd, readZstd},
	{filetype.Zip, 7, 9, newZip, readZip},
}

// coderOf returns the coder of a compression.
func coderOf(c filetype.Compression) (coder, error) {
	for _, row := range coders {
		if row.compression == c {
			return row, nil
		}
	}
	_, err := filetype.ParseCompression(string(c))
	return coder{}, err
}

// CheckLevel returns an error if a compression does not have the level. Every
// compression has level zero, which is its default. [filetype.None] ignores the level.
func CheckLevel(c filetype.Compression, level int) error {
	if c == filetype.None || level == 0 {
		return nil
	}
	row, err := coderOf(c)
	if err == nil && (level < 0 || level > row.highest) {
		err = fmt.Errorf("compress: %s: invalid level %d, must be 1 to %d", c, level, row.highest)
	}
	return err
}

// Options are the options of a compressed file.
type Options struct {
	Level int    // 1 to 9, for zstd to 22; higher levels are slower; zero is the default
	Name  string // file name of the member of a zip archive, where it is required
}

// NewWriter returns a writer that compresses to w. The caller must close it, which
// does not close w; the output is complete when Close succeeds. A second Close
// has no effect.
func NewWriter(w io.Writer, c filetype.Compression, o Options) (io.WriteCloser, error) {
	if err := CheckLevel(c, o.Level); err != nil {
		return nil, err
	}
	if c == filetype.None {
		return &writer{Writer: w}, nil
	}
	row, err := coderOf(c)
	if err != nil {
		return nil, err
	}
	if o.Level == 0 {
		o.Level = row.level
	}
	in, err := row.write(w, o)
	if err != nil {
		return nil, fmt.Errorf("compress: %s: %w", c, err)
	}
	return &writer{Writer: in, finish: in.Close}, nil
}

// A writer finishes its output once.
type writer struct {
	io.Writer
	finish func() error
	err    error
}

func (w *writer) Close() error {
	if w.finish != nil {
		w.err, w.finish = w.finish(), nil
	}
	return w.err
}

// NewReader returns a reader of the decompressed content of r, and the
// compression, which it tells by the first bytes. Any other content is returned
// unchanged, with [filetype.None]. The reader fails if the file is damaged,
// truncated or followed by other data. It may read ahead of the content. The
// caller must close it, which does not close r.
//
// A zip archive can be read only if r is an [*os.File], or has the methods
// ReadAt and Size, as [bytes.Reader] and [io.SectionReader]; otherwise the error is
// [ErrNotFile]. r must be at its beginning.
func NewReader(r io.Reader) (io.ReadCloser, filetype.Compression, error) {
	in := newSource(r, 256<<10)
	head, err := in.Peek(filetype.MagicSize)
	if err != nil && err != io.EOF {
		return nil, filetype.None, err
	}
	c := filetype.Sniff(head)
	if c == filetype.None {
		return io.NopCloser(in.Reader), c, nil
	}
	row, err := coderOf(c)
	if err != nil {
		return nil, c, err
	}
	out, err := row.read(in)
	if err != nil {
		return nil, c, fmt.Errorf("compress: %s: %w", c, unexpectedEOF(err))
	}
	return named{out, c}, c, nil
}

// named adds the compression to errors.
type named struct {
	io.ReadCloser
	compression filetype.Compression
}

func (r named) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("compress: %s: %w", r.compression, err)
	}
	return n, err
}

// A source is a compressed file, read once from start to end.
type source struct {
	*bufio.Reader
	under *counter
}

func newSource(r io.Reader, buffer int) source {
	under := &counter{r: r}
	return source{bufio.NewReaderSize(under, buffer), under}
}

// take reads n bytes, and fails if there are fewer.
func (s source) take(n int) ([]byte, error) {
	b := make([]byte, n)
	_, err := io.ReadFull(s, b)
	return b, unexpectedEOF(err)
}

// pos returns the number of bytes read.
func (s source) pos() int64 { return s.under.n - int64(s.Buffered()) }

// A counter counts the bytes read through it.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// unexpectedEOF turns the end of the input into an error.
func unexpectedEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
