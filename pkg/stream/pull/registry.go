package pull

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker/reference"
	dockerconfig "go.podman.io/image/v5/pkg/docker/config"
	"go.podman.io/image/v5/pkg/sysregistriesv2"
	"go.podman.io/image/v5/pkg/tlsclientconfig"
	"go.podman.io/image/v5/types"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"
	"oras.land/oras-go/v2/registry/remote/retry"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/oci"
)

const (
	maxManifest = 4 << 20 // bytes of a manifest, as most registries have it
	maxDocument = 16 << 20
	maxRetry    = 6           // times that a request is repeated
	maxWait     = time.Minute // before it is, whatever the registry asks for
	maxPages    = 16          // of a list of referrers
)

// accept are the types of manifests that are understood.
const accept = imgspec.MediaTypeImageIndex + ", " + imgspec.MediaTypeImageManifest +
	", application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json"

// A repo is a repository in a registry, or in a mirror of it.
type repo struct {
	*remote.Repository
	noRange bool // it sends other ranges than those it is asked for
	wait    time.Duration
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
func open(ctx context.Context, named reference.Named, sys *types.SystemContext, o Options) (*repo, *manifest, error) {
	sources, err := sources(named, sys)
	if err != nil {
		return nil, nil, err
	}
	var all error
	for _, src := range sources {
		r, err := newRepo(ctx, src, sys, o)
		if err == nil {
			var top *manifest
			if top, err = r.manifest(ctx, r.Reference.Reference); err == nil {
				return r, top, nil
			}
		}
		if all != nil {
			err = fmt.Errorf("%w; %w", all, err)
		}
		all = err
	}
	return nil, nil, all
}

// sources are the places of a repository in the order that registries.conf
// has them: mirrors, then the registry itself.
func sources(named reference.Named, sys *types.SystemContext) ([]sysregistriesv2.PullSource, error) {
	conf, err := sysregistriesv2.FindRegistry(sys, named.Name())
	if err != nil {
		return nil, err
	}
	if conf == nil {
		return []sysregistriesv2.PullSource{{Reference: named}}, nil
	}
	return conf.PullSourcesFromReference(named)
}

func newRepo(ctx context.Context, src sysregistriesv2.PullSource, sys *types.SystemContext, o Options) (*repo, error) {
	host := reference.Domain(src.Reference)
	transport, err := newTransport(host, o)
	if err != nil {
		return nil, err
	}
	login, err := dockerconfig.GetCredentialsForRef(sys, src.Reference)
	if err != nil {
		return nil, fmt.Errorf("%s: credentials: %w", host, err)
	}
	ref := registry.Reference{Registry: host, Repository: reference.Path(src.Reference)}
	if d, ok := src.Reference.(reference.Digested); ok {
		ref.Reference = d.Digest().String()
	} else if t, ok := src.Reference.(reference.Tagged); ok {
		ref.Reference = t.Tag()
	}
	plain := false
	if src.Endpoint.Insecure && o.TLSVerify == nil || o.TLSVerify != nil && !*o.TLSVerify {
		transport.TLSClientConfig.InsecureSkipVerify = true
		plain = !speaksTLS(ctx, oci.Patient(transport, o.IdleTimeout), ref.Host())
	}
	policy := &retry.GenericPolicy{Retryable: retryable, Backoff: backoff(o.Backoff), MaxWait: maxWait, MaxRetry: maxRetry}
	client := &auth.Client{
		Client: &http.Client{Transport: &retry.Transport{
			Base:   oci.Patient(transport, o.IdleTimeout),
			Policy: func() retry.Policy { return policy },
		}},
		Header: http.Header{"User-Agent": {"ohp-assemble"}},
		Cache:  auth.NewCache(),
		Credential: func(_ context.Context, hostport string) (auth.Credential, error) {
			if hostport != ref.Host() {
				return auth.EmptyCredential, nil
			}
			return auth.Credential{Username: login.Username, Password: login.Password, RefreshToken: login.IdentityToken}, nil
		},
	}
	return &repo{
		Repository: &remote.Repository{Client: client, Reference: ref, PlainHTTP: plain, ReferrerListMaxPages: maxPages},
		wait:       o.Backoff,
	}, nil
}

// newTransport returns a transport with the certificates that are configured
// for a host.
func newTransport(host string, o Options) (*http.Transport, error) {
	t := tlsclientconfig.NewTransport()
	t.DisableCompression = true // a blob is what is asked for, not what it decompresses to
	t.TLSClientConfig = &tls.Config{}
	for _, dir := range o.CertDirs {
		dir = filepath.Join(dir, host)
		if _, err := os.Stat(dir); err != nil {
			continue
		}
		return t, tlsclientconfig.SetupCertificates(dir, t.TLSClientConfig)
	}
	return t, nil
}

// speaksTLS reports whether a host that need not does.
func speaksTLS(ctx context.Context, t http.RoundTripper, host string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+"/v2/", nil)
	if err != nil {
		return true
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return true
}

// retryable reports whether a request may have better luck next time.
func retryable(resp *http.Response, err error) (bool, error) {
	if err == nil {
		return slices.Contains([]int{408, 429, 500, 502, 503, 504}, resp.StatusCode), nil
	}
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout() && !errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF), nil
}

