package pull

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"sync"

	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/raw"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
)

// A download writes a blob to a file, behind the bytes that an earlier run left there.
type download struct {
	repo     *registry.Repo
	want     imgspec.Descriptor
	file     *os.File
	sum      hash.Hash // of the first n bytes
	progress registry.Progress

	mu    sync.Mutex
	cond  sync.Cond // signals a change of the fields below
	n     int64     // bytes in the file
	ended bool
	err   error // of the download, when it has ended
}

func newDownload(m *Image, file *os.File) *download {
	d := &download{repo: m.repo.Repo, want: m.blob, file: file, sum: sha256.New(), progress: m.o.Progress}
	d.cond.L = &d.mu
	return d
}

// run downloads the blob to its end, and verifies it.
func (d *download) run(ctx context.Context) (err error) {
	defer func() {
		d.mu.Lock()
		d.ended, d.err = true, err
		d.mu.Unlock()
		d.cond.Broadcast()
	}()
	resumed, err := d.resume(ctx)
	if err != nil {
		return err
	}
	if err := d.fetch(ctx); err != nil {
		if errors.Is(err, registry.ErrVerify) {
			_ = d.restart()
		}
		return err
	}
	if got := digest.NewDigest(digest.SHA256, d.sum); got != d.want.Digest {
		_ = d.restart() // after a failure the next run starts with the damaged file
		if resumed {
			return errDamaged
		}
		return fmt.Errorf("blob %s: digest mismatch: it is %s: %w", d.want.Digest, got, registry.ErrVerify)
	}
	return d.file.Truncate(d.want.Size) // for a hole at the end
}

// resume takes the content of the file as the beginning of the blob.
func (d *download) resume(ctx context.Context) (bool, error) {
	info, err := d.file.Stat()
	if err != nil {
		return false, err
	}
	if info.Size() > d.want.Size {
		return false, d.restart()
	}
	buf := make([]byte, chunk)
	for d.n < info.Size() {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		n, err := d.file.ReadAt(buf[:min(chunk, info.Size()-d.n)], d.n)
		if n == 0 {
			return false, err
		}
		d.sum.Write(buf[:n])
		d.advance(int64(n))
	}
	return d.n > 0, nil
}

// fetch downloads the rest of the blob.
func (d *download) fetch(ctx context.Context) error {
	body := d.repo.ReadBlob(ctx, d.want, d.n, d.progress)
	defer body.Close()
	w := raw.NewWriter(d.file, d.n)
	buf := make([]byte, chunk)
	for {
		n, err := body.Read(buf)
		if _, err := w.Write(buf[:n]); err != nil {
			return err
		}
		d.sum.Write(buf[:n])
		d.advance(int64(n))
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (d *download) advance(n int64) {
	d.mu.Lock()
	d.n += n
	d.mu.Unlock()
	d.cond.Broadcast()
}

// restart empties the file.
func (d *download) restart() error {
	d.sum.Reset()
	d.advance(-d.n)
	return d.file.Truncate(0)
}

// A follower reads a blob while it is being downloaded. ReadAt waits for the end of
// the download.
type follower struct {
	d   *download
	off int64
}

func (f *follower) Read(p []byte) (int, error) {
	d := f.d
	d.mu.Lock()
	for d.n <= f.off && !d.ended {
		d.cond.Wait()
	}
	there, err := d.n-f.off, d.err
	d.mu.Unlock()
	if there <= 0 {
		if err == nil {
			err = io.EOF
		}
		return 0, err
	}
	p = p[:min(int64(len(p)), there)]
	n, err := d.file.ReadAt(p, f.off)
	if err == io.EOF { // in the hole that the file will end with
		clear(p[n:])
		n, err = len(p), nil
	}
	f.off += int64(n)
	return n, err
}

// Size returns the size of the whole blob.
func (f *follower) Size() int64 { return f.d.want.Size }

func (f *follower) ReadAt(p []byte, off int64) (int, error) {
	d := f.d
	d.mu.Lock()
	for !d.ended {
		d.cond.Wait()
	}
	err := d.err
	d.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return d.file.ReadAt(p, off) // run has extended the file to its whole size
}
