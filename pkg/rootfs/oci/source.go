package oci

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/docker/distribution/registry/api/errcode"
	v2 "github.com/docker/distribution/registry/api/v2"
	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/directory"
	"go.podman.io/image/v5/docker"
	dockerarchive "go.podman.io/image/v5/docker/archive"
	"go.podman.io/image/v5/oci/archive"
	"go.podman.io/image/v5/oci/layout"
	"go.podman.io/image/v5/pkg/blobinfocache/none"
	"go.podman.io/image/v5/types"
)

// A source is where an image comes from. It is opened when something is asked
// of it, so what the cache has needs no network.
type source struct {
	ref   ref
	o     Options
	cache *cache

	mu  sync.Mutex // guards src, and GetBlob where it must not be called twice at once
	src imageSource
}

// An imageSource is what is needed of a [types.ImageSource].
type imageSource interface {
	Close() error
	GetManifest(ctx context.Context, instance *digest.Digest) ([]byte, string, error)
	GetSignatures(ctx context.Context, instance *digest.Digest) ([][]byte, error)
	GetBlob(context.Context, types.BlobInfo, types.BlobInfoCache) (io.ReadCloser, int64, error)
	HasThreadSafeGetBlob() bool
}

func newSource(r ref, o Options, c *cache) *source { return &source{ref: r, o: o, cache: c} }

func (s *source) close() {
	if s.src != nil {
		s.src.Close()
	}
}

func (s *source) system() *types.SystemContext {
	sys := &types.SystemContext{
		AuthFilePath:             s.o.AuthFile,
		DockerAuthConfig:         s.o.Login,
		DockerCertPath:           s.o.CertDir,
		SystemRegistriesConfPath: s.o.RegistryConf,
		RegistriesDirPath:        s.o.RegistriesD,
		BigFilesTemporaryDir:     s.cache.tmp(),
		DockerRegistryUserAgent:  "ohp-assemble",
	}
	if s.o.TLSVerify != nil {
		sys.DockerInsecureSkipTLSVerify = types.NewOptionalBool(!*s.o.TLSVerify)
	}
	return sys
}

// open returns the image source.
func (s *source) open(ctx context.Context) (imageSource, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.src != nil {
		return s.src, nil
	}
	if s.ref.transport == "containers-storage" {
		src, err := openStorage(s.ref, s.o.StorageConf)
		if err != nil {
			return nil, explain(err)
		}
		s.src = src
		return src, nil
	}
	if s.ref.transport == "oci" {
		if _, err := readLayout(s.ref.name); err != nil {
			return nil, explain(err)
		}
	}
	r, err := s.reference()
	if err != nil {
		return nil, explain(err)
	}
	ctx, done := s.patience(ctx)
	src, err := r.NewImageSource(ctx, s.system())
	if err = done(err); err != nil {
		return nil, CredentialsError(s.o.AuthFile, explain(err))
	}
	s.src = src
	return src, nil
}

// readLayout reads the index of an OCI layout. Its errors name the file by its whole
// path, unlike those of the library.
func readLayout(dir string) (index imgspec.Index, err error) {
	name := filepath.Join(dir, "index.json")
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return index, fmt.Errorf("%w: this is no OCI layout", err)
	}
	if err != nil {
		return index, err
	}
	defer f.Close()
	if err := json.NewDecoder(f).Decode(&index); err != nil {
		return index, fmt.Errorf("%s: damaged: %w", name, err)
	}
	if len(index.Manifests) == 0 {
		return index, failf(ErrNotFound, "%s: names no image", name)
	}
	return index, nil
}

// located gives the files of an OCI layout their whole paths.
func (s *source) located(err error) error {
	var at *fs.PathError
	if s.ref.transport == "oci" && errors.As(err, &at) && !filepath.IsAbs(at.Path) {
		return &fs.PathError{Op: at.Op, Path: filepath.Join(s.ref.name, at.Path), Err: at.Err}
	}
	return err
}

