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
	chunk  = 256 << 10 // what goes from the inflater to the scanner at once
	chunks = 4         // how many of them there are
)

// Bounds of what a layer may inflate to: a gigabyte of zeros is no attack, a
// terabyte of them is.
const (
	freely   = 4 << 30 // however small the blob is
	maxRatio = 1100    // times its blob, beyond that; deflate does not reach it
)

// usualDisk bounds the holes of sparse files where no other limit is set. Holes
// cost no space in the cache, but the time to hash them, and the disk has to
// hold the files.
const usualDisk = 16 << 30

// holes returns how many bytes the holes of sparse files may have in blobs of a
// size.
func (o *Options) holes(blobs int64) int64 {
	return cmp.Or(o.Limits.Holes, max(usualDisk, maxRatio*blobs))
}

// fetch reads the blob of a layer and writes its pack. One goroutine reads,
// hashes and inflates the blob, another hashes and takes apart what comes out.
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

	// What is wrong first is wrong with the blob: if it is not the one that
	// was asked for, it does not matter where the inflater stumbled over it.
	if err := blob.verify(); err != nil {
		return nil, err
	}
	if inflateErr != nil {
		return nil, inflateErr
	}
	if errors.Is(scanErr, layer.ErrChecksum) {
		return nil, registry.WithKind(ErrDamaged, scanErr)
	}
	if scanErr != nil {
		return nil, scanErr
	}
	return index, checkDiffID(want, index)
}

// A blobReader hashes and counts a blob on its way.
type blobReader struct {
	ctx      context.Context
	r        io.Reader
	want     Descriptor
	sum      hash.Hash
	n        int64
	err      error // of r, but for the end
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
		b.err = registry.Errorf(ErrVerify, "blob has more than the %d bytes that the manifest says", b.want.Size)
		return 0, b.err
	case err != nil && err != io.EOF:
		b.err = fmt.Errorf("reading the blob at byte %d of %d: %w", b.n, b.want.Size, err)
		return n, b.err
	}
	return n, err
}

// verify reads what is left of the blob and compares it with its digest.
func (b *blobReader) verify() error {
	if b.err == nil {
		_, _ = io.CopyBuffer(io.Discard, struct{ io.Reader }{b}, make([]byte, chunk))
	}
	switch got := digest.NewDigest(digest.SHA256, b.sum); {
	case b.err != nil:
		return b.err
	case b.n < b.want.Size:
		return registry.Errorf(ErrVerify, "blob has %d bytes, the manifest says %d", b.n, b.want.Size)
	case got != b.want.Digest:
		return registry.Errorf(ErrVerify, "digest mismatch: the blob is %s", got)
	}
	return nil
}

// inflate writes to w what a blob inflates to. What it is compressed with is
// seen from the blob: registries and tools that convert images are not careful
// with media types.
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
		return errors.New("compressed with bzip2 or xz: layers are gzip, zstd or not compressed")
	}
	return w.readFrom(r, max(freely, maxRatio*size))
}

// isZstd reports whether a blob begins with a frame of zstd, or with one that
// its decoders skip.
func isZstd(head []byte) bool {
	return len(head) == 4 && (bytes.Equal(head, []byte{0x28, 0xb5, 0x2f, 0xfd}) ||
		head[0]&0xf0 == 0x50 && bytes.Equal(head[1:], []byte{0x2a, 0x4d, 0x18}))
}
