package publish

import (
	"context"
	"errors"
	"fmt"
	"strings"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
)

// A publication is the content of builds and the repository for it. It is the same in
// all forms.
type publication struct {
	o      Options
	named  reference.Named // with the tag
	at     reference.Named // the location of the repository by registries.conf
	builds []*build        // in the order of their architectures
	items  []*item         // images in the order of the index, then documents
	repo   *registry.Repo
	pusher *registry.Pusher
	notes  []string
}

// parse parses the name of a repository, with or without a tag. It rejects short names,
// because images must not end up in an unexpected registry.
func parse(to string) (reference.Named, error) {
	to = strings.TrimPrefix(to, "docker://")
	named, err := reference.ParseNormalizedNamed(to)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", to, ErrOptions, err)
	}
	host, _, ok := strings.Cut(to, "/")
	if !ok || !strings.ContainsAny(host, ".:") && host != "localhost" {
		return nil, fmt.Errorf("%s: %w: no registry, want HOST/NAME, such as %s", to, ErrOptions, named)
	}
	if _, ok := named.(reference.Digested); ok {
		return nil, fmt.Errorf("%s: %w: want a tag, not a digest", to, ErrOptions)
	}
	return named, nil
}

func (p *publication) tag() string { return p.named.(reference.Tagged).Tag() }

// repository returns the name of the repository without a tag.
func (p *publication) repository() string { return reference.TrimNamed(p.named).String() }

// open opens the repository at its location by registries.conf. It ignores mirrors,
// which are for readers.
func (p *publication) open(ctx context.Context) error {
	at, err := p.location(p.named)
	if err != nil {
		return err
	}
	p.at = reference.TrimNamed(at.Reference)
	if name := reference.TrimNamed(p.named); p.at.Name() != name.Name() {
		p.note("registries.conf places %s at %s: published there", name, p.at)
	}
	if p.repo, err = registry.OpenLocation(ctx, p.named, at, p.o.Registry); err != nil {
		return err
	}
	p.pusher = &registry.Pusher{Repo: p.repo, MountFrom: p.mountFrom(), Progress: p.o.Progress}
	return nil
}

// location returns the location of a repository that is not a mirror.
func (p *publication) location(named reference.Named) (registry.Location, error) {
	all, err := registry.Locations(named, p.o.Registry)
	if err != nil {
		return registry.Location{}, err
	}
	return all[len(all)-1], nil
}

// mountFrom returns the path of the repository that may have some of the blobs, or "".
func (p *publication) mountFrom() string {
	if p.o.MountFrom != "" {
		if path := p.pathOf(p.o.MountFrom); path != "" {
			return path
		}
		return strings.TrimPrefix(p.o.MountFrom, reference.Domain(p.named)+"/")
	}
	for _, b := range p.builds {
		if c := b.meta.Container; c != nil {
			if path := p.pathOf(c.Image); path != "" && path != reference.Path(p.at) {
				return path
			}
		}
	}
	return ""
}

// pathOf returns the path of a repository in the destination's registry, or "" if the
// repository is in another registry.
func (p *publication) pathOf(name string) string {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return ""
	}
	at, err := p.location(named)
	if err != nil || reference.Domain(at.Reference) != reference.Domain(p.at) {
		return ""
	}
	return reference.Path(at.Reference)
}

// findSystems looks for the operating systems' containers in the repository.
func (p *publication) findSystems(ctx context.Context) error {
	for _, b := range p.builds {
		if b.meta.Container == nil {
			p.note("%s: meta.json names no container, so the images have no subject", b.meta.BaseArch)
			continue
		}
		d, err := p.repo.Resolve(ctx, b.meta.Container.Digest)
		switch {
		case errors.Is(err, registry.ErrNotFound):
			p.note("%s: %s is not in this repository, so the images are not its referrers; publish into its own for that", b.meta.BaseArch, b.meta.Container.Digest)
		case err != nil:
			return err
		default:
			b.system = &imgspec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
			b.repository = p.repository()
		}
	}
	return nil
}

func (p *publication) note(format string, args ...any) {
	p.notes = append(p.notes, fmt.Sprintf(format, args...))
}
