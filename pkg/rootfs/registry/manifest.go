package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	MaxManifest = 4 << 20  // bytes of a manifest or index, the limit of most registries
	MaxContent  = 16 << 20 // bytes of a blob that [Repo.Content] returns
)

// accept lists the supported types of manifests.
const accept = imgspec.MediaTypeImageIndex + ", " + imgspec.MediaTypeImageManifest +
	", application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json"

// IsImageConfig reports whether a media type is that of a container image's config.
func IsImageConfig(mediaType string) bool {
	return mediaType == imgspec.MediaTypeImageConfig || mediaType == "application/vnd.docker.container.image.v1+json"
}

// A Document has the fields of every kind of manifest: an index has Manifests,
// the others have Config and Layers.
type Document struct {
	MediaType    string               `json:"mediaType"`
	ArtifactType string               `json:"artifactType"`
	Config       imgspec.Descriptor   `json:"config"`
	Layers       []imgspec.Descriptor `json:"layers"`
	Manifests    []imgspec.Descriptor `json:"manifests"`
	Annotations  map[string]string    `json:"annotations"`

	Digest digest.Digest `json:"-"`
	Size   int64         `json:"-"` // in bytes
}

// Resolve returns the descriptor of a tag or digest with one HEAD request. The
// error of a name that does not exist is an [ErrNotFound].
func (r *Repo) Resolve(ctx context.Context, name string) (imgspec.Descriptor, error) {
	d, err := r.remote.Resolve(ctx, name)
	return d, explain("manifest "+name, err)
}

// RawManifest returns the manifest or index of a tag or digest, and its media
// type by the registry. A digest is verified; the content is not.
func (r *Repo) RawManifest(ctx context.Context, name string) (raw []byte, mediaType string, err error) {
	raw, header, err := r.read(ctx, "manifests/"+name, MaxManifest)
	if err != nil {
		return nil, "", err
	}
	if got := digest.FromBytes(raw).String(); strings.Contains(name, ":") && got != name {
		return nil, "", fmt.Errorf("manifest %s: digest mismatch: it is %s: %w", name, got, ErrVerify)
	}
	return raw, header.Get("Content-Type"), nil
}

// Manifest returns the manifest or index of a tag or digest.
func (r *Repo) Manifest(ctx context.Context, name string) (*Document, error) {
	raw, _, err := r.RawManifest(ctx, name)
	if err != nil {
		return nil, err
	}
	m := &Document{}
	if err := json.Unmarshal(raw, m); err != nil {
		return nil, fmt.Errorf("manifest %s: %w", name, err)
	}
	m.Digest, m.Size = digest.FromBytes(raw), int64(len(raw))
	// A document that one tool reads as an index and another one as an image
	// would be two things under one digest.
	if index := m.Manifests != nil; index == (m.Layers != nil) {
		return nil, fmt.Errorf("manifest %s: must be either an index or a manifest with layers", name)
	}
	return m, nil
}

// Content returns a blob of at most [MaxContent] bytes, verified.
func (r *Repo) Content(ctx context.Context, d imgspec.Descriptor) ([]byte, error) {
	if err := CheckDigest(d.Digest); err != nil {
		return nil, err
	}
	raw, _, err := r.read(ctx, "blobs/"+d.Digest.String(), MaxContent)
	if err != nil {
		return nil, err
	}
	if got := digest.FromBytes(raw); got != d.Digest {
		return nil, fmt.Errorf("blob %s: digest mismatch: it is %s: %w", d.Digest, got, ErrVerify)
	}
	return raw, nil
}

// read returns the body of a path in the repository.
func (r *Repo) read(ctx context.Context, path string, limit int64) ([]byte, http.Header, error) {
	resp, err := r.get(ctx, path, http.Header{"Accept": {accept}})
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	if int64(len(raw)) > limit {
		return nil, nil, fmt.Errorf("%s: has more than %d bytes", path, limit)
	}
	return raw, resp.Header, nil
}
