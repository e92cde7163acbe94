// Package oci pulls container images into a cache, from where their content
// can be read at any offset.
//
// An image is named as skopeo names it:
//
//	[docker://]HOST/NAME[:TAG][@DIGEST]
//	oci:DIR[:TAG][@DIGEST]
//	oci-archive:FILE[:TAG][@DIGEST]
//	dir:DIR[@DIGEST]
//	docker-archive:FILE[:NAME[:TAG]|:@NUMBER][@DIGEST]
//	containers-storage:[[DRIVER@ROOT]]NAME[:TAG][@DIGEST]
//
// A NAME without HOST and without docker:// is a short one: registries.conf says
// what it means, or it is refused. The last is what podman and buildah have on this machine; an ID is a NAME too.
// A digest is that of a manifest or of an index of several architectures; what
// it names must have it. From an index, and the indexes in it, the image with the
// nearest variant of the architecture is taken that is not above the wanted one.
// Attestations and other artifacts are skipped. Registries, credentials and
// certificates are those of containers/image.
//
// Every byte is checked before it is used: manifests, configs and blobs against
// their digests and sizes, what the blobs inflate to against the diffIDs of the
// config, and what is in there as package layer does. A layer is inflated once,
// and kept as a pack and an index; the compressed blob is not kept.
//
//	CACHE/v1/blobs/HEX          manifests and configs, by digest
//	CACHE/v1/layers/HEX.pack    content of a layer, by the digest of its blob
//	CACHE/v1/layers/HEX.index   all else of the layer; it makes the entry valid
//	CACHE/v1/layers/HEX.lock    held by who fetches the layer (flock), never removed
//	CACHE/v1/layers/HEX.*.tmp   what a process works on that holds the lock
//	CACHE/v1/diffs/HEX          by diffID, the digest of a blob that inflates to it
//	CACHE/v1/imports/KEY        results of imports, by a digest of all inputs; checked by checksum
//	CACHE/v1/tmp/               what is unpacked of archives, and small files on their way; an
//	                            image of more than 64 layers has an unlinked file of the small ones
//	CACHE/v1/lock               held, shared, by all who use the cache; who has it alone
//	                            removes what others left that were killed
//
// Files appear under their names when they are whole, so a process may be
// killed at any point. Each pull compares what it takes from the cache with its
// checksum, a pack with the one in the index, and fetches again what is damaged.
// The time of an index, manifest or config is when that was last used. Packs are
// locked, shared, while an image is open, so that they are not pruned. Nothing is
// synced to the disk: after a crash of the machine a file that was not written
// is damaged. The cache may be deleted at any time, whole or in part.
//
// With a policy, an image must be signed as containers-policy.json(5) demands, before
// anything but its manifest is fetched and anything is stored. The verdict is that of
// podman's own code, which needs the build tag containers_image_openpgp; a program
// that was built without it rejects every image if there is a policy. Signatures are
// not kept, so a policy that demands them needs the network. Without a policy the
// digest in the reference is the only check.
//
// Docker schema 1, encrypted layers, layers that are not in the registry, and digests
// other than SHA-256 are rejected.
package oci

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/types"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/layer"
)

// Kinds of errors, for [errors.Is].
var (
	ErrVerify   = errors.New("verification failed") // bytes are not what a digest, size or checksum says
	ErrAccess   = errors.New("access denied")       // by a registry, or on this machine
	ErrNotFound = errors.New("not found")           // the reference names nothing

	// ErrDamaged is an ErrVerify that a second try does not change: the blobs are
	// as their digests say, but their content is wrong.
	ErrDamaged = fmt.Errorf("damaged container: %w", ErrVerify)

	// ErrForbidden is an ErrAccess: a policy or registries.conf does not want the image.
	ErrForbidden = fmt.Errorf("forbidden: %w", ErrAccess)
)

// A fault is an error with a kind that its text does not repeat.
type fault struct {
	error
	kind error
}

func (f fault) Unwrap() []error { return []error{f.error, f.kind} }

func failf(kind error, format string, args ...any) error {
	return fault{fmt.Errorf(format, args...), kind}
}