// policy returns the check of an image against the policy, if there is one. The
// check needs the manifest of the image. A policy that rejects every image of the
// name is an error at once.
func (s *source) policy() (func(ctx context.Context, img *Image, isInstance bool) error, error) {
	if s.o.Policy == "" {
		return func(context.Context, *Image, bool) error { return nil }, nil
	}
	text, err := os.ReadFile(s.o.Policy)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	judge, err := newJudge(text)
	if err != nil {
		return nil, fmt.Errorf("policy %s: %w", s.o.Policy, err)
	}
	p, err := parsePolicy(text, s.o.Policy)
	if err != nil {
		return nil, err
	}
	subj, err := s.subject()
	if err != nil {
		return nil, err
	}
	if err := p.forbid(subj); err != nil {
		return nil, err
	}
	return func(ctx context.Context, img *Image, isInstance bool) error {
		if err := judge.verify(ctx, s, img, isInstance); err != nil {
			return p.refuse(subj, explain(err))
		}
		return nil
	}, nil
}

// subject returns what a policy knows the image by.
func (s *source) subject() (subject, error) {
	if s.ref.transport == "containers-storage" {
		st, err := s.stored()
		if err != nil {
			return subject{}, err
		}
		return st.subject(), nil
	}
	r, err := s.reference()
	if err != nil {
		return subject{}, explain(err)
	}
	return subjectOf(r), nil
}

func subjectOf(r types.ImageReference) subject {
	return subject{r.Transport().Name(), append([]string{r.PolicyConfigurationIdentity()}, r.PolicyConfigurationNamespaces()...), r.DockerReference()}
}

// stored returns the image in the store that it is in.
func (s *source) stored() (*stored, error) {
	src, err := s.open(context.Background())
	if err != nil {
		return nil, err
	}
	return src.(*stored), nil
}

// enter follows the list in a store to the image that a manifest of it is.
func (s *source) enter(d digest.Digest) error {
	if s.ref.transport != "containers-storage" {
		return nil
	}
	st, err := s.stored()
	if err != nil {
		return err
	}
	return st.enter(d)
}

// reference returns what containers/image calls the image. A digest takes the
// place of the tag; only in local images it is looked up here.
func (s *source) reference() (types.ImageReference, error) {
	switch s.ref.transport {
	case "oci":
		if s.ref.digest != "" || s.ref.tag == "" {
			return layout.NewIndexReference(s.ref.name, 0)
		}
		return layout.NewReference(s.ref.name, s.ref.tag)
	case "oci-archive":
		return archive.NewReference(s.ref.name, s.ref.tag)
	case "dir":
		return directory.NewReference(s.ref.name)
	case "docker-archive":
		if s.ref.tag != "" {
			return dockerarchive.ParseReference(s.ref.name + ":" + s.ref.tag)
		}
		return dockerarchive.ParseReference(s.ref.name)
	}
	named, err := s.ref.named()
	if err != nil {
		return nil, err
	}
	return docker.NewReference(named)
}

// top fetches what the reference names: a manifest or an index.
func (s *source) top(ctx context.Context) ([]byte, error) {
	src, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	ctx, done := s.patience(ctx)
	raw, _, err := src.GetManifest(ctx, s.instance())
	err = done(err)
	if s.ref.digest != "" && errors.Is(err, fs.ErrNotExist) {
		return nil, failf(ErrNotFound, "no manifest has that digest")
	}
	if err != nil {
		return nil, explain(s.located(err))
	}
	return raw, nil
}

// instance returns the digest in the form that sources of local images, whose
// references have none, want to be told it.
func (s *source) instance() *digest.Digest {
	if s.ref.digest == "" || s.ref.transport != "oci" && s.ref.transport != "oci-archive" {
		return nil
	}
	return &s.ref.digest
}

// manifest fetches a manifest that an index names.
func (s *source) manifest(ctx context.Context, d digest.Digest) ([]byte, error) {
	src, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	ctx, done := s.patience(ctx)
	raw, _, err := src.GetManifest(ctx, &d)
	if err = done(err); err != nil {
		return nil, explain(s.located(err))
	}
	return raw, nil
}

