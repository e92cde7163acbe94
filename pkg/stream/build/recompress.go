package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/assemble"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/compress"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/raw"
)

// ErrFile is the error of a file that does not match meta.json.
var ErrFile = errors.New("the file does not match " + MetaFile)

// RecompressOptions are the options of [Recompress].
type RecompressOptions struct {
	Level int  // of the compression; zero is its default
	Keep  bool // keep the files that were replaced

	Begin Begin // may be nil
}

// A Target returns the compression that a file is to have.
type Target func(cloud.File) filetype.Compression

// Compressed returns the target that compresses files as a request for them does. Compressed files, and those of unknown platforms, stay as they are.
func Compressed(r assemble.Request) Target {
	return func(f cloud.File) filetype.Compression {
		if f.Type.Compression != filetype.None || f.SkipCompression {
			return f.Type.Compression
		}
		platforms, err := cloud.Lookup("", f.Platform)
		if err != nil { // a platform of another program, or of a later version
			return filetype.None
		}
		return platforms[0].FileCompression(r.Compression, r.AsPublished)
	}
}

// Uncompressed is the [Target] that decompresses all files.
func Uncompressed(cloud.File) filetype.Compression { return filetype.None }

// Recompress changes the compression of the images in a folder. Each file is verified against meta.json
// while it is read, and replaced together with its upload document. It returns the
// new files. After an error, the images that were not yet changed are as before,
// and Recompress can be called again.
//
// It returns [ErrNoBuild] if the folder has no build, and [ErrFile] if an image
// does not match meta.json.
func Recompress(ctx context.Context, dir string, want Target, o RecompressOptions) (all []Written, err error) {
	builds, err := Open(os.DirFS(dir))
	if err != nil {
		return nil, err
	}
	for _, b := range builds {
		for _, f := range b.Files {
			c := want(f)
			if c == f.Type.Compression {
				continue
			}
			now, err := b.recompress(ctx, filepath.Join(dir, b.Dir), f, c, o)
			if err != nil {
				return all, err
			}
			all = append(all, Written{filepath.Join(dir, b.Dir, now.Name), now})
		}
	}
	return all, nil
}

// recompress changes the compression of one image.
func (b *Build) recompress(ctx context.Context, dir string, old cloud.File, c filetype.Compression, o RecompressOptions) (cloud.File, error) {
	now, err := rewrite(ctx, dir, old, c, o)
	if err != nil {
		return now, err
	}
	err = update(dir, func(there *Build) (*Build, error) {
		if !there.is(b.Meta) {
			return nil, fmt.Errorf("%s: %w", dir, errReplaced)
		}
		there.set(now)
		return there, nil
	})
	if err == nil {
		err = renewUpload(dir, old, now)
	}
	if err != nil || o.Keep {
		return now, err
	}
	for _, name := range []string{old.Name, uploadName(old)} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return now, err
		}
	}
	return now, nil
}

// rewrite writes the file of an image with another compression, and verifies the
// old file.
func rewrite(ctx context.Context, dir string, old cloud.File, c filetype.Compression, o RecompressOptions) (now cloud.File, err error) {
	in, err := os.Open(filepath.Join(dir, old.Name))
	if err != nil {
		return now, err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return now, err
	}
	now = old
	now.Published = nil // the old file was published
	now.Type.Compression = c
	now.Name = old.PlainName() + c.Suffix()
	path := filepath.Join(dir, now.Name)
	step := o.Begin.begin(Work{Path: filepath.Join(dir, old.Name), Platform: old.Platform, Size: old.Plain.Size})
	defer func() { step.End(err) }()
	out, err := create(path, info.Mode().Perm())
	if err != nil {
		return now, err
	}
	defer out.Cleanup()
	content, err := verified(ctx, in, old)
	if err != nil {
		return now, err
	}
	defer content.Close()
	plain, packed := cloud.NewMeter(ctx, step), cloud.NewMeter(ctx, nil)
	if err := recode(out.File, content, plain, packed, c, compress.Options{Level: o.Level, Name: old.PlainName()}); err != nil {
		return now, fmt.Errorf("%s: %w", path, err)
	}
	if now.Plain = plain.Content(); now.Plain.SHA256 != old.Plain.SHA256 {
		return now, fmt.Errorf("%s: %w: SHA-256 of the uncompressed content is %s, want %s", old.Name, ErrFile, now.Plain.SHA256, old.Plain.SHA256)
	}
	if now.Content = packed.Content(); c == filetype.None {
		now.Content = now.Plain
	}
	return now, out.CloseAtomicallyReplace()
}

// verified returns a reader of the uncompressed content of a file. A compressed
// file is read twice: its digest is verified before it is decompressed.
func verified(ctx context.Context, in *os.File, f cloud.File) (io.ReadCloser, error) {
	if f.Type.Compression == filetype.None {
		return io.NopCloser(in), nil
	}
	s := cloud.NewMeter(ctx, nil)
	if _, err := io.CopyBuffer(s, struct{ io.Reader }{in}, make([]byte, 1<<20)); err != nil {
		return nil, err
	}
	if got := s.Content(); got.SHA256 != f.SHA256 {
		return nil, fmt.Errorf("%s: %w: SHA-256 is %s, want %s", f.Name, ErrFile, got.SHA256, f.SHA256)
	}
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	content, _, err := compress.NewReader(in)
	return content, err
}

// recode compresses content into a file. It hashes the content with plain, and the
// file with packed if that is compressed. An uncompressed file gets holes for zeros.
func recode(f *os.File, content io.Reader, plain, packed io.Writer, c filetype.Compression, o compress.Options) (err error) {
	var to io.WriteCloser = raw.NewWriter(f, 0)
	if c != filetype.None {
		if to, err = compress.NewWriter(io.MultiWriter(f, packed), c, o); err != nil {
			return err
		}
	}
	_, err = io.CopyBuffer(io.MultiWriter(to, plain), struct{ io.Reader }{content}, make([]byte, 1<<20))
	if closed := to.Close(); err == nil {
		err = closed
	}
	return err
}
