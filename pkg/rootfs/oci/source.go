package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/docker"
	dockerarchive "go.podman.io/image/v5/docker/archive"
	"go.podman.io/image/v5/oci/archive"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/pkg/blobinfocache/none"
	"go.podman.io/image/v5/types"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
)

// A source is the origin of an image. It connects on first use, so a cached image
// needs no network.
type source struct {
	ref   ref
	o     Options
	cache *cache // locked from openCache to release

	mu  sync.Mutex // guards src, and GetBlob where that is not thread-safe
	src imageSource
}

// An imageSource has the methods of [types.ImageSource] that this package calls.
type imageSource interface {
	Close() error
	GetManifest(ctx context.Context, instance *digest.Digest) ([]byte, string, error)
	GetSignatures(ctx context.Context, instance *digest.Digest) ([][]byte, error)
	GetBlob(context.Context, types.BlobInfo, types.BlobInfoCache) (io.ReadCloser, int64, error)
	HasThreadSafeGetBlob() bool
}

// openCache locks the cache, unless it is locked.
func (s *source) openCache() (err error) {
	if s.cache == nil || s.cache.inUse == nil {
		s.cache, err = openCache(s.o.Cache)
	}
	return err
}

// release unlocks the cache. The connection stays open.
func (s *source) release() {
	if s.cache.inUse != nil {
		s.cache.close()
	}
}

func (s *source) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.src != nil {
		s.src.Close()
		s.src = nil
	}
	s.release()
}

// isArchive reports whether an open source has a temporary copy in the cache.
func (s *source) isArchive() bool {
	return s.ref.transport == "oci-archive" || s.ref.transport == "docker-archive"
}

func (s *source) system() *types.SystemContext {
	sys := s.o.Registry.System()
	sys.RegistriesDirPath = s.o.RegistriesD
	sys.BigFilesTemporaryDir = s.cache.tmp()
	return sys
}

// open returns the image source.
func (s *source) open(ctx context.Context) (imageSource, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.src != nil {
		return s.src, nil
	}
	if s.ref.transport == "containers-storage" {
		src, err := openStorage(s.ref, s.o.StorageConf)
		if err != nil {
			return nil, explain(err)
		}
		s.src = src
		return src, nil
	}
	if s.ref.transport == "oci" {
		if _, err := readLayout(s.ref.name); err != nil {
			return nil, explain(err)
		}
	}
	r, err := s.reference()
	if err != nil {
		return nil, explain(err)
	}
	ctx, done := s.patience(ctx)
	src, err := r.NewImageSource(ctx, s.system())
	if err = done(err); err != nil {
		return nil, registry.CredentialsError(s.o.Registry.AuthFile, explain(err))
	}
	s.src = src
	return src, nil
}

// readLayout reads the index of an OCI layout. Its errors have the whole path of the
// file, unlike those of the library.
func readLayout(dir string) (index imgspec.Index, err error) {
	name := filepath.Join(dir, "index.json")
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return index, fmt.Errorf("%w: not an OCI layout", err)
	}
	if err != nil {
		return index, err
	}
	defer f.Close()
	if err := json.NewDecoder(f).Decode(&index); err != nil {
		return index, fmt.Errorf("%s: damaged: %w", name, err)
	}
	if len(index.Manifests) == 0 {
		return index, registry.Errorf(registry.ErrNotFound, "%s: lists no image", name)
	}
	return index, nil
}

// located puts the whole path of a file of an OCI layout into an error.
func (s *source) located(err error) error {
	var at *fs.PathError
	if s.ref.transport == "oci" && errors.As(err, &at) && !filepath.IsAbs(at.Path) {
		return &fs.PathError{Op: at.Op, Path: filepath.Join(s.ref.name, at.Path), Err: at.Err}
	}
	return err
}

// policy returns the check of an image against the policy, if there is one. The
// check needs the manifest of the image. A policy that rejects every image of the
// name is an error at once.
func (s *source) policy() (func(ctx context.Context, m *Manifest, isInstance bool) error, error) {
	if s.o.Policy == "" {
		return func(context.Context, *Manifest, bool) error { return nil }, nil
	}
	text, err := os.ReadFile(s.o.Policy)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	judge, err := newJudge(text)
	if err != nil {
		return nil, fmt.Errorf("policy %s: %w", s.o.Policy, err)
	}
	p, err := parsePolicy(text, s.o.Policy)
	if err != nil {
		return nil, err
	}
	subj, err := s.subject()
	if err != nil {
		return nil, err
	}
	if err := p.forbid(subj); err != nil {
		return nil, err
	}
	return func(ctx context.Context, m *Manifest, isInstance bool) error {
		if err := judge.verify(ctx, s, m, isInstance); err != nil {
			return p.refuse(subj, explain(err))
		}
		return nil
	}, nil
}

