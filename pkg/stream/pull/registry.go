package pull

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"
	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/oci"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/registry"
)

const (
	maxManifest = 4 << 20  // bytes, as most registries have it
	maxDocument = 16 << 20 // bytes of other small things
	maxPages    = 16       // of a list of referrers
)

// accept are the types of manifests that are understood.
const accept = imgspec.MediaTypeImageIndex + ", " + imgspec.MediaTypeImageManifest +
	", application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json"

// A repo is a repository in a registry, or in a mirror of it.
type repo struct {
	*registry.Repo
	named   reference.Named // the repository by its own name, not that of a mirror
	noRange bool            // it sends other ranges than those it is asked for
}

// A manifest has the fields of all that a registry calls one: an index has
// Manifests, others have Config and Layers.
type manifest struct {
	MediaType    string               `json:"mediaType"`
	ArtifactType string               `json:"artifactType"`
	Config       imgspec.Descriptor   `json:"config"`
	Layers       []imgspec.Descriptor `json:"layers"`
	Manifests    []imgspec.Descriptor `json:"manifests"`
	Annotations  map[string]string    `json:"annotations"`

	digest digest.Digest
	size   int64
}

// open opens the repository that a reference is in, and returns what the
// reference names. A mirror takes its place, if there is one that has it.
func open(ctx context.Context, named reference.Named, o Options) (*repo, *manifest, error) {
	sources, err := registry.Sources(named, o.Registry)
	if err != nil {
		return nil, nil, err
	}
	var all error
	for _, src := range sources {
		var r *registry.Repo
		if r, err = registry.OpenSource(ctx, named, src, o.Registry); err == nil {
			r.ReferrerListMaxPages = maxPages
			repo := &repo{Repo: r, named: reference.TrimNamed(named)}
			var top *manifest
			if top, err = repo.manifest(ctx, name(src.Reference)); err == nil {
				return repo, top, nil
			}
		}
		if all != nil {
			err = fmt.Errorf("%w; %w", all, err)
		}
		all = err
	}
	return nil, nil, all
}

// name returns what is named in a repository: a digest or a tag.
func name(named reference.Named) string {
	if d, ok := named.(reference.Digested); ok {
		return d.Digest().String()
	}
	return named.(reference.Tagged).Tag()
}