// backoff waits as long as the registry asks for, or ever longer.
func backoff(first time.Duration) retry.Backoff {
	grow := retry.ExponentialBackoff(first, 2, 0.1)
	return func(attempt int, resp *http.Response) time.Duration {
		if resp == nil {
			return grow(attempt, nil)
		}
		after := resp.Header.Get("Retry-After")
		if s, err := strconv.ParseUint(after, 10, 16); err == nil {
			return time.Duration(s) * time.Second
		}
		at, err := http.ParseTime(after)
		now, nowErr := http.ParseTime(resp.Header.Get("Date"))
		if err == nil && nowErr == nil {
			return at.Sub(now)
		}
		return grow(attempt, nil)
	}
}

// get asks for something below the repository's URL.
func (r *repo) get(ctx context.Context, what string, header http.Header) (*http.Response, error) {
	scheme := "https"
	if r.PlainHTTP {
		scheme = "http"
	}
	u := &url.URL{Scheme: scheme, Host: r.Reference.Host(), Path: "/v2/" + r.Reference.Repository + "/" + what}
	req, err := http.NewRequestWithContext(auth.AppendRepositoryScope(ctx, r.Reference, auth.ActionPull), http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header = header
	resp, err := r.Client.Do(req)
	if err != nil {
		return nil, explain(what, err)
	}
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusPartialContent {
		return resp, nil
	}
	defer resp.Body.Close()
	var body struct{ Errors errcode.Errors }
	_ = json.NewDecoder(io.LimitReader(resp.Body, maxManifest)).Decode(&body) // or there is no more to say
	return nil, explain(what, &errcode.ErrorResponse{Method: req.Method, URL: u, StatusCode: resp.StatusCode, Errors: body.Errors})
}

// explain gives errors of requests the kind that they have. It leaves URLs
// out: one that a registry redirects to is as good as a password.
func explain(what string, err error) error {
	var located *url.Error
	if errors.As(err, &located) {
		err = located.Err
	}
	var answer *errcode.ErrorResponse
	if !errors.As(err, &answer) {
		if errors.Is(err, auth.ErrBasicCredentialNotFound) {
			return fmt.Errorf("%s: no credentials: %w", what, oci.ErrAccess)
		}
		return fmt.Errorf("%s: %w", what, err)
	}
	status := statusError{answer.StatusCode, http.StatusText(answer.StatusCode)}
	if len(answer.Errors) > 0 {
		status.text += ": " + answer.Errors.Error()
	}
	switch answer.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%s: %w: %w", what, status, oci.ErrAccess)
	case http.StatusNotFound:
		return fmt.Errorf("%s: %w: %w", what, status, oci.ErrNotFound)
	}
	return fmt.Errorf("%s: %w", what, status)
}

// A statusError is an answer of a registry that is no success.
type statusError struct {
	code int
	text string
}

func (e statusError) Error() string {
	return strings.ToLower(fmt.Sprintf("the registry answers %d %s", e.code, e.text))
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
	var status statusError
	if errors.As(err, &status) && status.code == http.StatusRequestedRangeNotSatisfiable {
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
		return nil, explain("referrers of "+m.digest.String(), err)
	}
	return all, nil
}
