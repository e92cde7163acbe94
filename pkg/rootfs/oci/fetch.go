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
func fetch(ctx context.Context, src *source, want descriptor, pack *os.File, o Options) (*layer.Index, error) {
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
		return nil, fault{scanErr, ErrDamaged}
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
	want     descriptor
	sum      hash.Hash
	n        int64
	err      error // of r, but for the end
	progress Progress
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
		b.err = failf(ErrVerify, "blob has more than the %d bytes that the manifest says", b.want.Size)
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
		return failf(ErrVerify, "blob has %d bytes, the manifest says %d", b.n, b.want.Size)
	case got != b.want.Digest:
		return failf(ErrVerify, "digest mismatch: the blob is %s", got)
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

// A pipe hands large chunks from one goroutine to another.
type pipe struct {
	full, free chan []byte
	rest, cur  []byte
	done       chan struct{} // closed when the writer has ended
	stop       chan struct{} // closed when the reader has ended
	err        error         // of the writer; valid after done
}

var errStopped = errors.New("not read to the end")

func newPipe() *pipe {
	p := &pipe{full: make(chan []byte, chunks), free: make(chan []byte, chunks), done: make(chan struct{}), stop: make(chan struct{})}
	for range chunks {
		p.free <- make([]byte, chunk)
	}
	return p
}

// readFrom passes on what r has, up to a limit.
func (p *pipe) readFrom(r io.Reader, limit int64) error {
	for {
		var buf []byte
		select {
		case <-p.stop:
			return errStopped
		case buf = <-p.free:
		}
		n, err := fill(r, buf[:chunk])
		if limit -= int64(n); limit < 0 {
			return errors.New("inflates to more than any honest layer of its size")
		}
		p.full <- buf[:n] // never blocks: there is room for all chunks
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("inflating: %w", err)
		}
	}
}

// fill reads until buf is full or r has an error. Unlike io.ReadFull it tells
// the end of r from an inflater's complaint that its input ends too early.
func fill(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var got int
		got, err = r.Read(buf[n:])
		n += got
	}
	return n, err
}

func (p *pipe) closeWrite(err error) {
	p.err = err
	close(p.done)
	close(p.full)
}

// closeRead ends the reading, waits for the writer and returns what was wrong
// with it, unless it is only that no one read on.
func (p *pipe) closeRead() error {
	close(p.stop)
	<-p.done
	if p.err == errStopped {
		return nil
	}
	return p.err
}

// Read is of the reading goroutine.
func (p *pipe) Read(b []byte) (int, error) {
	for len(p.rest) == 0 {
		if p.cur != nil {
			p.free <- p.cur
			p.cur = nil
		}
		buf, ok := <-p.full
		if !ok {
			if p.err != nil {
				return 0, p.err
			}
			return 0, io.EOF
		}
		p.cur, p.rest = buf[:chunk], buf
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}
