package oci

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"

	"github.com/docker/distribution/registry/api/errcode"
	v2 "github.com/docker/distribution/registry/api/v2"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/oci/archive"
	"go.podman.io/image/v5/oci/layout"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
)

// explain gives errors of containers/image their kinds.
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
		err = flat{err} // a list of mirrors
	}
	switch {
	case errors.As(err, &unauthorized):
		return registry.WithKind(registry.ErrAccess, err)
	case errors.Is(err, layout.ErrMoreThanOneImage):
		return errors.New("the archive has several images, add the name or digest of one")
	case errors.As(err, &noTag), errors.As(err, &noArchiveTag), errors.As(err, &noArchive), errors.Is(err, fs.ErrNotExist):
		return registry.WithKind(registry.ErrNotFound, err)
	case errors.As(err, &status):
		return registry.WithKind(statusKind(status.StatusCode), err)
	case errors.As(err, &coder):
		return registry.WithKind(codeKind(coder.ErrorCode()), err)
	}
	// The library has no type for the first one, and does not export that of the others.
	if text := err.Error(); strings.HasPrefix(text, "Tag ") && strings.HasSuffix(text, " not found") {
		return registry.WithKind(registry.ErrNotFound, err)
	}
	for code, kind := range map[int]error{http.StatusUnauthorized: registry.ErrAccess, http.StatusForbidden: registry.ErrAccess, http.StatusNotFound: registry.ErrNotFound} {
		if strings.Contains(err.Error(), fmt.Sprintf("StatusCode: %d,", code)) {
			return registry.WithKind(kind, err)
		}
	}
	return err
}

// flat puts the text of an error into one line.
type flat struct{ error }

func (f flat) Error() string { return strings.ReplaceAll(f.error.Error(), "\n", "; ") }
func (f flat) Unwrap() error { return f.error }

// errOther is the kind of all other errors.
var errOther = errors.New("failed")

func statusKind(code int) error {
	switch code {
	case http.StatusUnauthorized, http.StatusForbidden:
		return registry.ErrAccess
	case http.StatusNotFound:
		return registry.ErrNotFound
	}
	return errOther
}

func codeKind(code errcode.ErrorCode) error {
	switch code {
	case v2.ErrorCodeManifestUnknown, v2.ErrorCodeNameUnknown, v2.ErrorCodeBlobUnknown:
		return registry.ErrNotFound
	}
	return statusKind(code.Descriptor().HTTPStatusCode)
}
