package oci

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/layer"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
)

const (
	chunk  = 256 << 10 // bytes that the inflater hands to the scanner at once
	chunks = 4         // number of these buffers
)

// Limits of the size of an inflated layer. A gigabyte of zeros is legitimate, a terabyte is
// an attack.
const (
	freely   = 4 << 30 // bytes, even for the smallest blob
	maxRatio = 1100    // times the blob's size, above that; deflate cannot reach it
)

// usualDisk is the default limit of the holes of sparse files. Holes take no space in the
// cache, but time to hash, and the files must fit on the disk.
const usualDisk = 16 << 30

// holes returns the limit of the bytes in holes of sparse files, for blobs of a size.
func (o *Options) holes(blobs int64) int64 {
	return cmp.Or(o.Limits.Holes, max(usualDisk, maxRatio*blobs))
}

// fetch reads the blob of a layer and writes its pack. One goroutine reads, hashes and
// inflates the blob, another one hashes and scans the tar.
func fetch(ctx context.Context, src *source, want Descriptor, pack *os.File, o Options) (*layer.Index, error) {
	o.Progress.Expect(want.Size)
	body, err := src.blob(ctx, want.Digest, want.Size)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	blob := &blobReader{ctx: ctx, r: body, want: want, sum: sha256.New(), progress: o.Progress}

	pipe := newPipe()
	go func() { pipe.closeWrite(inflate(blob, pipe, want.Size)) }()
	limits := o.Limits
	limits.Holes = o.holes(want.Size)
	scan := layer.Scan
	if want.Plain {
		scan = layer.ScanPlain
	}
	index, scanErr := scan(pipe, pack, limits)
	inflateErr := pipe.closeRead()

	// An error of the blob comes first: a wrong blob is the cause of any error of the
	// inflater.
	if err := blob.verify(); err != nil {
		return nil, err
	}
	if inflateErr != nil {
		return nil, inflateErr
	}
	if errors.Is(scanErr, layer.ErrChecksum) {
		return nil, registry.WithKind(registry.ErrDamaged, scanErr)
	}
	if scanErr != nil {
		return nil, scanErr
	}
	return index, checkDiffID(want, index)
}

// A blobReader hashes and counts a blob while it is read.
type blobReader struct {
	ctx      context.Context
	r        io.Reader
	want     Descriptor
	sum      hash.Hash
	n        int64
	err      error // of r, except io.EOF
	progress registry.Progress
}

func (b *blobReader) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		b.err = err
	}
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.r.Read(p)
	b.sum.Write(p[:n])
	b.n += int64(n)
	b.progress.Done(int64(n))
	switch {
	case b.n > b.want.Size:
		b.err = registry.Errorf(registry.ErrVerify, "blob has more than the %d bytes that the manifest says", b.want.Size)
		return 0, b.err
	case err != nil && err != io.EOF:
		b.err = fmt.Errorf("reading the blob at byte %d of %d: %w", b.n, b.want.Size, err)
		return n, b.err
	}
	return n, err
}

// verify reads the rest of the blob and compares the blob with its digest.
func (b *blobReader) verify() error {
	if b.err == nil {
		_, _ = io.CopyBuffer(io.Discard, struct{ io.Reader }{b}, make([]byte, chunk))
	}
	switch got := digest.NewDigest(digest.SHA256, b.sum); {
	case b.err != nil:
		return b.err
	case b.n < b.want.Size:
		return registry.Errorf(registry.ErrVerify, "blob has %d bytes, the manifest says %d", b.n, b.want.Size)
	case got != b.want.Digest:
		return registry.Errorf(registry.ErrVerify, "digest mismatch: the blob is %s", got)
	}
	return nil
}

// inflate writes the inflated blob to w. It recognizes the compression by the content,
// because registries and converters do not always set the right media type.
func inflate(blob io.Reader, w *pipe, size int64) error {
	in := bufio.NewReaderSize(blob, chunk)
	head, err := in.Peek(4)
	if err != nil && err != io.EOF {
		return err
	}
	var r io.Reader = in
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(in)
		if err != nil {
			return fmt.Errorf("gzip: %w", err)
		}
		r = z
	case isZstd(head):
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return fmt.Errorf("zstd: %w", err)
		}
		defer z.Close()
		r = z
	case bytes.HasPrefix(head, []byte("BZh")), bytes.HasPrefix(head, []byte("\xfd7zX")):
		return errors.New("compressed with bzip2 or xz, must be gzip, zstd or not compressed")
	}
	return w.readFrom(r, max(freely, maxRatio*size))
}

// isZstd reports whether a blob begins with a zstd frame or a skippable frame.
func isZstd(head []byte) bool {
	return len(head) == 4 && (bytes.Equal(head, []byte{0x28, 0xb5, 0x2f, 0xfd}) ||
		head[0]&0xf0 == 0x50 && bytes.Equal(head[1:], []byte{0x2a, 0x4d, 0x18}))
}
