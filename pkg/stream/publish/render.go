package publish

import (
	"maps"

	"github.com/opencontainers/image-spec/specs-go"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
)

// add adds the manifest of an item.
func (p *Plan) add(it *item) error {
	m, annotations, err := p.render(it)
	if err != nil {
		return err
	}
	// With a title in an index, oras treats the manifest as a file of that name.
	m.Descriptor.Annotations = maps.Clone(annotations)
	delete(m.Descriptor.Annotations, imgspec.AnnotationTitle)
	// Documents are for no machine. BuildKit marks attestations like this, so tools know it.
	m.Descriptor.Platform = &imgspec.Platform{OS: "unknown", Architecture: "unknown"}
	if it.platform != "" {
		m.Descriptor.Platform = &imgspec.Platform{OS: "linux", Architecture: it.build.arch}
	}
	p.entries = append(p.entries, &entry{it, m})
	return nil
}

// render returns the manifest of an item in the plan's form, and its annotations.
func (p *Plan) render(it *item) (registry.Manifest, map[string]string, error) {
	annotations := p.pub.annotations(it)
	if it.isContainer() {
		return *it.container, annotations, nil
	}
	if p.form == Container {
		annotations[stream.AnnotationFileType] = it.mediaType
		annotations[stream.AnnotationFile] = it.file.Digest.Encoded()
		m, err := p.renderContainer(it, annotations)
		return m, annotations, err
	}
	m := imgspec.Manifest{ArtifactType: it.mediaType, Subject: p.subject(it), Annotations: annotations}
	configType := imgspec.MediaTypeEmptyJSON
	if p.form == ConfigType {
		// The type of the config was that of the artifact before OCI 1.1.
		configType, m.ArtifactType = it.mediaType, ""
	}
	return oneFile(m, emptyConfig, configType, it.file, it.mediaType), annotations, nil
}

// oneFile completes a manifest whose only layer is a file with its name as title.
func oneFile(m imgspec.Manifest, config registry.Blob, configType string, file registry.Blob, layerType string) registry.Manifest {
	m.Versioned, m.MediaType = specs.Versioned{SchemaVersion: 2}, imgspec.MediaTypeImageManifest
	layer := file.Descriptor(layerType)
	layer.Annotations = map[string]string{imgspec.AnnotationTitle: file.Name}
	m.Config, m.Layers = config.Descriptor(configType), []imgspec.Descriptor{layer}
	res := registry.NewManifest(m.MediaType, m, config, file)
	res.Descriptor.ArtifactType = m.ArtifactType
	return res
}

// emptyConfig is the config of a manifest without one.
var emptyConfig = registry.NewBlob("empty config", []byte("{}"))

// subject returns the operating system's container, or nil if an item's manifest has no
// subject.
func (p *Plan) subject(it *item) *imgspec.Descriptor {
	if it.build == nil || it.isContainer() || !p.form.isArtifact() {
		return nil
	}
	return it.build.system
}

// index makes an index.
func (p *Plan) index(artifactType string, list []imgspec.Descriptor) registry.Manifest {
	x := imgspec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspec.MediaTypeImageIndex,
		ArtifactType: artifactType, Manifests: list, Annotations: p.indexAnnotations(),
	}
	if !p.form.isArtifact() {
		x.ArtifactType = ""
	}
	return registry.NewManifest(x.MediaType, x)
}

func (p *Plan) indexAnnotations() map[string]string {
	a := p.pub.annotations(&item{})
	a[stream.AnnotationForm] = p.form.mark()
	return a
}
