package publish

import (
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
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
	manifests := map[string]digest.Digest{}
	for _, it := range p.items {
		if it.platform != "" {
			manifests[it.file.desc.Digest.Encoded()] = it.desc.Digest
		}
	}
	oci, err := stream.OCI(repository, manifests)
	if err != nil {
		return nil, err
	}
	where := oci
	if p.form == Container { // in which no blob is the file
		where = func(m *stream.Meta, name string, file stream.Artifact) (*stream.Download, error) {
			d, err := oci(m, name, file)
			if err == nil {
				d.Location = "https://" + reference.Domain(p.named) + "/v2/" + reference.Path(p.named) + "/manifests/" + manifests[file.SHA256].String()
				d.Signature = d.Location + ".sig"
			}
			return d, err
		}
	}
	var releases []*stream.Document
	for _, b := range p.builds {
		m := *b.meta
		m.Images = maps.Clone(m.Images)
		maps.DeleteFunc(m.Images, func(platform string, _ stream.Artifact) bool { return slices.Contains(notDisks, platform) })
		for _, t := range p.tops {
			if t.use == "containerdisk" {
				m.KubeVirt = &stream.Container{Image: repository, Digest: t.desc.Digest.String(), Tags: []string{t.tag}}
			}
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
