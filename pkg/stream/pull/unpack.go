package pull

import (
	"archive/tar"
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/compress"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
)

// An unpacker decompresses an image, or extracts it from a tar archive.
type unpacker struct {
	*Image
	name string // empty until the image is found
	dir  string // for temporary files
	out  sink
	sum  hash.Hash
}

// A sink receives an unpacked image.
type sink interface {
	io.WriteCloser
	Size() int64
}

func (u *unpacker) run(ctx context.Context, r io.Reader) error {
	if u.inTar {
		return u.untar(ctx, r)
	}
	return u.decompress(ctx, r, u.Title, false)
}

// decompress writes the decompressed content of r. It writes content that is not compressed
// only if always is set.
func (u *unpacker) decompress(ctx context.Context, r io.Reader, name string, always bool) error {
	z, kind, err := compress.NewReader(r)
	if err != nil {
		return err
	}
	defer z.Close()
	if kind == filetype.None && !always {
		return nil
	}
	u.name = plainName(name)
	return u.copy(ctx, z)
}

func (u *unpacker) copy(ctx context.Context, r io.Reader) error {
	buf := make([]byte, chunk)
	for {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		n, err := r.Read(buf)
		u.sum.Write(buf[:n])
		if _, err := u.out.Write(buf[:n]); err != nil {
			return err
		}
		if u.out.Size() > maxImage {
			return fmt.Errorf("decompresses to more than %d bytes", int64(maxImage))
		}
		if err == io.EOF {
			return u.out.Close()
		}
		if err != nil {
			return err
		}
	}
}

// untar extracts the only file in the folder disk of a layer.
func (u *unpacker) untar(ctx context.Context, r io.Reader) error {
	z, _, err := compress.NewReader(r)
	if err != nil {
		return err
	}
	defer z.Close()
	archive := tar.NewReader(z)
	for {
		h, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("layer: %w", err)
		}
		name, inside := strings.CutPrefix(path.Clean("/"+h.Name), "/disk/")
		if !inside || h.Typeflag != tar.TypeReg {
			continue
		}
		if u.name != "" {
			return fmt.Errorf("layer: has %q and %q in the folder disk, want one file", u.name, name)
		}
		if err := checkTitle(name); err != nil {
			return fmt.Errorf("layer: %w", err)
		}
		u.name = name
		if u.o.Decompress && isPacked(name) && !strings.HasSuffix(name, ".tar.gz") {
			err = u.decompressMember(ctx, archive, name)
		} else {
			err = u.copy(ctx, archive)
		}
		if err != nil {
			return err
		}
	}
	if u.name == "" {
		return errors.New("layer: has no file in the folder disk")
	}
	return nil
}

// decompressMember decompresses a file of a tar archive. A zip archive is copied to a
// temporary file first, because its directory is at its end.
func (u *unpacker) decompressMember(ctx context.Context, r io.Reader, name string) error {
	in := bufio.NewReader(r)
	head, err := in.Peek(filetype.MagicSize)
	if err != nil && err != io.EOF {
		return err
	}
	if filetype.Sniff(head) != filetype.Zip {
		return u.decompress(ctx, in, name, true)
	}
	f, err := os.CreateTemp(u.dir, ".spool-*")
	if err != nil {
		return err
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return err
	}
	if _, err := io.Copy(f, in); err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return u.decompress(ctx, f, name, true)
}

// file returns the unpacked image.
func (u *unpacker) file() (File, error) {
	f := u.unpackedFile(u.name)
	f.Size, f.SHA256 = u.out.Size(), hex.EncodeToString(u.sum.Sum(nil))
	if !u.o.Decompress && isPacked(u.name) {
		return f, nil
	}
	f.Uncompressed = f.SHA256
	return f, u.checkUncompressed(f.SHA256)
}

func (m *Image) checkUncompressed(got string) error {
	if m.uncompressed != "" && m.uncompressed != got {
		return fmt.Errorf("digest mismatch: decompressed it is %s, the manifest says %s: %w", got, m.uncompressed, registry.ErrVerify)
	}
	return nil
}
