package assemble

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/compress"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/raw"
)

// WriteOptions are the options of [File.Write] and [File.WriteFile].
type WriteOptions struct {
	// Spool is an empty temporary file, which is required for OVAs and compressed
	// qcow2 files. [File.Save] makes one itself.
	Spool cloud.Spool
	// Progress is written as many bytes as the file has before compression, see
	// [File.Work]. It may be nil.
	Progress io.Writer
}

// Write writes the file to w from start to end and returns its record.
func (f *File) Write(ctx context.Context, w io.Writer, o WriteOptions) (cloud.File, error) {
	plain, head := cloud.NewMeter(ctx, o.Progress), &prefix{}
	if f.Type.Compression == filetype.None {
		if err := f.writePlain(w, io.MultiWriter(plain, head), o); err != nil {
			return cloud.File{}, err
		}
		return f.record(plain, plain, head)
	}
	packed := cloud.NewMeter(ctx, nil)
	z, err := compress.NewWriter(io.MultiWriter(w, packed), f.Type.Compression, compress.Options{Level: f.level, Name: f.PlainName()})
	if err != nil {
		return cloud.File{}, err
	}
	err = f.writePlain(z, plain, o)
	if closed := z.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return cloud.File{}, err
	}
	return f.record(plain, packed, head)
}

// writePlain writes the file before compression to w and to tap.
func (f *File) writePlain(w, tap io.Writer, o WriteOptions) error {
	if f.plain == nil {
		metadata := f.metadata
		metadata.Spool = o.Spool
		return f.Platform.Format.Write(tee{w, tap}, f.Disk.Image, metadata)
	}
	const grain, chunk = 4 << 10, 256 << 10
	for c, err := range f.plain.Chunks(grain, chunk, tap) {
		if err != nil {
			return err
		}
		if _, err := c.WriteTo(w); err != nil {
			return err
		}
	}
	return nil
}

// WriteFile writes into an empty file. Holes of a file that is not compressed stay
// holes.
func (f *File) WriteFile(ctx context.Context, file *os.File, o WriteOptions) (cloud.File, error) {
	img, ok := f.Image()
	if !ok {
		return f.Write(ctx, file, o)
	}
	m := cloud.NewMeter(ctx, o.Progress)
	if err := raw.WriteFile(file, img, m); err != nil {
		return cloud.File{}, err
	}
	return f.record(m, m, io.NewSectionReader(img, 0, headSize))
}

// WriteTo is [File.Save] without progress.
func (f *File) WriteTo(ctx context.Context, path string) (cloud.File, error) {
	return f.Save(ctx, path, nil)
}

// Save writes the file under a path, and tells progress of it as [WriteOptions]
// describes. The path appears only when the file is complete; until then there is a
// temporary file in the same folder. An existing file is replaced. Only the owner
// can read a file with secrets.
func (f *File) Save(ctx context.Context, path string, progress io.Writer) (cloud.File, error) {
	record, err := f.save(ctx, path, progress)
	if err != nil {
		return cloud.File{}, fmt.Errorf("%s: %w", path, err)
	}
	return record, nil
}

func (f *File) save(ctx context.Context, path string, progress io.Writer) (cloud.File, error) {
	dir := filepath.Dir(path)
	spool, err := newSpool(dir)
	if err != nil {
		return cloud.File{}, err
	}
	defer spool.Close()
	record := f.expected()
	out, err := renameio.NewPendingFile(path, renameio.WithTempDir(dir), renameio.WithPermissions(record.Perm()))
	if err != nil {
		return cloud.File{}, err
	}
	defer out.Cleanup()
	record, err = f.WriteFile(ctx, out.File, WriteOptions{Spool: spool, Progress: progress})
	if err != nil {
		return cloud.File{}, err
	}
	return record, out.CloseAtomicallyReplace()
}

// record returns the record of the written file. Head is its beginning.
func (f *File) record(plain, packed *cloud.Meter, head io.Reader) (cloud.File, error) {
	record := f.expected()
	record.Content, record.Plain = packed.Content(), plain.Content()
	if f.Platform.Format.Manifest == nil || f.Type.Compression != filetype.None {
		return record, nil
	}
	var err error
	record.Manifest, err = f.Platform.Format.Manifest(head)
	return record, err
}

// newSpool returns a temporary file without a name.
func newSpool(dir string) (*os.File, error) {
	file, err := os.CreateTemp(dir, ".spool-*")
	if err != nil {
		return nil, &os.PathError{Op: "create temporary file in", Path: dir, Err: errors.Unwrap(err)}
	}
	return file, os.Remove(file.Name())
}
