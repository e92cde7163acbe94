package compress

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/klauspost/compress/flate"
)

// zipTime is the first time that the format can store.
var zipTime = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// zipWriter writes an archive of one member.
type zipWriter struct {
	io.Writer // of the member
	archive   *zip.Writer
}

func newZip(w io.Writer, o Options) (io.WriteCloser, error) {
	if o.Name == "" {
		return nil, errors.New("missing name of the member")
	}
	archive := zip.NewWriter(w)
	archive.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return newDeflate(w, o.Level), nil })
	head := &zip.FileHeader{Name: o.Name, Method: zip.Deflate, Modified: zipTime}
	head.SetMode(0o644)
	member, err := archive.CreateHeader(head)
	if err != nil {
		return nil, err
	}
	return &zipWriter{member, archive}, nil
}

func (z *zipWriter) Close() error { return z.archive.Close() }

// ErrNotFile is the error of a zip archive that is not in a file.
var ErrNotFile = errors.New("the directory of a zip archive is at its end: it can be read only from a file")

// zipDirectory is the maximum number of bytes of the directory. That of one member
// is much smaller.
const zipDirectory = 1 << 20

// zipEnd is the length of the end record without its comment.
const zipEnd = 22

// readZip reads the one member of an archive.
func readZip(in source) (io.ReadCloser, error) {
	file, size, err := fileOf(in.under.r)
	if err != nil {
		return nil, err
	}
	limited := &limitedReaderAt{file, zipDirectory}
	archive, err := zip.NewReader(limited, size)
	if err != nil {
		return nil, err
	}
	if len(archive.File) != 1 {
		return nil, fmt.Errorf("%d members, want 1", len(archive.File))
	}
	limited.n = size + 2*zipDirectory // each byte once, and the local header
	end := make([]byte, 4)
	if _, err := file.ReadAt(end, size-zipEnd-int64(len(archive.Comment))); err != nil || string(end) != "PK\x05\x06" {
		return nil, errors.New("data after the end of the archive")
	}
	archive.RegisterDecompressor(zip.Deflate, flate.NewReader)
	return archive.File[0].Open()
}

// fileOf returns a reader as a file of known size.
func fileOf(r io.Reader) (io.ReaderAt, int64, error) {
	switch r := r.(type) {
	case *os.File:
		info, err := r.Stat()
		if err != nil {
			return nil, 0, err
		}
		return r, info.Size(), nil
	case interface {
		io.ReaderAt
		Size() int64
	}:
		return r, r.Size(), nil
	}
	return nil, 0, ErrNotFile
}

// A limitedReaderAt fails when more than n bytes are read.
type limitedReaderAt struct {
	io.ReaderAt
	n int64
}

func (l *limitedReaderAt) ReadAt(p []byte, off int64) (int, error) {
	if l.n -= int64(len(p)); l.n < 0 {
		return 0, fmt.Errorf("directory is larger than %d bytes", zipDirectory)
	}
	return l.ReaderAt.ReadAt(p, off)
}