// Options say where an image may come from and what of it is wanted.
type Options struct {
	Cache        string       // directory, made if missing
	Arch         string       // as Go or as uname(1) calls it, perhaps with a variant, as amd64/v3; default is the host's
	AuthFile     string       // credentials; default as in containers-auth.json(5)
	Login        *Login       // credentials for the registry that the reference names; nil takes those of the files
	CertDir      string       // certificates for the registry; default as in containers-certs.d(5)
	TLSVerify    *bool        // false allows plain HTTP and unknown certificates; default as in registries.conf
	RegistryConf string       // a registries.conf; default is the system's
	RegistriesD  string       // directory that says where signatures are; default as in containers-registries.d(5)
	StorageConf  string       // a storage.conf, for containers-storage; default is the user's or the system's
	Policy       string       // a policy.json that the image must satisfy; default is none, and no check
	Limits       layer.Limits // of each layer
	Progress     Progress     // may be nil

	// Accept, unless it is nil, is asked when all but the layers is known: an
	// error keeps them from being fetched.
	Accept func(*Image) error

	// IdleTimeout is how long a registry may send nothing; default is two minutes.
	IdleTimeout time.Duration
}

// A Login is a user name or a token, as in a file of credentials.
type Login = types.DockerAuthConfig

// Progress is told how the pull gets on, by many goroutines at once.
type Progress interface {
	Expect(bytes int64) // so many more bytes of compressed layers are to be read
	Done(bytes int64)   // so many more of them were
}

type silent struct{}

func (silent) Expect(int64) {}
func (silent) Done(int64)   {}

// An Image is a pulled image. Its layers are read from the cache until it is
// closed.
type Image struct {
	Reference string        // as it was asked for, with the digest that it had
	Digest    digest.Digest // of the manifest of the one architecture
	Manifest  []byte
	Config    []byte
	Labels    map[string]string // of the config
	Created   time.Time         // of the config; zero if it does not say
	Arch      string            // as Go calls it
	Notes     []string          // about values of the config that were replaced
	Layers    []*Layer          // lowest first

	cacheDir string
}

// Close closes the layers. Content of theirs can no longer be read.
func (m *Image) Close() error {
	var errs []error
	closed := map[*os.File]bool{}
	for _, l := range m.Layers {
		if l == nil {
			continue
		}
		for _, f := range []*os.File{l.pack, l.index.file} {
			if !closed[f] {
				closed[f] = true
				errs = append(errs, f.Close())
			}
		}
	}
	return errors.Join(errs...)
}

// Pull makes an image available. What the cache has is not fetched again; a
// reference with a digest that is all there needs no network, unless a policy
// wants it signed.
func Pull(ctx context.Context, reference string, o Options) (*Image, error) {
	if o.Progress == nil {
		o.Progress = silent{}
	}
	if o.IdleTimeout <= 0 {
		o.IdleTimeout = 2 * time.Minute
	}
	ref, err := parseReference(reference)
	if err != nil {
		return nil, err
	}
	cache, err := openCache(o.Cache)
	if err != nil {
		return nil, err
	}
	defer cache.close()
	src := newSource(ref, o, cache)
	defer src.close()
	if src.ref, err = ref.qualify(src.system()); err != nil {
		return nil, err
	}
	if err := src.ref.checkBlocked(src.system()); err != nil {
		return nil, err
	}
	img, want, err := resolve(ctx, src, parsePlatform(cmp.Or(o.Arch, runtime.GOARCH)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", reference, err)
	}
	if o.Accept != nil {
		if err := o.Accept(img); err != nil {
			return nil, fmt.Errorf("%s: %w", reference, err)
		}
	}
	img.cacheDir = o.Cache
	if err := pullLayers(ctx, cache, src, img, want, o); err != nil {
		img.Close()
		return nil, fmt.Errorf("%s: %w", reference, err)
	}
	return img, nil
}

// maxIndexes bounds what the layers of an image have in memory, all together.
// Of a system of 10,000 files it is less than a megabyte.
var maxIndexes int64 = 512 << 20

// maxPacks is how many files of layers an image has open: a process may have 1024
// of all kinds, or 256.
const maxPacks = 64

// A spool is one unnamed file of an image, for the indexes of its layers and the
// packs beyond maxPacks.
type spool struct {
	mu   sync.Mutex
	file *os.File
	size int64
}

// takeIndex moves the index of a layer to the spool.
func (s *spool) takeIndex(c *cache, l *Layer) error {
	base, err := s.copy(c, l.index.file, l.index.size)
	if err != nil {
		return err
	}
	l.index.file.Close()
	l.index.file, l.index.base = s.file, base
	return nil
}

// takePack moves the pack of a layer to the spool.
func (s *spool) takePack(c *cache, l *Layer) error {
	base, err := s.copy(c, l.pack, l.header.PackSize)
	if err != nil {
		return err
	}
	l.pack.Close()
	l.pack, l.base = s.file, base
	return nil
}

// copy appends a file to the spool and returns its offset there.
func (s *spool) copy(c *cache, from *os.File, size int64) (base int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		if s.file, err = os.CreateTemp(c.tmp(), "packs."); err != nil {
			return 0, err
		}
		remove(s.file.Name())
	}
	base = s.size
	if err := copyData(s.file, base, from, size); err != nil {
		return 0, err
	}
	s.size += size
	return base, nil
}

