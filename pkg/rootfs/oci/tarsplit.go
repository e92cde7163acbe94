package oci

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/gzip"
)

// A splitEntry is a line of what tar-split notes of a tar: either bytes of it,
// or the name of a file whose content comes there.
type splitEntry struct {
	Type    int    `json:"type"`
	Name    string `json:"name"`
	NameRaw []byte `json:"name_raw"` // if it is not UTF-8
	Size    int64  `json:"size"`
	Payload []byte `json:"payload"`
}

const (
	splitFile    = 1
	splitSegment = 2
	maxSegment   = 64 << 20
)

// A splitReader puts a tar together again.
type splitReader struct {
	layer  storedLayer
	note   *os.File
	gz     *gzip.Reader
	lines  *json.Decoder
	dir    *os.Root // with the content of files; nothing outside of it is read
	rest   []byte   // of a segment
	file   *os.File // or of a file
	left   int64    // of it
	name   string   // of it
	inFile bool
}

// open opens a layer of a store as the tar that it was.
func (l storedLayer) open() (io.ReadCloser, error) {
	dir := filepath.Join(l.store.root, "vfs", "dir", l.ID)
	if l.store.driver == "overlay" {
		dir = filepath.Join(l.store.root, "overlay", l.ID, "diff")
		if _, err := os.Stat(filepath.Join(l.store.root, "overlay", l.ID, "composefs-data")); err == nil {
			return nil, fmt.Errorf("store %s: layer %.12s is kept for composefs, which is not supported: copy the image with skopeo", l.store.root, l.ID)
		}
	}
	r := &splitReader{layer: l}
	err := func() (err error) {
		if r.note, err = os.Open(filepath.Join(l.store.root, l.store.driver+"-layers", l.ID+".tar-split.gz")); err != nil {
			return err
		}
		if r.gz, err = gzip.NewReader(bufio.NewReader(r.note)); err != nil {
			return fmt.Errorf("%s: %w", r.note.Name(), err)
		}
		r.lines = json.NewDecoder(bufio.NewReader(r.gz))
		r.dir, err = os.OpenRoot(dir)
		return err
	}()
	if err != nil {
		r.Close()
		return nil, l.readable(err)
	}
	return r, nil
}

// readable says what helps when a file of a store is not ours to read.
func (l storedLayer) readable(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("store %s: %w: files of other users of the container are not yours: run this under `podman unshare`", l.store.root, err)
	}
	return fmt.Errorf("store %s: %w", l.store.root, err)
}

// Close closes what is open.
func (r *splitReader) Close() error {
	for _, f := range []*os.File{r.note, r.file} {
		if f != nil {
			f.Close()
		}
	}
	if r.dir != nil {
		r.dir.Close()
	}
	return nil
}

// Read reads from the tar.
func (r *splitReader) Read(p []byte) (int, error) {
	for len(p) > 0 {
		if len(r.rest) > 0 {
			n := copy(p, r.rest)
			r.rest = r.rest[n:]
			return n, nil
		}
		if r.inFile {
			n, err := r.readFile(p)
			if n > 0 || err != nil {
				return n, err
			}
			continue
		}
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

func (r *splitReader) readFile(p []byte) (int, error) {
	if r.left == 0 {
		r.inFile = false
		return 0, r.file.Close()
	}
	n, err := r.file.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	if n == 0 && err == io.EOF {
		err = fmt.Errorf("%s: %d bytes are missing", r.name, r.left)
	}
	if err != nil && err != io.EOF {
		return n, r.layer.readable(err)
	}
	return n, nil
}

// next goes on to the next line.
func (r *splitReader) next() error {
	var e splitEntry
	if err := r.lines.Decode(&e); err != nil {
		if err == io.EOF {
			return err
		}
		return fmt.Errorf("%s: %w", r.note.Name(), err)
	}
	switch {
	case e.Type == splitSegment && len(e.Payload) <= maxSegment:
		r.rest = e.Payload
		return nil
	case e.Type != splitFile || e.Size < 0:
		return fmt.Errorf("%s: line of type %d and size %d", r.note.Name(), e.Type, e.Size)
	case e.Size == 0:
		return nil
	}
	r.name = e.Name
	if e.NameRaw != nil {
		r.name = string(e.NameRaw)
	}
	return r.openFile(e.Size)
}

func (r *splitReader) openFile(size int64) error {
	// Layers may have names with a leading slash; in the store they have not.
	f, err := r.dir.Open(filepath.Join(".", filepath.Clean("/" + r.name)[1:]))
	if err != nil {
		return r.layer.readable(err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: is no file in the store", r.name)
	}
	if err != nil {
		f.Close()
		return r.layer.readable(err)
	}
	r.file, r.left, r.inFile = f, size, true
	return nil
}
