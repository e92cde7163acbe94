package pull

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/raw"
)

const (
	chunk    = 256 << 10 // bytes of one read or write
	maxImage = 16 << 40  // bytes of a decompressed image, the largest file of most file systems
)

// A File is the result of [Image.Fetch].
type File struct {
	Name         string // by the registry; without the suffix of the compression if the file was decompressed
	Unpacked     bool   // the result is in the second file of Fetch
	Size         int64
	SHA256       string
	Format       string // empty if unknown
	Uncompressed string // SHA-256 of the decompressed file; empty if unknown
}

// errDamaged is the error of a partial download whose content was wrong.
var errDamaged = errors.New("the partial download was damaged")

// Fetch downloads the blob of an image to part, behind the bytes that are there. If the image
// is to be decompressed or is in a tar archive, Fetch unpacks it to out during the download.
// After an error, part contains the beginning of the blob, or nothing.
func (m *Image) Fetch(ctx context.Context, part, out *os.File) (File, error) {
	f, err := m.fetch(ctx, part, out)
	if errors.Is(err, errDamaged) {
		f, err = m.fetch(ctx, part, out)
	}
	if err != nil {
		return File{}, fmt.Errorf("%s: %w", m.Reference, err)
	}
	return f, nil
}

func (m *Image) fetch(ctx context.Context, part, out *os.File) (File, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	d := newDownload(m, part)
	var unpacked *unpacker
	var unpackErr error
	var wait sync.WaitGroup
	if m.inTar || m.o.Decompress {
		unpacked = &unpacker{Image: m, dir: filepath.Dir(out.Name()), out: raw.NewWriter(out, 0), sum: sha256.New()}
		if err := out.Truncate(0); err != nil {
			return File{}, err
		}
		wait.Go(func() {
			unpackErr = unpacked.run(ctx, &follower{d: d})
			if errors.As(unpackErr, new(*fs.PathError)) {
				cancel(unpackErr) // the disk is full
			}
		})
	}
	err := d.run(ctx)
	wait.Wait()

	// An error of the blob comes first: a wrong blob is the cause of any error of the
	// decompressor.
	if cause := context.Cause(ctx); cause != nil && cause == unpackErr {
		return File{}, cause
	}
	if err != nil {
		return File{}, err
	}
	f := m.packedFile()
	switch {
	case unpackErr != nil:
	case unpacked != nil && unpacked.name != "":
		f, unpackErr = unpacked.file()
	case unpacked != nil || !m.packed(): // not compressed, in spite of its name
		f.Name = plainName(m.Title)
		f.Format, _, _ = strings.Cut(m.Format, ".")
		f.Uncompressed, unpackErr = f.SHA256, m.checkUncompressed(f.SHA256)
	}
	if unpackErr != nil && ctx.Err() == nil {
		_ = part.Truncate(0) // useless
	}
	return f, unpackErr
}

// packedFile describes the unchanged blob.
func (m *Image) packedFile() File {
	return File{Name: m.Title, Size: m.Size, SHA256: m.blob.Digest.Encoded(), Format: m.Format, Uncompressed: m.uncompressed}
}

// unpackedFile describes the unpacked image as far as the manifest does.
func (m *Image) unpackedFile(name string) File {
	format, _, _ := strings.Cut(m.Format, ".")
	if m.inTar {
		format = cmp.Or(formatOfName(name), m.Format)
	}
	return File{Name: name, Unpacked: true, Format: format, Uncompressed: m.uncompressed}
}