// copyData copies a file to an offset of another one. Holes stay holes.
func copyData(to *os.File, at int64, from *os.File, size int64) error {
	for off := int64(0); off < size; {
		data, err := unix.Seek(int(from.Fd()), off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break
		}
		if err != nil {
			return err
		}
		if off, err = unix.Seek(int(from.Fd()), data, unix.SEEK_HOLE); err != nil {
			return err
		}
		if _, err := io.Copy(io.NewOffsetWriter(to, at+data), io.NewSectionReader(from, data, off-data)); err != nil {
			return err
		}
	}
	return to.Truncate(at + size)
}

// pullLayers fills in the layers of an image: several at once, the largest
// first, so that the last to finish is a small one.
func pullLayers(ctx context.Context, cache *cache, src *source, img *Image, want []descriptor, o Options) error {
	jobs := map[digest.Digest][]int{}
	blobs := int64(0) // bytes of them
	for i, d := range want {
		jobs[d.Digest] = append(jobs[d.Digest], i)
		blobs += d.Size
	}
	order := make([]int, 0, len(jobs))
	for i, d := range want {
		if jobs[d.Digest][0] == i {
			order = append(order, i)
		} else if d.DiffID != want[jobs[d.Digest][0]].DiffID {
			return failf(ErrVerify, "layer %s: has two diffIDs in the config", short(d.Digest))
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return int(min(max(want[b].Size-want[a].Size, -1), 1)) })

	var indexes atomic.Int64 // bytes of them, in files
	var holes atomic.Int64   // bytes that packs have more than the layers
	img.Layers = make([]*Layer, len(want))
	spool := &spool{}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for n, i := range order {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			l, err := cache.layer(ctx, src, want[i], o)
			if err != nil {
				return fmt.Errorf("layer %s: %w", short(want[i].Digest), err)
			}
			if indexes.Add(l.index.size) > maxIndexes {
				l.close()
				return fmt.Errorf("layer %s: with it the layers have more than %d bytes of names and the like", short(want[i].Digest), maxIndexes)
			}
			if limit := o.holes(blobs); holes.Add(max(0, l.header.PackSize-l.header.TarSize)) > limit {
				l.close()
				return fmt.Errorf("layer %s: claims %.1f GiB, %w; limit of the holes in all layers is %.1f GiB",
					short(want[i].Digest), float64(l.header.PackSize)/(1<<30), layer.ErrHoles, float64(limit)/(1<<30))
			}
			err = spool.takeIndex(cache, l)
			if n >= maxPacks && err == nil {
				err = spool.takePack(cache, l)
			}
			if err != nil {
				l.close()
				return cache.full(fmt.Errorf("layer %s: %w", short(want[i].Digest), err))
			}
			for _, same := range jobs[want[i].Digest] {
				img.Layers[same] = l
			}
			return nil
		})
	}
	return group.Wait()
}

// short returns a digest as people are shown it.
func short(d digest.Digest) string {
	const most = len("sha256:") + 12
	if s := d.String(); len(s) > most {
		return s[:most] + "…"
	}
	return d.String()
}