// subject returns the names of the image that policies use.
func (s *source) subject() (subject, error) {
	if s.ref.transport == "containers-storage" {
		st, err := s.stored()
		if err != nil {
			return subject{}, err
		}
		return st.subject(), nil
	}
	r, err := s.reference()
	if err != nil {
		return subject{}, explain(err)
	}
	return subjectOf(r), nil
}

func subjectOf(r types.ImageReference) subject {
	return subject{r.Transport().Name(), append([]string{r.PolicyConfigurationIdentity()}, r.PolicyConfigurationNamespaces()...), r.DockerReference()}
}

// stored returns the source of an image of containers-storage.
func (s *source) stored() (*stored, error) {
	src, err := s.open(context.Background())
	if err != nil {
		return nil, err
	}
	return src.(*stored), nil
}

// enter changes from a list of images in a store to the image of a manifest.
func (s *source) enter(d digest.Digest) error {
	if s.ref.transport != "containers-storage" {
		return nil
	}
	st, err := s.stored()
	if err != nil {
		return err
	}
	return st.enter(d)
}

// reference returns the reference of containers/image. A digest replaces the tag;
// in local images this package looks it up.
func (s *source) reference() (types.ImageReference, error) {
	switch s.ref.transport {
	case "oci":
		if s.ref.digest != "" || s.ref.tag == "" {
			return layout.NewIndexReference(s.ref.name, 0)
		}
		return layout.NewReference(s.ref.name, s.ref.tag)
	case "oci-archive":
		return archive.NewReference(s.ref.name, s.ref.tag)
	case "dir":
		return directory.NewReference(s.ref.name)
	case "docker-archive":
		if s.ref.tag != "" {
			return dockerarchive.ParseReference(s.ref.name + ":" + s.ref.tag)
		}
		return dockerarchive.ParseReference(s.ref.name)
	}
	named, err := s.ref.named()
	if err != nil {
		return nil, err
	}
	return docker.NewReference(named)
}

// top fetches the manifest or index that the reference names.
func (s *source) top(ctx context.Context) ([]byte, error) {
	src, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	ctx, done := s.patience(ctx)
	raw, _, err := src.GetManifest(ctx, s.instance())
	err = done(err)
	if s.ref.digest != "" && errors.Is(err, fs.ErrNotExist) {
		return nil, registry.Errorf(registry.ErrNotFound, "no manifest has that digest")
	}
	if err != nil {
		return nil, explain(s.located(err))
	}
	return raw, nil
}

// instance returns the digest for sources of local images, whose references do not
// contain it.
func (s *source) instance() *digest.Digest {
	if s.ref.digest == "" || s.ref.transport != "oci" && s.ref.transport != "oci-archive" {
		return nil
	}
	return &s.ref.digest
}

// manifest fetches a manifest that an index lists.
func (s *source) manifest(ctx context.Context, d digest.Digest) ([]byte, error) {
	src, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	ctx, done := s.patience(ctx)
	raw, _, err := src.GetManifest(ctx, &d)
	if err = done(err); err != nil {
		return nil, explain(s.located(err))
	}
	return raw, nil
}

// blob opens a blob for reading. The reader of a blob in a registry resumes after a
// broken connection.
func (s *source) blob(ctx context.Context, d digest.Digest, size int64) (io.ReadCloser, error) {
	src, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	if !src.HasThreadSafeGetBlob() {
		s.mu.Lock()
		defer s.mu.Unlock()
	}
	if s.ref.transport != "docker" {
		r, _, err := src.GetBlob(ctx, types.BlobInfo{Digest: d, Size: size}, none.NoCache)
		return r, explain(s.located(err))
	}
	return remoteBlob(ctx, src, types.BlobInfo{Digest: d, Size: size}, s.o.Registry.ReadTimeout)
}

// remoteBlob opens a blob in a registry.
func remoteBlob(ctx context.Context, src imageSource, info types.BlobInfo, idle time.Duration) (io.ReadCloser, error) {
	dog := registry.Watch(ctx, idle)
	r, _, err := src.GetBlob(dog.Context(), info, none.NoCache)
	if err != nil {
		return nil, explain(dog.End(err))
	}
	return dog.Body(r), nil
}

// patience limits the time of a request with a small answer. The caller passes the
// error of the request to the returned function, which explains a timeout.
func (s *source) patience(ctx context.Context) (context.Context, func(error) error) {
	return s.patienceFor(ctx, s.o.Registry.ReadTimeout)
}

func (s *source) patienceFor(ctx context.Context, limit time.Duration) (context.Context, func(error) error) {
	if s.ref.transport != "docker" {
		return ctx, func(err error) error { return err }
	}
	dog := registry.Watch(ctx, limit)
	return dog.Context(), dog.End
}

// remove deletes a file that is not needed any more. A failure does no harm.
func remove(name string) { _ = os.Remove(name) }
