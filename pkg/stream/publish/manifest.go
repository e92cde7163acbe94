package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"
	"oras.land/oras-go/v2/errdef"

	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/registry"
)

const (
	maxManifest = 4 << 20 // bytes, as most registries have it
	maxEntries  = 1000    // of an index, to stay below that
)

// A manifest is what a registry calls one: of an artifact, an image or an index.
type manifest struct {
	desc  imgspec.Descriptor // as an index lists it
	raw   []byte
	blobs []blob // that it refers to, the layer last
}

// newManifest returns a manifest as it is pushed.
func newManifest(mediaType string, v any, blobs ...blob) manifest {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // a type of the image specification
	}
	return manifest{imgspec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}, raw, blobs}
}

// plan makes all manifests of a form.
func (p *publication) plan(ctx context.Context) error {
	if err := p.findSystems(ctx); err != nil {
		return err
	}
	p.items = slices.DeleteFunc(p.items, func(it *item) bool { return it.made })
	for _, it := range p.items {
		if err := p.render(it); err != nil {
			return err
		}
	}
	p.tops = []*top{{tag: p.tag(), use: "images"}}
	if err := p.pxe(); err != nil {
		return err
	}
	if err := p.views(); err != nil {
		return err
	}
	if p.o.Stream != "" {
		docs, err := p.metadata()
		if err != nil {
			return err
		}
		for _, d := range docs {
			it := p.document(nil, d)
			it.made = true
			if err := p.render(it); err != nil {
				return err
			}
		}
	}
	all := make([]imgspec.Descriptor, 0, len(p.items))
	for _, it := range p.items {
		all = append(all, it.desc)
	}
	if len(all) > maxEntries {
		return fmt.Errorf("%d images, limit is %d", len(all), maxEntries)
	}
	p.tops[0].manifest = p.index(stream.IndexType, all)
	return nil
}

// findSystems looks for the operating systems' containers in the repository.
func (p *publication) findSystems(ctx context.Context) error {
	for _, b := range p.builds {
		b.system, b.repository = nil, ""
		if b.meta.Container == nil {
			p.note("%s: meta.json names no container, so the images have no subject", b.meta.BaseArch)
			continue
		}
		d, err := p.repo.Resolve(ctx, b.meta.Container.Digest)
		switch {
		case errors.Is(err, errdef.ErrNotFound):
			p.note("%s: %s is not in this repository, so the images are not its referrers; publish into its own for that", b.meta.BaseArch, b.meta.Container.Digest)
		case err != nil:
			return registry.Explain("container "+b.meta.Container.Digest, err)
		default:
			b.system = &imgspec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
			b.repository = reference.TrimNamed(p.named).String()
		}
	}
	for _, it := range p.items { // made when this was not known
		if it.build != nil && it.build.system != nil {
			it.annotations[imgspec.AnnotationBaseImageName] = it.build.repository
		}
	}
	return nil
}

func (p *publication) note(format string, args ...any) {
	if s := fmt.Sprintf(format, args...); !slices.Contains(p.notes, s) {
		p.notes = append(p.notes, s)
	}
}

// subject returns what an item is about: the operating system's container.
func (p *publication) subject(it *item) *imgspec.Descriptor {
	if it.build == nil || it.container || p.form == ConfigType || p.form == Container {
		return nil
	}
	return it.build.system
}

// emptyConfig is the configuration of what has none.
var emptyConfig = bytesBlob("empty config", []byte("{}"))

// render makes the manifest of an item in the publication's form.
func (p *publication) render(it *item) error {
	annotations := it.annotations
	if it.container {
		// It is what it is.
	} else if p.form == Container {
		annotations = maps.Clone(annotations)
		annotations[stream.AnnotationFileType] = it.mediaType
		annotations[stream.AnnotationFile] = it.file.desc.Digest.Encoded()
		if err := p.renderContainer(it, annotations); err != nil {
			return err
		}
	} else {
		layer, config := it.file, emptyConfig
		layer.desc.MediaType = it.mediaType
		layer.desc.Annotations = map[string]string{imgspec.AnnotationTitle: it.file.name}
		config.desc.MediaType = imgspec.MediaTypeEmptyJSON
		m := imgspec.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspec.MediaTypeImageManifest,
			ArtifactType: it.mediaType, Subject: p.subject(it), Annotations: annotations,
		}
		if p.form == ConfigType {
			// What was an artifact's type before there was artifactType.
			config.desc.MediaType, m.ArtifactType = it.mediaType, ""
		}
		m.Config, m.Layers = config.desc, []imgspec.Descriptor{layer.desc}
		it.manifest = newManifest(m.MediaType, m, config, layer)
		it.desc.ArtifactType = m.ArtifactType
	}
	// With a title in an index, oras takes the manifest for a file of that name.
	it.desc.Annotations = maps.Clone(annotations)
	delete(it.desc.Annotations, imgspec.AnnotationTitle)
	// Documents are for no machine. BuildKit writes that so, and tools know it.
	it.desc.Platform = &imgspec.Platform{OS: "unknown", Architecture: "unknown"}
	if it.platform != "" {
		it.desc.Platform = &imgspec.Platform{OS: "linux", Architecture: it.build.arch}
	}
	return nil
}

