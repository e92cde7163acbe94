package pull

import (
	"archive/tar"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/compress"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/raw"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/oci"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/registry"
)

const (
	chunk    = 256 << 10 // what is read or written at once
	minimum  = 1 << 20   // less than this between two broken connections is none
	patience = 5         // connections in a row without progress
	maxImage = 16 << 40  // bytes that an image decompresses to: as large as files get
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
	d := &download{repo: m.repo, want: m.blob, file: part, sum: sha256.New(), progress: m.o.Progress}
	d.cond.L = &d.mu

	var unpacked *unpacker
	var unpackErr error
	var wait sync.WaitGroup
	if m.inTar || m.o.Decompress {
		unpacked = &unpacker{Image: m, out: raw.NewWriter(out, 0), sum: sha256.New()}
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

// A download is a blob on its way into a file.
type download struct {
	repo     *repo
	want     imgspec.Descriptor
	file     *os.File
	sum      hash.Hash
	progress oci.Progress

	mu    sync.Mutex
	cond  sync.Cond // something below has changed
	n     int64     // bytes that are in the file, and in sum
	ended bool
	err   error
}

// run downloads the blob to its end.
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
	d.progress.Expect(d.want.Size - d.n)
	for best, idle := d.n, 0; d.n < d.want.Size; {
		err := d.more(ctx)
		if d.n == d.want.Size {
			break
		}
		if err := d.hopeless(ctx, err); err != nil {
			return err
		}
		if d.n >= best+minimum {
			best, idle = d.n, 0
		}
		if idle++; idle == patience {
			return fmt.Errorf("after %d of %d bytes: %w", d.n, d.want.Size, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(d.repo.Backoff(idle, nil)):
		}
	}
	if got := digest.NewDigest(digest.SHA256, d.sum); got != d.want.Digest {
		_ = d.restart() // if it cannot, the next run finds that out
		if resumed {
			return errDamaged
		}
		return fmt.Errorf("blob %s: digest mismatch: it is %s: %w", d.want.Digest, got, oci.ErrVerify)
	}
	return d.file.Truncate(d.want.Size) // it may end in a hole
}

// resume takes what is in the file already for the beginning of the blob.
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

func (d *download) advance(n int64) {
	d.mu.Lock()
	d.n += n
	d.mu.Unlock()
	d.cond.Broadcast()
}

// restart begins at the beginning.
func (d *download) restart() error {
	d.sum.Reset()
	d.advance(-d.n)
	return d.file.Truncate(0)
}

// more downloads over one connection, as far as it goes.
func (d *download) more(ctx context.Context) error {
	body, at, err := d.repo.blob(ctx, d.want, d.n)
	if err != nil {
		return err
	}
	defer body.Close()
	if at != d.n {
		d.progress.Expect(d.n)
		if err := d.restart(); err != nil {
			return err
		}
	}
	w := raw.NewWriter(d.file, d.n)
	buf := make([]byte, chunk)
	for d.n < d.want.Size {
		n, err := body.Read(buf[:min(chunk, d.want.Size-d.n)])
		if _, err := w.Write(buf[:n]); err != nil {
			return err
		}
		d.sum.Write(buf[:n])
		d.advance(int64(n))
		d.progress.Done(int64(n))
		if err == io.EOF && d.n < d.want.Size {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// hopeless returns an error that another connection does not mend.
func (d *download) hopeless(ctx context.Context, err error) error {
	status := registry.Status(err)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case status != 0 && !(status == http.StatusRequestedRangeNotSatisfiable && d.n > 0), errors.As(err, new(*fs.PathError)):
		return err
	case errors.Is(err, oci.ErrVerify):
		_ = d.restart()
		return err
	}
	return nil
}

// A follower reads a blob while it is being downloaded.
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

// An unpacker takes the image out of what it is packed in.
type unpacker struct {
	*Image
	name string // empty as long as nothing was unpacked
	out  sink
	sum  hash.Hash
}

// A sink is where an image is unpacked to.
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

// decompress writes what r is when it is decompressed. What is not compressed
// is written only if it must be.
func (u *unpacker) decompress(ctx context.Context, r io.Reader, name string, always bool) error {
	z, kind, err := compress.NewReader(r)
	if err != nil {
		return err
	}
	defer z.Close()
	if kind == compress.None && !always {
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

// untar takes out the one file in the folder disk of a layer.
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
			return fmt.Errorf("layer: has %q and %q in the folder disk: which one is the image?", u.name, name)
		}
		if err := checkTitle(name); err != nil {
			return fmt.Errorf("layer: %w", err)
		}
		u.name = name
		if u.o.Decompress && compression(name) != "" && !strings.HasSuffix(name, ".tar.gz") {
			err = u.decompress(ctx, archive, name, true)
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

// file returns what was unpacked, once it is whole.
func (u *unpacker) file() (File, error) {
	f := u.unpackedFile(u.name)
	f.Size, f.SHA256 = u.out.Size(), hex.EncodeToString(u.sum.Sum(nil))
	if !u.o.Decompress && compression(u.name) != "" {
		return f, nil
	}
	f.Uncompressed = f.SHA256
	return f, u.checkUncompressed(f.SHA256)
}

func (m *Image) checkUncompressed(got string) error {
	if m.uncompressed != "" && m.uncompressed != got {
		return fmt.Errorf("digest mismatch: decompressed it is %s, the manifest says %s: %w", got, m.uncompressed, oci.ErrVerify)
	}
	return nil
}