// get asks for something in the repository.
func (r *repo) get(ctx context.Context, what string, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(auth.AppendRepositoryScope(ctx, r.Reference, auth.ActionPull), http.MethodGet, r.URL(what).String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header = header
	resp, err := r.Client.Do(req)
	if err == nil {
		err = registry.Check(resp, http.StatusOK, http.StatusPartialContent)
	}
	if registry.Status(err) == http.StatusNotFound {
		return nil, fmt.Errorf("%w: %w", registry.Explain(what, err), oci.ErrNotFound)
	}
	return resp, registry.Explain(what, err)
}

// manifest fetches a manifest or an index by its tag or digest.
func (r *repo) manifest(ctx context.Context, name string) (*manifest, error) {
	raw, err := r.document(ctx, "manifests/"+name, maxManifest)
	if err != nil {
		return nil, err
	}
	m := &manifest{digest: digest.FromBytes(raw), size: int64(len(raw))}
	if strings.Contains(name, ":") && m.digest.String() != name {
		return nil, fmt.Errorf("manifest %s: digest mismatch: it is %s: %w", name, m.digest, oci.ErrVerify)
	}
	if err := json.Unmarshal(raw, m); err != nil {
		return nil, fmt.Errorf("manifest %s: %w", name, err)
	}
	// What one tool takes for an index and another one for an image is two things
	// under one digest.
	if index := m.Manifests != nil; index == (m.Layers != nil) {
		return nil, fmt.Errorf("manifest %s: is not an index, nor a manifest with layers", name)
	}
	return m, nil
}

// content fetches a small blob.
func (r *repo) content(ctx context.Context, d imgspec.Descriptor) ([]byte, error) {
	if err := checkDigest(d.Digest); err != nil {
		return nil, err
	}
	raw, err := r.document(ctx, "blobs/"+d.Digest.String(), maxDocument)
	if err != nil {
		return nil, err
	}
	if got := digest.FromBytes(raw); got != d.Digest {
		return nil, fmt.Errorf("blob %s: digest mismatch: it is %s: %w", d.Digest, got, oci.ErrVerify)
	}
	return raw, nil
}

// document fetches what fits into memory.
func (r *repo) document(ctx context.Context, what string, limit int64) ([]byte, error) {
	resp, err := r.get(ctx, what, http.Header{"Accept": {accept}})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if int64(len(raw)) > limit {
		return nil, fmt.Errorf("%s: has more than %d bytes", what, limit)
	}
	return raw, nil
}

// blob asks for a blob from an offset on. The body begins there, or at 0 where
// the registry knows no ranges.
func (r *repo) blob(ctx context.Context, d imgspec.Descriptor, from int64) (body io.ReadCloser, at int64, err error) {
	what := "blobs/" + d.Digest.String()
	header := http.Header{}
	if from > 0 && !r.noRange {
		header.Set("Range", fmt.Sprintf("bytes=%d-", from))
	}
	resp, err := r.get(ctx, what, header)
	if registry.Status(err) == http.StatusRequestedRangeNotSatisfiable {
		r.noRange = true
	}
	if err != nil {
		return nil, 0, err
	}
	var total int64
	if resp.StatusCode == http.StatusOK {
		total = resp.ContentLength // or -1
	} else if at, total, err = contentRange(resp.Header.Get("Content-Range")); err == nil && at != from {
		err = errors.New("not the range that was asked for")
	}
	if err != nil {
		r.noRange = true
		err = fmt.Errorf("%s: content range %q: %w", what, resp.Header.Get("Content-Range"), err)
	} else if total >= 0 && total != d.Size {
		err = fmt.Errorf("%s: the registry has %d bytes, the manifest says %d: %w", what, total, d.Size, oci.ErrVerify)
	}
	if err != nil {
		resp.Body.Close()
		return nil, 0, err
	}
	return resp.Body, at, nil
}

// contentRange reads a Content-Range, as "bytes 100-199/200"; a total that is
// not known is -1.
func contentRange(s string) (from, total int64, err error) {
	var to int64
	if n, _ := fmt.Sscanf(s, "bytes %d-%d/%d", &from, &to, &total); n == 3 && from <= to && to < total {
		return from, total, nil
	}
	if n, _ := fmt.Sscanf(s, "bytes %d-%d/*", &from, &to); n == 2 && from <= to {
		return from, -1, nil
	}
	return 0, 0, errors.New("not understood")
}

// checkDigest refuses digests of other kinds: one algorithm is enough.
func checkDigest(d digest.Digest) error {
	if err := d.Validate(); err != nil || d.Algorithm() != digest.SHA256 {
		return fmt.Errorf("%q is not a digest of the form sha256:HEX", d)
	}
	return nil
}

// referrers lists what says of itself that it belongs to a manifest. What the
// registry does not offer by its API it may have under a tag.
func (r *repo) referrers(ctx context.Context, m *manifest) (all []imgspec.Descriptor, err error) {
	desc := imgspec.Descriptor{MediaType: m.MediaType, Digest: m.digest, Size: m.size}
	list := func() error {
		all = nil
		return r.Referrers(ctx, desc, "", func(some []imgspec.Descriptor) error {
			all = append(all, some...)
			return nil
		})
	}
	if err = list(); err != nil && r.SetReferrersCapability(false) == nil {
		err = list() // some registries have other answers than 404 to what they do not know
	}
	if err != nil {
		return nil, registry.Explain("referrers of "+m.digest.String(), err)
	}
	return all, nil
}
