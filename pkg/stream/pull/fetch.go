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

// A File is what [Image.Fetch] has made.
type File struct {
	Name         string // as the registry names it, without the suffix of a compression that is gone
	Unpacked     bool   // it is in the second file, not in the first
	Size         int64
	SHA256       string
	Format       string // as far as it is known
	Uncompressed string // SHA-256 of what it is when it is decompressed; empty if that is not known
}

// errDamaged says that what an earlier run has left was not what it should be.
var errDamaged = errors.New("the partial download was damaged")

// Fetch downloads the blob of an image into part, and goes on where part ends.
// What comes out of it, if it is decompressed or is in a tar, goes to out while
// the blob is still on its way.
//
// After an error part holds what can be gone on with, or nothing.
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
				cancel(unpackErr) // there is no place for more of it
			}
		})
	}
	err := d.run(ctx)
	wait.Wait()

	// What is wrong first is wrong with the blob: if it is not the one that was
	// asked for, it does not matter where the decompressor stumbled over it.
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
	case unpacked != nil || !m.packed(): // it is not compressed, whatever it is called
		f.Name = plainName(m.Title)
		f.Format, _, _ = strings.Cut(m.Format, ".")
		f.Uncompressed, unpackErr = f.SHA256, m.checkUncompressed(f.SHA256)
	}
	if unpackErr != nil && ctx.Err() == nil {
		_ = part.Truncate(0) // it is of no use to anybody
	}
	return f, unpackErr
}

// packedFile is the blob as it is.
func (m *Image) packedFile() File {
	return File{Name: m.Title, Size: m.Size, SHA256: m.blob.Digest.Encoded(), Format: m.Format, Uncompressed: m.uncompressed}
}

// unpackedFile is what is known of the image before it is taken out of its blob.
func (m *Image) unpackedFile(name string) File {
	format, _, _ := strings.Cut(m.Format, ".")
	if m.inTar {
		format = cmp.Or(formatOfName(name), m.Format)
	}
	return File{Name: name, Unpacked: true, Format: format, Uncompressed: m.uncompressed}
}
