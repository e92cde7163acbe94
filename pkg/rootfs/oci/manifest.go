package oci

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
)

// A Manifest is a resolved image: its manifest and its config, verified and
// accepted by the policy. It is a value, except for the temporary copy that
// [Manifest.Close] describes.
type Manifest struct {
	Reference string            // the given one, with the digest of the manifest or index that it names
	Digest    digest.Digest     // of Raw
	Raw       []byte            // the manifest for the one architecture
	Config    []byte            // the config, as JSON
	Labels    map[string]string // of the config
	Created   time.Time         // of the config; zero if absent or invalid
	Arch      string            // as Go names it
	Notes     []string          // about values of the config that were replaced
	Layers    []Descriptor      // lowest first

	given string // the reference as the caller wrote it
	o     Options
	src   *source
}

// A Descriptor describes a layer by its manifest and config.
type Descriptor struct {
	Digest    digest.Digest // of the blob
	DiffID    digest.Digest // of the uncompressed tar
	Size      int64         // of the blob, in bytes
	MediaType string
	Plain     bool // the layer is behind the last one of an ostree commit, so that no entry is an object
}

// Resolve finds the image of a reference. It reads the manifest and the config and
// applies the policy; it reads no layer. Archives are the exception, because
// containers/image unpacks them as a whole.
//
// Errors have a kind of package registry: registry.ErrNotFound, registry.ErrAccess, registry.ErrForbidden (by
// the policy or registries.conf) or registry.ErrVerify, where one applies. A [PlatformError]
// lists the architectures of an image that lacks the wanted one.
func Resolve(ctx context.Context, reference string, o Options) (*Manifest, error) {
	if o.Progress == nil {
		o.Progress = registry.Silent
	}
	o.Registry = o.Registry.ForReading()
	ref, err := parseReference(reference)
	if err != nil {
		return nil, err
	}
	src := &source{ref: ref, o: o}
	if err := src.openCache(); err != nil {
		return nil, err
	}
	m, err := src.resolveQualified(ctx, reference)
	if err != nil {
		src.close()
		return nil, err
	}
	m.given, m.o, m.src = reference, o, src
	if !src.isArchive() {
		src.release()
	}
	return m, nil
}

func (s *source) resolveQualified(ctx context.Context, reference string) (m *Manifest, err error) {
	sys := s.system()
	if s.ref, err = s.ref.qualify(sys); err != nil {
		return nil, err
	}
	if err := s.ref.checkBlocked(sys); err != nil {
		return nil, err
	}
	m, err = s.resolve(ctx, parsePlatform(cmp.Or(s.o.Arch, runtime.GOARCH)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", reference, err)
	}
	return m, nil
}

// Close removes the temporary copy of an oci-archive or docker-archive. A program
// needs it only after a [Resolve] without a [Manifest.Fetch]: Fetch closes the
// manifest, and the other transports have no such copy.
func (m *Manifest) Close() { m.src.close() }

// Fetch makes the layers of the image available in the cache. It fetches those
// that are missing there. Several goroutines must not fetch one Manifest at once.
func (m *Manifest) Fetch(ctx context.Context) (*Image, error) {
	if err := m.src.openCache(); err != nil {
		return nil, err
	}
	defer m.src.close()
	if err := m.src.enter(m.Digest); err != nil {
		return nil, fmt.Errorf("%s: %w", m.given, err)
	}
	layers, err := m.src.fetchLayers(ctx, m.Layers)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.given, err)
	}
	return &Image{Manifest: m, Layers: layers}, nil
}
