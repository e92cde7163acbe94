package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"runtime"
	"sync"

	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
)

// A Manifest is a manifest or an index to push.
type Manifest struct {
	Descriptor imgspec.Descriptor // as an index lists it
	Raw        []byte
	Blobs      []Blob // that the manifest refers to, the layers last
}

// NewManifest encodes a manifest or index of package specs-go. It panics if the
// value cannot be encoded, which no such type allows.
func NewManifest(mediaType string, v any, blobs ...Blob) Manifest {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return Manifest{imgspec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}, raw, blobs}
}

// A Tag is a name for a manifest.
type Tag struct {
	Name     string
	Manifest Manifest
}

// A Graph is a set of manifests, the blobs that they refer to, and tags. All its
// digests are known before anything is sent.
type Graph struct {
	Manifests []Manifest // a manifest comes before those that refer to it
	Tags      []Tag      // their manifests are pushed last
}

// blobs returns the blobs of all manifests.
func (g Graph) blobs() (all []Blob) {
	for _, m := range g.Manifests {
		all = append(all, m.Blobs...)
	}
	for _, t := range g.Tags {
		all = append(all, t.Manifest.Blobs...)
	}
	return all
}

// A ManifestError is the error of a manifest or tag that the registry does not
// accept.
type ManifestError struct{ Err error }

func (e *ManifestError) Error() string { return e.Err.Error() }
func (e *ManifestError) Unwrap() error { return e.Err }

// A Pusher pushes graphs to a repository. It sends a blob once, even if several
// graphs have it.
type Pusher struct {
	Repo      *Repo
	MountFrom string   // path of a repository of the same registry that may have the blobs; may be empty
	Progress  Progress // of blobs; nil is silent

	mu   sync.Mutex
	done map[digest.Digest]Transfer
}

// Push pushes a graph: blobs, manifests, and then tags, so that a tag always
// names a complete graph. It sends nothing that the registry has.
func (p *Pusher) Push(ctx context.Context, g Graph) error {
	ctx = p.Repo.Writable(ctx)
	if err := p.pushBlobs(ctx, g.blobs()); err != nil {
		return err
	}
	manifests := g.Manifests
	for _, t := range g.Tags {
		manifests = append(manifests[:len(manifests):len(manifests)], t.Manifest)
	}
	for _, m := range manifests {
		err := p.Repo.remote.Manifests().Push(ctx, m.Descriptor, bytes.NewReader(m.Raw))
		if err != nil {
			return &ManifestError{explain("manifest "+m.Descriptor.Digest.String(), err)}
		}
	}
	for _, t := range g.Tags {
		if err := p.Repo.setTag(ctx, t); err != nil {
			return &ManifestError{explain("tag "+t.Name, err)}
		}
	}
	return nil
}

// Transfers returns how each blob came into the repository.
func (p *Pusher) Transfers() map[digest.Digest]Transfer {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.done)
}

// setTag sets a tag, unless it names the manifest already.
func (r *Repo) setTag(ctx context.Context, t Tag) error {
	want := t.Manifest.Descriptor
	if d, err := r.remote.Resolve(ctx, t.Name); err == nil && d.Digest == want.Digest {
		return nil
	}
	return r.remote.Manifests().PushReference(ctx, want, bytes.NewReader(t.Manifest.Raw), t.Name)
}

// pushBlobs pushes several blobs at once, and each digest once.
func (p *Pusher) pushBlobs(ctx context.Context, blobs []Blob) error {
	progress := p.Progress
	if progress == nil {
		progress = Silent
	}
	jobs := p.pending(blobs)
	for _, b := range jobs {
		progress.Expect(b.Size)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(2 * runtime.GOMAXPROCS(0))
	for _, b := range jobs {
		group.Go(func() error {
			how, err := p.Repo.PutBlob(ctx, b, p.MountFrom, progress)
			if err != nil {
				return err
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			p.done[b.Digest] = how
			return nil
		})
	}
	return group.Wait()
}

// pending returns the blobs that are not in the repository yet.
func (p *Pusher) pending(blobs []Blob) (jobs []Blob) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done == nil {
		p.done = map[digest.Digest]Transfer{}
	}
	seen := map[digest.Digest]bool{}
	for _, b := range blobs {
		if _, there := p.done[b.Digest]; !there && !seen[b.Digest] {
			seen[b.Digest] = true
			jobs = append(jobs, b)
		}
	}
	return jobs
}
