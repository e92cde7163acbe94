package pull

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/raw"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
)

// SaveOptions say where to save an image. The zero value saves it in the current folder
// under its own name.
type SaveOptions struct {
	Dir    string // folder, made if missing
	Name   string // of the file; default is that of the image
	SHA256 string // the file must have it, in hexadecimal; default is any
	NoWait bool   // return ErrBusy instead of waiting for another process
}

// A Saved is a file with a saved image.
type Saved struct {
	File
	Path      string
	Allocated int64 // bytes on the disk, without holes
}

// A PartialError is the error of a download that left a partial file. The next Save of
// the image in the folder resumes it.
type PartialError struct {
	Path string // of the partial file
	Size int64  // in bytes
	Err  error
}

func (e *PartialError) Error() string { return e.Err.Error() }
func (e *PartialError) Unwrap() error { return e.Err }

// Save downloads the image to a file, which appears under its name when it is complete and
// verified. If the file is there, nothing is downloaded. The partial download is a hidden
// file in the folder, with the digest of the blob in its name; it is kept after errors that
// a retry may mend, see [PartialError].
func (m *Image) Save(ctx context.Context, o SaveOptions) (*Saved, error) {
	if err := os.MkdirAll(cmp.Or(o.Dir, "."), 0o777); err != nil {
		return nil, err
	}
	part, err := openPart(ctx, m.partName(o, ""), o.NoWait)
	if err != nil {
		return nil, err
	}
	defer part.Close()
	want := m.Expected()
	want.Name = cmp.Or(o.Name, want.Name)
	if saved, err := m.existing(ctx, want, o.Dir); saved != nil || err != nil {
		os.Remove(part.Name())
		return saved, err
	}
	unpacked, err := createNew(m.partName(o, ".unpacked"))
	if err != nil {
		return nil, err
	}
	defer os.Remove(unpacked.Name())
	defer unpacked.Close()
	file, err := m.Fetch(ctx, part, unpacked)
	if err == nil && o.SHA256 != "" && file.SHA256 != o.SHA256 {
		err = fmt.Errorf("%w: %s has sha256 %s, want %s", registry.ErrVerify, m.Reference, file.SHA256, o.SHA256)
	}
	if err != nil {
		return nil, partial(part, err)
	}
	complete := part
	if file.Unpacked {
		complete = unpacked
	}
	saved, err := commit(complete, file, filepath.Join(o.Dir, cmp.Or(o.Name, file.Name)))
	if err == nil && file.Unpacked {
		os.Remove(part.Name())
	}
	return saved, err
}

// partName returns the name of a temporary file.
func (m *Image) partName(o SaveOptions, kind string) string {
	return filepath.Join(o.Dir, "."+m.BlobDigest().Encoded()+kind+".part")
}

// existing returns the file of an earlier download, if it is complete.
func (m *Image) existing(ctx context.Context, want File, dir string) (*Saved, error) {
	path := filepath.Join(dir, want.Name)
	info, err := os.Lstat(path)
	if want.Name == "" || want.SHA256 == "" || err != nil || !info.Mode().IsRegular() || want.Size > 0 && want.Size != info.Size() {
		return nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, contextReader{ctx, f}); err != nil || hex.EncodeToString(sum.Sum(nil)) != want.SHA256 {
		return nil, ctx.Err()
	}
	want.Size = info.Size()
	return &Saved{want, path, raw.Allocated(info)}, nil
}

// A contextReader fails when its context is done.
type contextReader struct {
	ctx context.Context
	io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

// partial adds the partial file to an error, or removes the file if it is useless.
func partial(part *os.File, err error) error {
	info, statErr := part.Stat()
	if statErr != nil || info.Size() == 0 || errors.Is(err, registry.ErrVerify) {
		os.Remove(part.Name())
		return err
	}
	return &PartialError{part.Name(), info.Size(), err}
}

// createNew creates a file that does not exist. In a folder that others can write to, an
// existing file may be a link, or open in another process.
func createNew(name string) (*os.File, error) {
	os.Remove(name)
	return os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
}

// commit syncs a temporary file and gives it its final name.
func commit(f *os.File, file File, path string) (*Saved, error) {
	if err := f.Sync(); err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	file.Size = info.Size()
	return &Saved{file, path, raw.Allocated(info)}, os.Rename(f.Name(), path)
}
