//go:build containers_image_openpgp

package oci

import (
	"bytes"
	"context"

	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/image"
	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
)

// HasPolicies reports whether the program was built with the code for
// [Options].Policy. Without it every image is rejected if there is a policy.
const HasPolicies = true

// signatureRequests is the number of small requests that a verification may need:
// the manifest, the manifest of the signatures, and some signatures.
const signatureRequests = 10

// A judge applies a policy with the code of podman and skopeo.
type judge struct{ policy *signature.Policy }

// newJudge reads the text of a policy.
func newJudge(text []byte) (*judge, error) {
	policy, err := signature.NewPolicyFromBytes(text)
	return &judge{policy}, err
}

// verify checks an image whose manifest is known. isInstance says that the
// reference names an index with the image in it.
func (j *judge) verify(ctx context.Context, s *source, m *Manifest, isInstance bool) error {
	policy, err := signature.NewPolicyContext(j.policy)
	if err != nil {
		return err
	}
	defer policy.Destroy()
	src, err := s.open(ctx)
	if err != nil {
		return err
	}
	instance := s.instance()
	if isInstance {
		instance = &m.Digest
	}
	var unparsed types.UnparsedImage
	switch src := src.(type) {
	case *stored:
		unparsed = storedImageOf{src, m}
	case types.ImageSource:
		unparsed = image.UnparsedInstance(src, instance)
	}
	ctx, done := s.patienceFor(ctx, s.o.Registry.ReadTimeout*signatureRequests)
	_, err = policy.IsRunningImageAllowed(ctx, unparsed)
	if err == nil {
		err = sameManifest(ctx, unparsed, m)
	}
	return done(err)
}

// sameManifest compares the manifest that was judged with the one that is used.
func sameManifest(ctx context.Context, unparsed types.UnparsedImage, m *Manifest) error {
	judged, _, err := unparsed.Manifest(ctx)
	if err == nil && !bytes.Equal(judged, m.Raw) {
		err = registry.Errorf(registry.ErrVerify, "the manifest changed during the verification")
	}
	return err
}

// storedImageOf is an image in a store as policies see it.
type storedImageOf struct {
	*stored
	m *Manifest
}

func (s storedImageOf) Reference() types.ImageReference { return storedReference{s: s.stored} }

func (s storedImageOf) Manifest(context.Context) ([]byte, string, error) {
	return s.m.Raw, "", nil
}

func (s storedImageOf) Signatures(ctx context.Context) ([][]byte, error) {
	return s.GetSignatures(ctx, &s.m.Digest)
}

// storedReference names an image in a store. Policies call no other methods of the
// embedded interface, which is nil.
type storedReference struct {
	types.ImageReference
	s *stored
}

func (r storedReference) Transport() types.ImageTransport { return storageTransport{} }

func (r storedReference) DockerReference() reference.Named { return r.s.subject().named }

func (r storedReference) StringWithinTransport() string { return r.s.image.ID }

func (r storedReference) PolicyConfigurationIdentity() string { return r.s.subject().scopes[0] }

func (r storedReference) PolicyConfigurationNamespaces() []string { return r.s.subject().scopes[1:] }

type storageTransport struct{ types.ImageTransport }

func (storageTransport) Name() string { return "containers-storage" }
