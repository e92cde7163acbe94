package registry

import (
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
)

// Kinds of errors, for [errors.Is].
var (
	ErrVerify   = errors.New("verification failed") // the bytes do not match a digest, size or checksum
	ErrAccess   = errors.New("access denied")       // by a registry, or on this machine
	ErrNotFound = errors.New("not found")           // the reference names nothing

	// ErrDamaged is an ErrVerify that a retry does not change: the blobs match
	// their digests, but their content is wrong.
	ErrDamaged = fmt.Errorf("damaged container: %w", ErrVerify)

	// ErrForbidden is an ErrAccess: a policy or registries.conf forbids the image.
	ErrForbidden = fmt.Errorf("forbidden: %w", ErrAccess)

	// ErrSource is the error of an upload whose local content changed: it does
	// not match the digest or size that was announced.
	ErrSource = errors.New("the content to send does not match its digest")
)

// Errorf returns an error of a kind. Its text does not repeat that of the kind.
func Errorf(kind error, format string, args ...any) error {
	return WithKind(kind, fmt.Errorf(format, args...))
}

// WithKind gives an error a kind and keeps its text.
func WithKind(kind, err error) error { return kinded{err, kind} }

type kinded struct {
	error
	kind error
}

func (k kinded) Unwrap() []error { return []error{k.error, k.kind} }

// CheckDigest returns an error unless a digest is SHA-256. Other algorithms are
// not supported anywhere in this project.
func CheckDigest(d digest.Digest) error {
	if err := d.Validate(); err != nil || d.Algorithm() != digest.SHA256 {
		return fmt.Errorf("%q is not a digest of the form sha256:HEX", d)
	}
	return nil
}
