package pull

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// maxWindow is what decompressors may take of memory.
const maxWindow = 128 << 20

// decompressor returns what a stream is when it is decompressed, and whether it
// was compressed at all: that is seen from its first bytes, for media types and
// names do not always tell.
func decompressor(r io.Reader) (z io.ReadCloser, compressed bool, err error) {
	in := bufio.NewReaderSize(r, chunk)
	head, err := in.Peek(6)
	if err != nil && err != io.EOF {
		return nil, false, err
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err = gzip.NewReader(in)
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		var d *zstd.Decoder
		if d, err = zstd.NewReader(in, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1)); err == nil {
			z = d.IOReadCloser()
		}
	case bytes.HasPrefix(head, []byte("\xfd7zXZ\x00")):
		var d *xz.Reader
		d, err = xz.ReaderConfig{DictCap: maxWindow}.NewReader(in)
		z = io.NopCloser(d)
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		err = errors.New("a zip is not decompressed")
	default:
		return io.NopCloser(in), false, nil
	}
	return z, true, err
}

// compressions are the names of compressions, by how they are written in media
// types and in names of files.
var compressions = map[string]string{
	"gz": "gzip", "gzip": "gzip", "xz": "xz", "zst": "zstd", "zstd": "zstd", "zip": "zip", "tgz": "gzip",
}

// compression returns how a file is compressed by its name; empty is not.
func compression(name string) string {
	return compressions[name[strings.LastIndex(name, ".")+1:]]
}

// plainName returns the name of a file when it is decompressed.
func plainName(name string) string {
	i := strings.LastIndex(name, ".")
	switch {
	case i <= 0 || compression(name) == "":
		return name
	case name[i:] == ".tgz":
		return name[:i] + ".tar"
	}
	return name[:i]
}
