package pull

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
)

// A repo is a repository in a registry, or in a mirror of it.
type repo struct {
	*registry.Repo
	named reference.Named // the repository by its own name, not that of a mirror
}

// open opens the repository of a reference and returns the document that the
// reference names. It takes the first mirror that has the document.
func open(ctx context.Context, named reference.Named, o Options) (*repo, *registry.Document, error) {
	locations, err := registry.Locations(named, o.Registry)
	if err != nil {
		return nil, nil, err
	}
	var all error
	for _, at := range locations {
		var r *registry.Repo
		if r, err = registry.OpenLocation(ctx, named, at, o.Registry); err == nil {
			var top *registry.Document
			if top, err = r.Manifest(ctx, tagOrDigest(at.Reference)); err == nil {
				return &repo{r, reference.TrimNamed(named)}, top, nil
			}
		}
		if all != nil {
			err = fmt.Errorf("%w; %w", all, err)
		}
		all = err
	}
	return nil, nil, all
}

func tagOrDigest(named reference.Named) string {
	if d, ok := named.(reference.Digested); ok {
		return d.Digest().String()
	}
	return named.(reference.Tagged).Tag()
}

// referrers lists the manifests whose subject is a document.
func (r *repo) referrers(ctx context.Context, doc *registry.Document) ([]imgspec.Descriptor, error) {
	return r.Referrers(ctx, imgspec.Descriptor{MediaType: doc.MediaType, Digest: doc.Digest, Size: doc.Size})
}

// typeOf returns the type of the content that a manifest describes.
func typeOf(doc *registry.Document) string {
	return cmp.Or(doc.ArtifactType, doc.Annotations[stream.AnnotationFileType], doc.Config.MediaType)
}

// isContainer reports whether a manifest is that of a container image.
func isContainer(doc *registry.Document) bool {
	return doc.ArtifactType == "" && registry.IsImageConfig(doc.Config.MediaType)
}

// labels returns the labels of a container image.
func (r *repo) labels(ctx context.Context, doc *registry.Document) (map[string]string, error) {
	raw, err := r.Content(ctx, doc.Config)
	if err != nil {
		return nil, err
	}
	var config imgspec.Image
	if err := json.Unmarshal(raw, &config); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	return config.Config.Labels, nil
}
