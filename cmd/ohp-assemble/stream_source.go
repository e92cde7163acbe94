package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"
	"go.podman.io/image/v5/docker/reference"
	"oras.land/oras-go/v2/content"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/oci"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/registry"
)

// A source is where documents and images are fetched from: files, web servers
// and registries.
type source struct {
	authFile  string
	tlsVerify bool
}

func (s *source) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.authFile, "authfile", "", "`file` of registry credentials")
	cmd.Flags().BoolVar(&s.tlsVerify, "tls-verify", true, "require HTTPS of registries")
}

const (
	readTimeout = time.Minute // that a server may send nothing
	maxDownload = 64 << 30
	maxListed   = 1000 // manifests of an index
)

// documents reads what an argument names: a file, - for the standard input, a
// URL, or a reference in a registry. A ConfigMap may hold several.
func (s *source) documents(ctx context.Context, arg string) ([]*stream.Document, error) {
	text, err := s.text(ctx, arg)
	if err != nil {
		return nil, err
	}
	return stream.ParseAll(public(arg), text)
}

// document reads the one document that an argument names.
func (s *source) document(ctx context.Context, arg string) (*stream.Document, error) {
	docs, err := s.documents(ctx, arg)
	if err != nil {
		return nil, err
	}
	return docs[0], nil
}

// each reads one document for each argument.
func (s *source) each(ctx context.Context, args []string) (all []*stream.Document, err error) {
	for _, arg := range args {
		d, err := s.document(ctx, arg)
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}

func (s *source) text(ctx context.Context, arg string) ([]byte, error) {
	if arg == "-" {
		return readDocument(os.Stdin)
	}
	if strings.HasPrefix(arg, "https://") || strings.HasPrefix(arg, "http://") {
		body, err := get(ctx, arg)
		if err != nil {
			return nil, err
		}
		defer body.Close()
		text, err := readDocument(body)
		if err != nil {
			err = fmt.Errorf("%s: %w", public(arg), err)
		}
		return text, err
	}
	f, err := os.Open(arg)
	if errors.Is(err, fs.ErrNotExist) {
		if named, ok := registryReference(arg); ok {
			return s.published(ctx, named)
		}
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readDocument(f)
}

// readDocument reads one byte more than a document may have at most, for which
// it is then refused.
func readDocument(r io.Reader) ([]byte, error) {
	return io.ReadAll(io.LimitReader(r, stream.MaxDocument+1))
}

// registryReference tells a reference from the name of a file that is missing:
// it begins with docker:// or with a host that is one without doubt.
func registryReference(arg string) (reference.Named, bool) {
	rest, explicit := strings.CutPrefix(arg, "docker://")
	host, _, _ := strings.Cut(rest, "/")
	named, err := reference.ParseNormalizedNamed(rest)
	if err != nil || !explicit && (host == rest || !strings.ContainsAny(host, ".:") || strings.HasPrefix(host, ".")) {
		return nil, false
	}
	return reference.TagNameOnly(named), true
}

// repository opens the repository of a reference.
func (s *source) repository(ctx context.Context, named reference.Named) (*registry.Repo, error) {
	if err := checkAuthFile(s.authFile); err != nil {
		return nil, err
	}
	o := registry.Options{AuthFile: s.authFile, CertDirs: certDirs(), ReadTimeout: readTimeout}
	if !s.tlsVerify {
		o.TLSVerify = &s.tlsVerify
	}
	return registry.Open(ctx, named, o)
}

// published returns the stream that is published under a reference, as such or
// among the images of an index.
func (s *source) published(ctx context.Context, named reference.Named) ([]byte, error) {
	var found []byte
	err := s.walk(ctx, named, func(repo *registry.Repo, _ imgspec.Descriptor, m imgspec.Manifest) error {
		for _, layer := range m.Layers {
			if found == nil && layer.Annotations[imgspec.AnnotationTitle] == streamFile {
				if layer.Size > stream.MaxDocument {
					return fmt.Errorf("%s: more than %d bytes", streamFile, stream.MaxDocument)
				}
				var err error
				found, err = content.FetchAll(ctx, repo.Blobs(), layer)
				return err
			}
		}
		return nil
	})
	if err == nil && found == nil {
		err = fmt.Errorf("%s: no %s is published there", named, streamFile)
	}
	return found, err
}

// manifests returns, by the sha256 of a file, the manifest under a reference
// whose one layer that is.
func (s *source) manifests(ctx context.Context, named reference.Named) (map[string]digest.Digest, error) {
	found := map[string]digest.Digest{}
	err := s.walk(ctx, named, func(_ *registry.Repo, d imgspec.Descriptor, m imgspec.Manifest) error {
		if len(m.Layers) == 1 && found[m.Layers[0].Digest.Encoded()] == "" {
			found[m.Layers[0].Digest.Encoded()] = d.Digest
		}
		return nil
	})
	return found, err
}

// walk visits the manifest of a reference, or those that its index lists.
func (s *source) walk(ctx context.Context, named reference.Named, visit func(*registry.Repo, imgspec.Descriptor, imgspec.Manifest) error) (err error) {
	repo, err := s.repository(ctx, named)
	if err != nil {
		return err
	}
	defer func() {
		if errors.Is(err, content.ErrMismatchedDigest) {
			err = fmt.Errorf("%w: %w", oci.ErrVerify, err)
		}
		err = registry.Explain(named.String(), err)
	}()
	at := ""
	switch named := named.(type) {
	case reference.Digested: // the tag beside it, if any, is for people
		at = named.Digest().String()
	case reference.Tagged:
		at = named.Tag()
	}
	top, err := repo.Resolve(ctx, at)
	if err != nil {
		return err
	}
	listed := []imgspec.Descriptor{top}
	for n := 0; n < len(listed); n++ {
		d := listed[n]
		if n == maxListed || d.Size > stream.MaxDocument {
			return fmt.Errorf("%s: an index or a manifest of unreasonable size", top.Digest)
		}
		text, err := content.FetchAll(ctx, repo.Manifests(), d)
		if err != nil {
			return err
		}
		var m struct {
			imgspec.Manifest
			Manifests []imgspec.Descriptor `json:"manifests"`
		}
		if err := json.Unmarshal(text, &m); err != nil {
			return fmt.Errorf("%s: %w", d.Digest, err)
		}
		for _, in := range slices.Concat(m.Manifests, m.Layers) {
			if err := in.Digest.Validate(); err != nil {
				return fmt.Errorf("%s: digest %.100q in it: %w", d.Digest, in.Digest, err)
			}
		}
		if d.MediaType == imgspec.MediaTypeImageIndex {
			listed = append(listed, m.Manifests...)
		} else if err := visit(repo, d, m.Manifest); err != nil {
			return err
		}
	}
	return nil
}

// client waits for no server for ever, and takes no compression that would
// change what is hashed.
var client = &http.Client{
	Transport: oci.Patient(&http.Transport{Proxy: http.ProxyFromEnvironment, DisableCompression: true, ForceAttemptHTTP2: true}, readTimeout),
	CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if len(via) == 10 || via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
			return fmt.Errorf("redirected to %s", public(req.URL.String()))
		}
		return nil
	},
}

