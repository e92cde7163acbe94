package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	minProgress = 1 << 20 // bytes that a connection must transfer to count as progress
	maxBroken   = 5       // connections in a row without progress
)

// A BlobReader reads a blob. After a broken connection it goes on where the
// connection broke, as long as connections make progress. It does not verify the
// digest.
type BlobReader struct {
	ctx      context.Context
	repo     *Repo
	want     imgspec.Descriptor
	progress Progress

	at     int64 // offset of the next byte
	body   io.ReadCloser
	best   int64 // offset when progress was last made
	broken int   // connections since then
	cause  error // of the last broken connection, until it is handled
	err    error // that ended the reading
}

// ReadBlob returns a reader of a blob from an offset on. Progress receives the
// bytes that remain, and those that a registry without ranges sends again.
func (r *Repo) ReadBlob(ctx context.Context, d imgspec.Descriptor, from int64, p Progress) *BlobReader {
	p.Expect(d.Size - from)
	return &BlobReader{ctx: ctx, repo: r, want: d, progress: p, at: from, best: from}
}

// Read implements [io.Reader].
func (b *BlobReader) Read(p []byte) (int, error) {
	for b.err == nil && b.at < b.want.Size {
		err := b.cause
		b.cause = nil
		if err == nil {
			var n int
			if n, err = b.readSome(p); n > 0 || err == nil {
				b.cause = err
				return n, nil
			}
		}
		b.err = b.retry(err)
	}
	if b.err != nil {
		return 0, b.err
	}
	return 0, io.EOF
}

// Close closes the connection.
func (b *BlobReader) Close() error {
	if b.body == nil {
		return nil
	}
	err := b.body.Close()
	b.body = nil
	return err
}

// readSome reads from the open connection, or from a new one.
func (b *BlobReader) readSome(p []byte) (int, error) {
	if b.body == nil {
		if err := b.connect(); err != nil {
			return 0, err
		}
	}
	n, err := b.body.Read(p[:min(int64(len(p)), b.want.Size-b.at)])
	b.at += int64(n)
	b.progress.Done(int64(n))
	if err == io.EOF && b.at < b.want.Size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil || b.at == b.want.Size {
		_ = b.Close()
	}
	if b.at == b.want.Size {
		return n, nil
	}
	return n, err
}

// connect opens a connection. A registry that does not support ranges sends the
// whole blob, whose beginning is skipped.
func (b *BlobReader) connect() error {
	body, at, err := b.repo.openBlob(b.ctx, b.want, b.at)
	if err != nil {
		return err
	}
	if at < b.at {
		skipped, err := io.CopyN(io.Discard, body, b.at-at)
		b.progress.Expect(skipped)
		b.progress.Done(skipped)
		if err != nil {
			_ = body.Close()
			return fmt.Errorf("skipping to byte %d: %w", b.at, err)
		}
	}
	b.body = body
	return nil
}

// retry waits before the next connection. It returns an error if another
// connection would not help.
func (b *BlobReader) retry(err error) error {
	status := Status(err)
	switch {
	case b.ctx.Err() != nil:
		return context.Cause(b.ctx)
	case errors.Is(err, ErrVerify), status != 0 && !(status == http.StatusRequestedRangeNotSatisfiable && b.at > 0):
		return err
	}
	if b.at >= b.best+minProgress {
		b.best, b.broken = b.at, 0
	}
	if b.broken++; b.broken == maxBroken {
		return fmt.Errorf("after %d of %d bytes: %w", b.at, b.want.Size, err)
	}
	return b.repo.wait(b.ctx, b.broken, nil)
}

// openBlob requests a blob from an offset on. The body begins there, or at 0 if
// the registry does not support ranges.
func (r *Repo) openBlob(ctx context.Context, d imgspec.Descriptor, from int64) (body io.ReadCloser, at int64, err error) {
	path := "blobs/" + d.Digest.String()
	header := http.Header{}
	if from > 0 && !r.noRange.Load() {
		header.Set("Range", fmt.Sprintf("bytes=%d-", from))
	}
	resp, err := r.get(ctx, path, header)
	if Status(err) == http.StatusRequestedRangeNotSatisfiable {
		r.noRange.Store(true)
	}
	if err != nil {
		return nil, 0, err
	}
	if at, err = r.checkRange(resp, d, from); err != nil {
		resp.Body.Close()
		return nil, 0, fmt.Errorf("%s: %w", path, err)
	}
	return resp.Body, at, nil
}

// checkRange returns the offset at which the body of an answer begins.
func (r *Repo) checkRange(resp *http.Response, d imgspec.Descriptor, from int64) (at int64, err error) {
	total := resp.ContentLength // or -1
	if resp.StatusCode != http.StatusOK {
		got := resp.Header.Get("Content-Range")
		if at, total, err = parseContentRange(got); err == nil && at != from {
			err = fmt.Errorf("want a range from byte %d", from)
		}
		if err != nil {
			r.noRange.Store(true)
			return 0, fmt.Errorf("content range %q: %w", got, err)
		}
	}
	if total >= 0 && total != d.Size {
		return 0, fmt.Errorf("the registry has %d bytes, the manifest says %d: %w", total, d.Size, ErrVerify)
	}
	return at, nil
}

// parseContentRange parses a Content-Range such as "bytes 100-199/200". An
// unknown total is -1.
func parseContentRange(s string) (from, total int64, err error) {
	var to int64
	if n, _ := fmt.Sscanf(s, "bytes %d-%d/%d", &from, &to, &total); n == 3 && from <= to && to < total {
		return from, total, nil
	}
	if n, _ := fmt.Sscanf(s, "bytes %d-%d/*", &from, &to); n == 2 && from <= to && strings.HasSuffix(s, "/*") {
		return from, -1, nil
	}
	return 0, 0, errors.New("malformed")
}
