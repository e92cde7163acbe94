// Package compress makes and reads the compressed forms in which images are
// published: gzip, xz, zstd and zip.
//
// A [NewWriter] cuts what it is given into blocks, compresses each for itself
// on all cores, and writes them in order, so that the number of cores does not
// show in the file. Blocks of zeros, which is what the holes of a disk are, are
// compressed once. What a reader finds is one file in the plainest sense:
//
//	gzip  one member (RFC 1952): header | deflate of each block | sums
//	xz    one stream of many blocks, as xz -T makes it: header | blocks | index | footer
//	zstd  a frame for each block (RFC 8878), with its size and a checksum
//	zip   one member, deflated: header | deflate of each block | sums | directory
//
// That blocks do not know of each other costs less than a percent of size.
//
// [NewReader] tells the kind by the first bytes and streams what is inside.
// What it reads may be hostile: it is checked against its sums to the last
// byte, and no window is larger than the kinds' own tools allow by default.
// How much comes out is for the caller to bound.
package compress

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
)

// A Kind is a way to compress, by the name that options give it.
type Kind string

const (
	None Kind = "none"
	Gzip Kind = "gzip"
	Xz   Kind = "xz"
	Zstd Kind = "zstd"
	Zip  Kind = "zip"
)

// A form is what is known of a kind.
type form struct {
	kind    Kind
	suffix  string
	command string // of others, that decompresses a file and keeps it
	magic   string // its files begin with it
	level   int    // default
	highest int
	write   func(w io.Writer, o Options) (io.WriteCloser, error)
	read    func(in source) (io.ReadCloser, error)
}

// With the default levels, files are about as large as those of gzip -6, xz -1
// and zstd -3.
var forms = []form{
	{Gzip, ".gz", "gzip --decompress --keep", "\x1f\x8b", 7, 9, newGzip, readGzip},
	{Xz, ".xz", "xz --decompress --keep", xzMagic, 3, 9, newXz, readXz},
	{Zstd, ".zst", "zstd --decompress --keep", "\x28\xb5\x2f\xfd", 3, 22, newZstd, readZstd},
	{Zip, ".zip", "unzip", "PK\x03\x04", 7, 9, newZip, readZip},
}

// Parse returns the kind of a name.
func Parse(name string) (Kind, error) {
	known := []string{string(None)}
	for _, f := range forms {
		known = append(known, string(f.kind))
	}
	if !slices.Contains(known, name) {
		return None, fmt.Errorf("compression %q is not known, these are: %s", name, strings.Join(known, ", "))
	}
	return Kind(name), nil
}

// Suffix returns what is appended to the name of a compressed file: ".gz",
// ".xz", ".zst", ".zip" or nothing.
func (k Kind) Suffix() string { return k.form().suffix }

// Command returns how other programs decompress a file and keep it: a command
// line, but for the file. It is empty for [None].
func (k Kind) Command() string { return k.form().command }

// form returns what is known of a kind, nothing of [None].
func (k Kind) form() form {
	for _, f := range forms {
		if f.kind == k {
			return f
		}
	}
	return form{}
}

// Options say how a file is compressed.
type Options struct {
	Level int    // 1 to 9, of zstd to 22: the higher, the slower; zero means the default
	Name  string // of the member, if the kind is Zip
}

// NewWriter returns a writer that compresses to w. It must be closed, which
// does not close w; the file is whole when that succeeds. Closing it again does
// nothing.
func NewWriter(w io.Writer, kind Kind, o Options) (io.WriteCloser, error) {
	if kind == None {
		return &writer{Writer: w}, nil
	}
	for _, f := range forms {
		if f.kind != kind {
			continue
		}
		if o.Level < 0 || o.Level > f.highest {
			return nil, fmt.Errorf("compress: %s: level %d is not between 1 and %d", kind, o.Level, f.highest)
		}
		if o.Level == 0 {
			o.Level = f.level
		}
		in, err := f.write(w, o)
		if err != nil {
			return nil, fmt.Errorf("compress: %s: %w", kind, err)
		}
		return &writer{Writer: in, finish: in.Close}, nil
	}
	_, err := Parse(string(kind))
	return nil, err
}

// A writer ends its file once.
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

// NewReader tells by its first bytes how r is compressed, and returns that with
// a reader of what is inside. What begins like none of the kinds is read as it
// is. The reader fails where the file is damaged, ends early or goes on. It may
// read ahead; it must be closed, which does not close r.
func NewReader(r io.Reader) (io.ReadCloser, Kind, error) {
	in := newSource(r, 256<<10)
	head, err := in.Peek(len(xzMagic))
	if err != nil && err != io.EOF {
		return nil, None, err
	}
	for _, f := range forms {
		if !strings.HasPrefix(string(head), f.magic) {
			continue
		}
		out, err := f.read(in)
		if err != nil {
			return nil, f.kind, fmt.Errorf("compress: %s: %w", f.kind, whole(err))
		}
		return named{out, f.kind}, f.kind, nil
	}
	return io.NopCloser(in.Reader), None, nil
}

// named names the kind in errors.
type named struct {
	io.ReadCloser
	kind Kind
}

func (r named) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("compress: %s: %w", r.kind, err)
	}
	return n, err
}

// A source is a file that is read once from start to end.
type source struct {
	*bufio.Reader
	under *counter
}

func newSource(r io.Reader, buffer int) source {
	under := &counter{r: r}
	return source{bufio.NewReaderSize(under, buffer), under}
}

// take reads n bytes that must be there.
func (s source) take(n int) ([]byte, error) {
	b := make([]byte, n)
	_, err := io.ReadFull(s, b)
	return b, whole(err)
}

// pos returns how many bytes were taken from it.
func (s source) pos() int64 { return s.under.n - int64(s.Buffered()) }

// A counter counts the bytes that are read through it.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// whole makes the end of the input an error: there must be more.
func whole(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
