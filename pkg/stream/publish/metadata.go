package publish

import (
	"fmt"
	"maps"
	"slices"

	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
)

// Titles of the documents about all images.
const (
	streamTitle  = "stream.json"
	releaseTitle = "release.json"
)

// metadata returns the metadata of the images' release, and of the stream whose current
// release it is. They contain the digests of the manifests, so they depend on the form.
func (p *Plan) metadata() ([]Document, error) {
	repository := p.pub.repository()
	files := map[string]stream.Published{}
	for _, e := range p.entries {
		if e.platform != "" && !e.isContainer() {
			files[e.file.Digest.Encoded()] = stream.Published{Manifest: e.Descriptor.Digest, Container: p.form == Container}
		}
	}
	where, err := stream.OCI(repository, files)
	if err != nil {
		return nil, err
	}
	var releases []*stream.Document
	for _, b := range p.pub.builds {
		r, err := stream.NewRelease(p.releaseMeta(b), p.pub.o.Stream, where)
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

// releaseMeta returns the meta.json of a build as input for a release: with disks only, and
// with the containers of this repository.
func (p *Plan) releaseMeta(b *build) *stream.Meta {
	m := *b.meta
	m.Images = maps.Clone(m.Images)
	maps.DeleteFunc(m.Images, func(platform string, _ stream.Artifact) bool {
		return platform == kubevirtPlatform || slices.Contains(notDisks, platform)
	})
	if e := p.find(b, kubevirtPlatform); e != nil {
		m.KubeVirt = &stream.Container{Image: p.pub.repository(), Digest: e.Descriptor.Digest.String(), Tags: []string{p.pub.tag() + "-" + containerDisk}}
	}
	if m.Container != nil && b.repository != "" && b.repository != m.Container.Image {
		m.Container = &stream.Container{Image: b.repository, Digest: m.Container.Digest} // the tags belong to the other repository
	}
	return &m
}
