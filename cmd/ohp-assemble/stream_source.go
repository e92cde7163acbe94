package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.podman.io/image/v5/docker/reference"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/pull"
)

// A source is where documents and images are fetched from: files, web servers
// and registries.
type source struct{ registryFlags }

const (
	readTimeout = time.Minute // that a server may send nothing
	maxDownload = 64 << 30
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

// options are those for registries.
func (s *source) options() (pull.Options, error) {
	reg, err := s.registryFlags.options()
	reg.ReadTimeout = readTimeout
	return pull.Options{Registry: reg}, err
}

// files lists what is published under a reference.
func (s *source) files(ctx context.Context, named reference.Named) ([]*pull.Image, error) {
	o, err := s.options()
	if err != nil {
		return nil, err
	}
	return pull.List(ctx, named, o)
}

// published returns the stream that is published under a reference, as such or
// among the images of an index.
func (s *source) published(ctx context.Context, named reference.Named) ([]byte, error) {
	all, err := s.files(ctx, named)
	if err != nil {
		return nil, err
	}
	for _, f := range all {
		if f.Title == streamFile {
			text, err := f.Read(ctx)
			if err != nil {
				err = fmt.Errorf("%s: %s: %w", named, streamFile, err)
			}
			return text, err
		}
	}
	return nil, fmt.Errorf("%s: no %s is published there: publish --stream does that", named, streamFile)
}

// manifests returns where the files under a reference are, by their sha256.
func (s *source) manifests(ctx context.Context, named reference.Named) (map[string]stream.Published, error) {
	all, err := s.files(ctx, named)
	found := map[string]stream.Published{}
	for _, f := range all {
		if _, twice := found[f.FileSHA256()]; !twice {
			found[f.FileSHA256()] = stream.Published{Manifest: f.Manifest, Container: f.InContainer()}
		}
	}
	return found, err
}

// client waits for no server for ever, and takes no compression that would
// change what is hashed.
var client = &http.Client{
	Transport: registry.Patient(&http.Transport{Proxy: http.ProxyFromEnvironment, DisableCompression: true, ForceAttemptHTTP2: true}, readTimeout),
	CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if len(via) == 10 || via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
			return fmt.Errorf("redirected to %s", public(req.URL.String()))
		}
		return nil
	},
}

// errWebAccess is the error of a web server that does not let everybody read.
var errWebAccess = fmt.Errorf("web server: %w", registry.ErrAccess)

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

// download writes a file of a stream to a file, which appears when it is whole
// and what the stream says.
func (s *source) download(ctx context.Context, ui *ui, d *stream.Download, out string) (size int64, err error) {
	if b, err := hex.DecodeString(d.SHA256); err != nil || len(b) != 32 {
		return 0, fmt.Errorf("sha256 %q: not a digest", d.SHA256)
	}
	step := ui.begin("fetch", "fetch "+out, 0)
	defer func() { step.end(err) }()
	if d.OCI != nil {
		return s.pull(ctx, ui, step, d, out)
	}
	body, err := get(ctx, d.Location)
	if err != nil {
		return 0, err
	}
	defer body.Close()
	size, _, err = writeFile(out, 0o666, func(f *os.File) error {
		tap := newSink(ctx, step)
		n, err := io.Copy(io.MultiWriter(f, tap), io.LimitReader(body, maxDownload+1))
		if err == nil && n > maxDownload {
			err = fmt.Errorf("more than %s", rootfs.Bytes(int64(maxDownload)))
		}
		if got := tap.Sum(); err == nil && got != strings.ToLower(d.SHA256) {
			err = fmt.Errorf("%w: %s has sha256 %s, not %s", registry.ErrVerify, d.Location, got, d.SHA256)
		}
		return err
	})
	return size, err
}

// pull downloads a file of a stream from its registry.
func (s *source) pull(ctx context.Context, ui *ui, progress registry.Progress, d *stream.Download, out string) (int64, error) {
	o, err := s.options()
	if err != nil {
		return 0, err
	}
	named, err := reference.ParseNormalizedNamed(d.OCI.DigestRef)
	if err != nil {
		return 0, fmt.Errorf("digest-ref %q: %w", d.OCI.DigestRef, err)
	}
	o.Progress = progress
	all, err := pull.List(ctx, named, o)
	if err != nil {
		return 0, err
	}
	want := strings.ToLower(d.SHA256)
	if len(all) != 1 || all[0].FileSHA256() != want && all[0].FileSHA256() != "" {
		return 0, fmt.Errorf("%w: %s is not the file with sha256 %s that the stream says", registry.ErrVerify, d.OCI.DigestRef, want)
	}
	saved, err := save(ctx, ui, all[0], pull.SaveOptions{Dir: filepath.Dir(out), Name: filepath.Base(out), SHA256: want})
	if err != nil {
		return 0, err
	}
	return saved.Size, nil
}
