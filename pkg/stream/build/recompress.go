package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
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

// Recompress changes the compression of the images in a folder: want returns
// the compression that a file is to have. Each file is verified against meta.json
// while it is read, and replaced together with its upload document. It returns the
// new files. After an error, the images that were not yet changed are as before,
// and Recompress can be called again.
//
// It returns [ErrNoBuild] if the folder has no build, and [ErrFile] if an image
// does not match meta.json.
func Recompress(ctx context.Context, dir string, want func(cloud.File) filetype.Compression, o RecompressOptions) (all []Written, err error) {
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
	step := o.Begin.begin(Work{Path: filepath.Join(dir, old.Name), Platform: old.Platform, Size: info.Size()})
	defer func() { step.End(err) }()
	out, err := create(path, info.Mode().Perm())
	if err != nil {
		return now, err
	}
	defer out.Cleanup()
	packed, plain, err := recode(newSum(ctx, step), in, out.File, old, c, compress.Options{Level: o.Level, Name: old.PlainName()})
	if err != nil {
		return now, fmt.Errorf("%s: %w", path, err)
	}
	now.Content, now.Plain = packed, plain
	return now, out.CloseAtomicallyReplace()
}

// recode copies an image with another compression, and compares it with its record.
// It returns the new content. read hashes the bytes of the old file.
func recode(read *sum, in io.Reader, out *os.File, old cloud.File, c filetype.Compression, o compress.Options) (packed, plain cloud.Content, err error) {
	source := io.TeeReader(in, read)
	content := io.NopCloser(source)
	if old.Type.Compression != filetype.None {
		if content, _, err = compress.NewReader(source); err != nil {
			return packed, plain, err
		}
		defer content.Close()
	}
	unpacked, repacked := newSum(read.ctx, nil), newSum(read.ctx, nil)
	to, err := compressor(out, repacked, c, o)
	if err != nil {
		return packed, plain, err
	}
	_, err = io.CopyBuffer(io.MultiWriter(to, unpacked), struct{ io.Reader }{content}, make([]byte, 1<<20))
	if closed := to.Close(); err == nil {
		err = closed
	}
	if err == nil {
		_, err = io.Copy(io.Discard, source) // bytes that the decompressor did not read belong to the digest
	}
	if plain, packed = unpacked.content(), repacked.content(); c == filetype.None {
		packed = plain
	}
	return packed, plain, cmpErr(err, old, read.content(), plain)
}

// compressor returns a writer that compresses to a file and to tap. An
// uncompressed file gets holes for its zeros, and nothing is written to tap.
func compressor(f *os.File, tap io.Writer, c filetype.Compression, o compress.Options) (io.WriteCloser, error) {
	if c == filetype.None {
		return raw.NewWriter(f, 0), nil
	}
	return compress.NewWriter(io.MultiWriter(f, tap), c, o)
}

// cmpErr returns err, or an error if the digests of a file are not those of its record.
func cmpErr(err error, f cloud.File, packed, plain cloud.Content) error {
	switch {
	case err != nil:
		return err
	case packed.SHA256 != f.SHA256:
		return fmt.Errorf("%s: %w: SHA-256 is %s, want %s", f.Name, ErrFile, packed.SHA256, f.SHA256)
	case plain.SHA256 != f.Plain.SHA256:
		return fmt.Errorf("%s: %w: SHA-256 of the decompressed content is %s, want %s", f.Name, ErrFile, plain.SHA256, f.Plain.SHA256)
	}
	return nil
}

// A sum hashes and counts the bytes written to it. It fails once its context is done.
type sum struct {
	ctx  context.Context
	hash hash.Hash
	step io.Writer // may be nil
	n    int64
}

func newSum(ctx context.Context, step io.Writer) *sum {
	return &sum{ctx: ctx, hash: sha256.New(), step: step}
}

func (s *sum) Write(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	if s.step != nil {
		s.step.Write(p)
	}
	s.n += int64(len(p))
	return s.hash.Write(p)
}

// content returns the size and digest of the bytes written so far.
func (s *sum) content() cloud.Content {
	return cloud.Content{Size: s.n, SHA256: hex.EncodeToString(s.hash.Sum(nil))}
}