// errWebAccess is the error of a web server that does not let everybody read.
var errWebAccess = fmt.Errorf("web server: %w", oci.ErrAccess)

// public returns what a URL looks like to others: passwords are in its user
// and, where it is signed, in its query.
func public(arg string) string {
	scheme, _, isURL := strings.Cut(arg, "://")
	if !isURL {
		return arg
	}
	u, err := url.Parse(arg)
	if err != nil {
		return scheme + "://..."
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

// get fetches a URL.
func get(ctx context.Context, from string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	var resp *http.Response
	if err == nil {
		resp, err = client.Do(req)
	}
	var located *url.Error
	if errors.As(err, &located) { // it may be one that was redirected to
		err = fmt.Errorf("%s: %w", public(from), located.Err)
	}
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		err := fmt.Errorf("%s: %s", public(from), resp.Status)
		if resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden {
			err = fmt.Errorf("%w: %w", err, errWebAccess)
		}
		return nil, err
	}
	return resp.Body, nil
}

// open opens a file of a stream, from its registry if it has one.
func (s *source) open(ctx context.Context, d *stream.Download) (io.ReadCloser, error) {
	if d.OCI == nil {
		return get(ctx, d.Location)
	}
	named, err := reference.ParseNormalizedNamed(d.OCI.Image)
	if err != nil {
		return nil, err
	}
	repo, err := s.repository(ctx, named)
	if err != nil {
		return nil, err
	}
	_, body, err := repo.Blobs().FetchReference(ctx, "sha256:"+d.SHA256)
	return body, registry.Explain(d.OCI.Image, err)
}

// download writes a file of a stream to a file, which appears when it is whole
// and what the stream says.
func (s *source) download(ctx context.Context, ui *ui, d *stream.Download, out string) (size int64, err error) {
	if b, err := hex.DecodeString(d.SHA256); err != nil || len(b) != 32 {
		return 0, fmt.Errorf("sha256 %q: not a digest", d.SHA256)
	}
	body, err := s.open(ctx, d)
	if err != nil {
		return 0, err
	}
	defer body.Close()
	step := ui.begin("fetch", "fetch "+out, 0)
	defer func() { step.end(err) }()
	size, _, err = writeFile(out, 0o666, func(f *os.File) error {
		tap := newSink(ctx, step)
		n, err := io.Copy(io.MultiWriter(f, tap), io.LimitReader(body, maxDownload+1))
		if err == nil && n > maxDownload {
			err = fmt.Errorf("more than %d bytes", int64(maxDownload))
		}
		if got := tap.Sum(); err == nil && got != strings.ToLower(d.SHA256) {
			err = fmt.Errorf("%w: %s has sha256 %s, not %s", oci.ErrVerify, d.Location, got, d.SHA256)
		}
		return err
	})
	return size, err
}