// blob opens a blob for reading. The error for a registry that hangs up comes
// from the reader, which has then tried to go on where it was.
func (s *source) blob(ctx context.Context, d digest.Digest, size int64) (io.ReadCloser, error) {
	src, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	if !src.HasThreadSafeGetBlob() {
		s.mu.Lock()
		defer s.mu.Unlock()
	}
	if s.ref.transport != "docker" {
		r, _, err := src.GetBlob(ctx, types.BlobInfo{Digest: d, Size: size}, none.NoCache)
		return r, explain(s.located(err))
	}
	return remoteBlob(ctx, src, types.BlobInfo{Digest: d, Size: size}, s.o.IdleTimeout)
}

// remoteBlob opens a blob in a registry.
func remoteBlob(ctx context.Context, src imageSource, info types.BlobInfo, idle time.Duration) (io.ReadCloser, error) {
	dog := watch(ctx, idle)
	r, _, err := src.GetBlob(dog.ctx, info, none.NoCache)
	dog.timer.Stop()
	if err != nil {
		err = dog.explain(err)
		dog.stop()
		return nil, explain(err)
	}
	return &watched{r, dog}, nil
}

// patience is for requests that are answered with little.
func (s *source) patience(ctx context.Context) (context.Context, func(error) error) {
	return s.patienceFor(ctx, s.o.IdleTimeout)
}

func (s *source) patienceFor(ctx context.Context, limit time.Duration) (context.Context, func(error) error) {
	if s.ref.transport != "docker" {
		return ctx, func(err error) error { return err }
	}
	return patience(ctx, limit)
}

// explain gives errors of containers/image the kind that they have.
func explain(err error) error {
	var unauthorized docker.ErrUnauthorizedForCredentials
	var status docker.UnexpectedHTTPStatusError
	var coder errcode.ErrorCoder
	var noTag layout.ImageNotFoundError
	var noArchiveTag archive.ImageNotFoundError
	var noArchive archive.ArchiveFileNotFoundError
	if err == nil {
		return nil
	}
	if strings.Contains(err.Error(), "\n") {
		err = flat{err} // it lists mirrors
	}
	switch {
	case errors.As(err, &unauthorized):
		return fault{err, ErrAccess}
	case errors.As(err, &noTag), errors.As(err, &noArchiveTag), errors.As(err, &noArchive), errors.Is(err, fs.ErrNotExist):
		return fault{err, ErrNotFound}
	case errors.As(err, &status):
		return fault{err, statusKind(status.StatusCode)}
	case errors.As(err, &coder):
		return fault{err, codeKind(coder.ErrorCode())}
	}
	// The library has no type for this one, and keeps that of the next to itself.
	if text := err.Error(); strings.HasPrefix(text, "Tag ") && strings.HasSuffix(text, " not found") {
		return fault{err, ErrNotFound}
	}
	for code, kind := range map[int]error{http.StatusUnauthorized: ErrAccess, http.StatusForbidden: ErrAccess, http.StatusNotFound: ErrNotFound} {
		if strings.Contains(err.Error(), fmt.Sprintf("StatusCode: %d,", code)) {
			return fault{err, kind}
		}
	}
	return err
}

// CredentialsError names the file of credentials in an error that is about a
// login in it, where the library does not. An empty name is one of the default
// files.
func CredentialsError(file string, err error) error {
	if !errors.As(err, new(base64.CorruptInputError)) {
		return err
	}
	return fmt.Errorf("%s: a login that is no base64: %w", cmp.Or(file, "one of the files of credentials, see containers-auth.json(5)"), err)
}

// flat is an error in one line.
type flat struct{ error }

func (f flat) Error() string { return strings.ReplaceAll(f.error.Error(), "\n", "; ") }
func (f flat) Unwrap() error { return f.error }

// errOther is the kind of errors that have none.
var errOther = errors.New("failed")

func statusKind(code int) error {
	switch code {
	case http.StatusUnauthorized, http.StatusForbidden:
		return ErrAccess
	case http.StatusNotFound:
		return ErrNotFound
	}
	return errOther
}

func codeKind(code errcode.ErrorCode) error {
	switch code {
	case v2.ErrorCodeManifestUnknown, v2.ErrorCodeNameUnknown, v2.ErrorCodeBlobUnknown:
		return ErrNotFound
	}
	return statusKind(code.Descriptor().HTTPStatusCode)
}

// remove deletes a file that is of no more use. That it is gone is enough.
func remove(name string) { _ = os.Remove(name) }
