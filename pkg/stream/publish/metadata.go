package publish

import (
	"fmt"
	"maps"
	"slices"

	"go.podman.io/image/v5/docker/reference"

	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
)

// Titles of what tells about all images.
const (
	streamTitle  = "stream.json"
	releaseTitle = "release.json"
)

// metadata returns the release that the images are, and the stream whose
// current one it is. They name the manifests, so they are made of the form in
// which those are, and the manifests know nothing of them.
func (p *publication) metadata() ([]Document, error) {
	repository := reference.TrimNamed(p.named).String()
	files := map[string]stream.Published{}
	for _, it := range p.items {
		if it.platform != "" && !it.container {
			files[it.file.desc.Digest.Encoded()] = stream.Published{Manifest: it.desc.Digest, Container: p.form == Container}
		}
	}
	where, err := stream.OCI(repository, files)
	if err != nil {
		return nil, err
	}
	var releases []*stream.Document
	for _, b := range p.builds {
		m := *b.meta
		m.Images = maps.Clone(m.Images)
		maps.DeleteFunc(m.Images, func(platform string, _ stream.Artifact) bool {
			return platform == kubevirt || slices.Contains(notDisks, platform)
		})
		if it := p.find(b, kubevirt); it != nil {
			m.KubeVirt = &stream.Container{Image: repository, Digest: it.desc.Digest.String(), Tags: []string{p.tag() + "-" + containerDisk}}
		}
		if m.Container != nil && b.repository != "" && b.repository != m.Container.Image {
			m.Container = &stream.Container{Image: b.repository, Digest: m.Container.Digest} // tags are those of elsewhere
		}
		r, err := stream.NewRelease(&m, p.o.Stream, where)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", b.dir, err)
		}
		d, err := stream.NewDocument(b.dir, r)
		if err != nil {
			return nil, err
		}
		releases = append(releases, d)
	}
	merged, err := stream.Merge(releases...)
	if err != nil {
		return nil, err
	}
	r := &stream.Release{}
	if err := merged.Decode(r); err != nil {
		return nil, err
	}
	return []Document{
		{streamTitle, stream.StreamType, stream.Marshal(r.Current())},
		{releaseTitle, stream.ReleaseType, merged.Bytes()},
	}, nil
}
