package oci

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/vbatts/tar-split/tar/asm"
	"github.com/vbatts/tar-split/tar/storage"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
)

// maxSplit bounds the notes of tar-split about a layer, uncompressed. There are some
// 1.5 KiB for each file.
const maxSplit = 1 << 30

// A splitReader is the tar of a layer, assembled from the notes of tar-split and the
// files of the store.
type splitReader struct {
	io.ReadCloser // the tar
	layer         storedLayer
	note          *os.File
	dir           *os.Root
}

// open opens a layer of a store as its original tar.
func (l storedLayer) open() (io.ReadCloser, error) {
	dir := filepath.Join(l.store.root, "vfs", "dir", l.ID)
	if l.store.driver == "overlay" {
		dir = filepath.Join(l.store.root, "overlay", l.ID, "diff")
		if _, err := os.Stat(filepath.Join(l.store.root, "overlay", l.ID, "composefs-data")); err == nil {
			return nil, fmt.Errorf("store %s: layer %.12s is kept for composefs, which is not supported: copy the image with skopeo", l.store.root, l.ID)
		}
	}
	note, err := os.Open(filepath.Join(l.store.root, l.store.driver+"-layers", l.ID+".tar-split.gz"))
	if err != nil {
		return nil, l.readable(err)
	}
	gz, err := gzip.NewReader(note)
	if err != nil {
		note.Close()
		return nil, l.readable(fmt.Errorf("%s: %w", note.Name(), err))
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		note.Close()
		return nil, l.readable(err)
	}
	lines := storage.NewJSONUnpacker(io.LimitReader(gz, maxSplit))
	return &splitReader{asm.NewOutputTarStream(storedFiles{root}, lines), l, note, root}, nil
}

// Read reads from the tar.
func (r *splitReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	switch {
	case err == nil || err == io.EOF:
		return n, err
	case strings.HasPrefix(err.Error(), "file integrity checksum failed"): // the library has no type for it
		err = registry.WithKind(registry.ErrVerify, err)
	}
	return n, r.layer.readable(err)
}

// Close closes the tar and its files.
func (r *splitReader) Close() error {
	return errors.Join(r.ReadCloser.Close(), r.note.Close(), r.dir.Close())
}

// storedFiles is the directory of a layer. Nothing outside of it is read.
type storedFiles struct{ dir *os.Root }

// Get opens a file for the tar. In layers a name may have a leading slash.
func (s storedFiles) Get(name string) (io.ReadCloser, error) {
	f, err := s.dir.Open(filepath.Join(".", filepath.Clean("/" + name)[1:]))
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: not a regular file in the store", name)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// readable adds the remedy to the error of a file that this user may not read.
func (l storedLayer) readable(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("store %s: %w: files of other users of the container are not yours: run this under `podman unshare`", l.store.root, err)
	}
	return fmt.Errorf("store %s: %w", l.store.root, err)
}