// index makes an index of the publication's form.
func (p *publication) index(artifactType string, list []imgspec.Descriptor) manifest {
	x := imgspec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspec.MediaTypeImageIndex,
		ArtifactType: artifactType, Manifests: list, Annotations: p.marks(),
	}
	if p.form == ConfigType || p.form == Container {
		x.ArtifactType = ""
	}
	return newManifest(x.MediaType, x)
}

// marks are the annotations of what gets a tag.
func (p *publication) marks() map[string]string {
	a := common(p.builds[0], "")
	maps.DeleteFunc(a, func(k, _ string) bool {
		return k == imgspec.AnnotationTitle || k == imgspec.AnnotationBaseImageDigest && len(p.builds) > 1
	})
	a[stream.AnnotationForm] = p.form.mark()
	return a
}

// push pushes a manifest under its digest.
func (p *publication) push(ctx context.Context, m manifest) error {
	err := p.repo.Manifests().Push(ctx, m.desc, bytesReader(m.raw))
	return refusal(registry.Explain("manifest "+m.desc.Digest.String(), err))
}

// setTag gives a top its tag, if it has not got that already.
func (p *publication) setTag(ctx context.Context, t *top) error {
	if d, err := p.repo.Resolve(ctx, t.tag); err == nil && d.Digest == t.desc.Digest {
		return nil
	}
	err := p.repo.Manifests().PushReference(ctx, t.desc, bytesReader(t.raw), t.tag)
	return refusal(registry.Explain("tag "+t.tag, err))
}

// checkTags sees that no tag is taken from something that is not ours: in the
// operating system's own repository that would be a container.
func (p *publication) checkTags(ctx context.Context) error {
	for _, t := range p.tops {
		d, r, err := p.repo.Manifests().FetchReference(ctx, t.tag)
		if errors.Is(err, errdef.ErrNotFound) || registry.Status(err) == http.StatusNotFound {
			continue
		}
		if err != nil {
			return registry.Explain("tag "+t.tag, err)
		}
		raw, err := io.ReadAll(io.LimitReader(r, maxManifest))
		r.Close()
		if err != nil {
			return registry.Explain("tag "+t.tag, err)
		}
		var there imgspec.Index
		_ = json.Unmarshal(raw, &there) // what cannot be read is not ours
		if there.Annotations[stream.AnnotationForm] == "" && d.Digest != t.desc.Digest {
			return fmt.Errorf("tag %s names something else there, %s %s: choose another tag", t.tag, d.MediaType, d.Digest)
		}
		if lost := p.lost(there); t == p.tops[0] && len(lost) > 0 && !p.o.Replace {
			return fmt.Errorf("tag %s: %w: %s of version %s, which are not in this run; publish the folders of all architectures in one, "+
				"with the images of all platforms, or replace what is there with --replace", t.tag, ErrLost, strings.Join(lost, ", "), p.builds[0].meta.OSTreeVersion)
		}
	}
	return nil
}

// lost lists what an index of the same version has, and this publication has not.
func (p *publication) lost(there imgspec.Index) (all []string) {
	if there.Annotations[imgspec.AnnotationVersion] != p.builds[0].meta.OSTreeVersion {
		return nil
	}
	for _, d := range there.Manifests {
		platform := d.Annotations[stream.AnnotationPlatform]
		if platform == "" || d.Platform == nil {
			continue
		}
		if !slices.ContainsFunc(p.items, func(it *item) bool { return it.platform == platform && it.build.arch == d.Platform.Architecture }) {
			all = append(all, platform+"/"+d.Platform.Architecture)
		}
	}
	return all
}
