package oci

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/layer"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
)

// version is the version of the cache's layout and of the formats of its files.
const version = "v1"

// ErrCache is the error of a cache directory that cannot be written, such as a read-only
// one.
var ErrCache = errors.New("the cache cannot be written")

// A cache is a cache directory in use.
type cache struct {
	dir   string
	inUse *os.File // locked, shared, by every process that uses the cache; nil when closed
}

func openCache(dir string) (*cache, error) {
	if dir == "" {
		return nil, errors.New("oci: no cache directory")
	}
	c := &cache{dir: filepath.Join(dir, version)}
	for _, d := range []string{"blobs", "layers", "diffs", "imports", "tmp"} {
		if err := os.MkdirAll(filepath.Join(c.dir, d), 0o700); err != nil {
			return nil, c.fault(err)
		}
	}
	var err error
	if c.inUse, err = os.OpenFile(filepath.Join(c.dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, c.fault(err)
	}
	if unix.Flock(int(c.inUse.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
		c.sweep()
	}
	if err := unix.Flock(int(c.inUse.Fd()), unix.LOCK_SH); err != nil {
		c.inUse.Close()
		return nil, fmt.Errorf("lock %s: %w", c.inUse.Name(), err)
	}
	return c, nil
}

func (c *cache) close() {
	c.inUse.Close()
	c.inUse = nil
}

// sweep removes the files of killed processes. The caller uses the cache alone.
func (c *cache) sweep() {
	left, _ := filepath.Glob(filepath.Join(c.dir, "layers", "*.tmp"))
	unpacked, _ := filepath.Glob(filepath.Join(c.tmp(), "*"))
	for _, name := range append(left, unpacked...) {
		_ = os.RemoveAll(name) // a remaining file does no harm
	}
}

func (c *cache) tmp() string { return filepath.Join(c.dir, "tmp") }

func (c *cache) blobPath(d digest.Digest) string { return filepath.Join(c.dir, "blobs", d.Encoded()) }

// layerPath returns the path of a file of a layer.
func (c *cache) layerPath(d digest.Digest, suffix string) string {
	return filepath.Join(c.dir, "layers", d.Encoded()+suffix)
}

// diffPath returns the path of the note with the digest of a layer's blob.
func (c *cache) diffPath(d digest.Digest) string { return filepath.Join(c.dir, "diffs", d.Encoded()) }

// full adds the cache to the error of a full disk, which names only a file that is already
// removed.
func (c *cache) full(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("cache %s is full: %w", c.dir, err)
	}
	return err
}

// fault explains an error of writing to the cache.
func (c *cache) fault(err error) error {
	for _, denied := range []error{fs.ErrPermission, unix.EROFS, unix.ENOTDIR} {
		if errors.Is(err, denied) {
			return fmt.Errorf("%w: %w", ErrCache, err)
		}
	}
	return c.full(err)
}

// blob returns a manifest or config, or nil if it is missing or damaged.
func (c *cache) blob(d digest.Digest) ([]byte, error) {
	b, err := os.ReadFile(c.blobPath(d))
	if errors.Is(err, fs.ErrNotExist) || err == nil && digest.FromBytes(b) != d {
		return nil, nil
	}
	touch(c.blobPath(d))
	return b, err
}

// touch records the use of a file, because access times are not reliable. If it fails, the
// file merely seems older.
func touch(name string) { _ = os.Chtimes(name, time.Now(), time.Now()) }

// checkBlob compares a manifest or config with its digest, if that is not empty, and returns
// the digest.
func checkBlob(b []byte, want digest.Digest, limit int) (digest.Digest, error) {
	if len(b) > limit {
		return "", fmt.Errorf("more than %d bytes", limit)
	}
	d := digest.FromBytes(b)
	if want != "" && d != want {
		return "", registry.Errorf(registry.ErrVerify, "digest mismatch: asked for %s, got %s", want, d)
	}
	return d, nil
}

// putBlob stores a verified manifest or config.
func (c *cache) putBlob(b []byte, d digest.Digest) error {
	if have, err := c.blob(d); have != nil || err != nil {
		return err
	}
	return c.fault(c.writeFile(c.blobPath(d), b))
}

// writeFile creates a file that appears when it is complete. Concurrent writers of the same
// file have different temporary files.
func (c *cache) writeFile(name string, parts ...[]byte) error {
	f, err := os.CreateTemp(c.tmp(), "blob.")
	if err != nil {
		return err
	}
	for _, b := range parts {
		if err == nil {
			_, err = f.Write(b)
		}
	}
	if err := cmp.Or(err, f.Close()); err != nil {
		remove(f.Name())
		return err
	}
	if err := os.Rename(f.Name(), name); err != nil {
		remove(f.Name())
		return err
	}
	return nil
}

// layer returns a layer from the cache, and fetches it if necessary. Only one process at a
// time fetches a layer.
func (c *cache) layer(ctx context.Context, src *source, want Descriptor, o Options) (*Layer, error) {
	if l, err := c.load(want); l != nil || err != nil {
		return l, err
	}
	unlock, err := c.lock(ctx, want.Digest)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if l, err := c.load(want); l != nil || err != nil {
		return l, err
	}
	l, err := c.store(ctx, src, want, o)
	return l, c.full(err)
}

// lock waits until no other process fetches the layer. The lock ends with its process.
func (c *cache) lock(ctx context.Context, d digest.Digest) (unlock func(), err error) {
	for {
		unlock, err := c.tryLock(d)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return unlock, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (c *cache) tryLock(d digest.Digest) (unlock func(), err error) {
	f, err := os.OpenFile(c.layerPath(d, ".lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, c.fault(err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return func() { f.Close() }, nil
}

// load opens a cached layer, perhaps from another blob with the same uncompressed content: a
// registry and a store on this machine compress differently. It returns nil if the layer is
// missing or damaged. A layer with another diffID than in the config is an error, as it is
// right after it was fetched.
func (c *cache) load(want Descriptor) (*Layer, error) {
	if l, err := c.open(want.Digest, want); l != nil || err != nil {
		return l, err
	}
	note, err := os.ReadFile(c.diffPath(want.DiffID))
	if err != nil {
		return nil, ignoreNotExist(err)
	}
	same := digest.Digest(note)
	if same == want.Digest || checkDigest("note", same) != nil {
		return nil, nil
	}
	l, err := c.open(same, want)
	if errors.Is(err, registry.ErrVerify) {
		return nil, nil // the note is wrong, not the layer
	}
	return l, err
}

// open opens a layer of the cache by the digest of a blob. It returns nil for a
// missing or damaged layer.
func (c *cache) open(blob digest.Digest, want Descriptor) (*Layer, error) {
	file, err := os.Open(c.layerPath(blob, ".index"))
	if err != nil {
		return nil, ignoreNotExist(err)
	}
	l, err := c.openPack(blob, file, want)
	if l == nil {
		file.Close()
		return nil, err
	}
	touch(file.Name())
	return l, nil
}

// openPack opens the pack that belongs to an index.
func (c *cache) openPack(blob digest.Digest, file *os.File, want Descriptor) (*Layer, error) {
	b, err := io.ReadAll(file)
	if err != nil {
		return nil, err
	}
	header, err := layer.ParseHeader(b)
	if err != nil || !header.Suits(want.Plain) {
		return nil, nil
	}
	pack, err := os.Open(c.layerPath(blob, ".pack"))
	if err != nil {
		return nil, ignoreNotExist(err)
	}
	if !hold(pack) || !intact(pack, header) {
		pack.Close()
		return nil, nil
	}
	if err := checkDiffID(want, header); err != nil {
		pack.Close()
		return nil, err
	}
	return newLayer(want, header, indexFile{file: file, size: int64(len(b))}, pack), nil
}

func newLayer(want Descriptor, header *layer.Index, index indexFile, pack *os.File) *Layer {
	return &Layer{Digest: want.Digest, DiffID: want.DiffID, Size: want.Size, MediaType: want.MediaType, index: index, header: header, pack: pack}
}

// hold protects a pack from pruning until it is closed. It returns false if the pack was
// pruned before.
func hold(pack *os.File) bool {
	var info unix.Stat_t
	return unix.Flock(int(pack.Fd()), unix.LOCK_SH) == nil && unix.Fstat(int(pack.Fd()), &info) == nil && info.Nlink > 0
}

func ignoreNotExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// intact reports whether the index describes a pack. It reads the whole pack, which takes
// 0.1 s for a gigabyte, and leaves it in the page cache.
func intact(pack *os.File, index *layer.Index) bool {
	info, err := pack.Stat()
	if err != nil || info.Size() != index.PackSize {
		return false
	}
	sum, err := layer.PackSum(pack)
	return err == nil && sum == index.PackSum
}

func checkDiffID(want Descriptor, index *layer.Index) error {
	got := digest.NewDigestFromBytes(digest.SHA256, index.DiffID[:])
	if got != want.DiffID {
		return registry.Errorf(registry.ErrDamaged, "diffID mismatch: the config says %s, the layer is %s", want.DiffID, got)
	}
	return nil
}

// store fetches a layer and returns it open. The caller holds its lock. The pack is
// not read again: its checksum was computed while it was written.
func (c *cache) store(ctx context.Context, src *source, want Descriptor, o Options) (_ *Layer, err error) {
	pack, err := create(c.layerPath(want.Digest, ".pack.tmp"))
	if err != nil {
		return nil, err
	}
	defer func() { discard(pack, err) }()
	if !hold(pack) {
		return nil, fmt.Errorf("lock %s: the file is gone", pack.Name())
	}
	index, err := fetch(ctx, src, want, pack, o)
	if err != nil {
		return nil, err
	}
	file, err := create(c.layerPath(want.Digest, ".index.tmp"))
	if err != nil {
		return nil, err
	}
	defer func() { discard(file, err) }()
	b := index.Bytes()
	if _, err := file.Write(b); err != nil {
		return nil, err
	}
	for _, f := range []*os.File{pack, file} { // the index last: it makes the entry valid
		if err := os.Rename(f.Name(), strings.TrimSuffix(f.Name(), ".tmp")); err != nil {
			return nil, err
		}
	}
	if err := c.writeFile(c.diffPath(want.DiffID), []byte(want.Digest)); err != nil {
		return nil, err
	}
	header := *index
	header.Objects, header.Entries = nil, nil
	return newLayer(want, &header, indexFile{file: file, size: int64(len(b))}, pack), nil
}

// create makes an empty file to write and read.
func create(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
}

// discard closes and removes a temporary file after an error.
func discard(f *os.File, err error) {
	if err != nil {
		f.Close()
		remove(f.Name())
	}
}
