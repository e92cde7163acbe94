package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/layer"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
)

// maxIndexes limits the memory of all layers of an image, in bytes of their index
// files. A system of 10,000 files takes less than a megabyte.
var maxIndexes int64 = 512 << 20

// maxPacks is the number of open pack files of an image. A process may have 1024
// open files of all kinds, or 256.
const maxPacks = 64

// A fetching collects the layers of an image, which several goroutines fetch.
type fetching struct {
	src     *source
	limit   int64        // of holes
	indexes atomic.Int64 // bytes of index files
	holes   atomic.Int64 // bytes that packs have more than the layers
	spool   spool
}

// fetchLayers returns the layers of an image. It fetches several at once, the
// largest first, so that the last one to finish is small.
func (s *source) fetchLayers(ctx context.Context, want []Descriptor) (layers []*Layer, err error) {
	places, blobs := map[digest.Digest][]int{}, int64(0)
	for i, d := range want {
		places[d.Digest] = append(places[d.Digest], i)
		blobs += d.Size
	}
	jobs, err := distinct(want)
	if err != nil {
		return nil, err
	}
	layers = make([]*Layer, len(want))
	defer func() {
		if err != nil {
			(&Image{Layers: layers}).Close()
		}
	}()
	f := &fetching{src: s, limit: s.o.holes(blobs)}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for n, d := range jobs {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			l, err := f.layer(ctx, d, n >= maxPacks)
			if err != nil {
				return fmt.Errorf("layer %s: %w", short(d.Digest), err)
			}
			for _, i := range places[d.Digest] {
				layers[i] = l
			}
			return nil
		})
	}
	return layers, group.Wait()
}

// distinct returns each blob once, the largest first.
func distinct(want []Descriptor) (jobs []Descriptor, err error) {
	first := map[digest.Digest]Descriptor{}
	for _, d := range want {
		f, seen := first[d.Digest]
		if !seen {
			first[d.Digest] = d
			jobs = append(jobs, d)
		} else if d.DiffID != f.DiffID {
			return nil, registry.Errorf(registry.ErrVerify, "layer %s: has two diffIDs in the config", short(d.Digest))
		}
	}
	slices.SortStableFunc(jobs, func(a, b Descriptor) int { return int(min(max(b.Size-a.Size, -1), 1)) })
	return jobs, nil
}

// layer returns one layer and checks the limits of all layers together. A spooled
// layer shares its file with others.
func (f *fetching) layer(ctx context.Context, want Descriptor, spooled bool) (*Layer, error) {
	l, err := f.src.cache.layer(ctx, f.src, want, f.src.o)
	if err != nil {
		return nil, err
	}
	if err = f.check(l); err == nil {
		err = f.src.cache.full(f.spool.take(f.src.cache, l, spooled))
	}
	if err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (f *fetching) check(l *Layer) error {
	if f.indexes.Add(l.index.size) > maxIndexes {
		return fmt.Errorf("the names and attributes of all layers have more than %d bytes", maxIndexes)
	}
	if f.holes.Add(max(0, l.header.PackSize-l.header.TarSize)) > f.limit {
		return fmt.Errorf("claims %.1f GiB, %w; limit of the holes in all layers is %.1f GiB",
			float64(l.header.PackSize)/(1<<30), layer.ErrHoles, float64(f.limit)/(1<<30))
	}
	return nil
}

// A spool is one unnamed file for the indexes of the layers, and the packs beyond
// maxPacks.
type spool struct {
	mu   sync.Mutex
	file *os.File
	size int64
}

// take moves the index of a layer into the spool, and its pack if that is wanted.
func (s *spool) take(c *cache, l *Layer, pack bool) error {
	base, err := s.copy(c, l.index.file, l.index.size)
	if err != nil {
		return err
	}
	l.index.file.Close()
	l.index.file, l.index.base = s.file, base
	if !pack {
		return nil
	}
	if base, err = s.copy(c, l.pack, l.header.PackSize); err != nil {
		return err
	}
	l.pack.Close()
	l.pack, l.base = s.file, base
	return nil
}

// copy appends a file and returns its offset in the spool.
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
