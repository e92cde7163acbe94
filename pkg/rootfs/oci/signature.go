package oci

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/types"
)

const (
	maxSignature  = 4 << 20
	maxSignatures = 128

	sigstorePayload   = "application/vnd.dev.cosign.simplesigning.v1+json"
	sigstoreSignature = "dev.cosignproject.cosign/signature"
)

// A statement is what is signed, in both kinds of signatures.
type statement struct {
	Critical struct {
		Type  string `json:"type"`
		Image struct {
			Digest digest.Digest `json:"docker-manifest-digest"`
		} `json:"image"`
		Identity struct {
			Name string `json:"docker-reference"`
		} `json:"identity"`
	} `json:"critical"`
	Optional json.RawMessage `json:"optional"`
}

// checkStatement compares what is signed with the image.
func (r requirement) checkStatement(payload []byte, kind string, s subject, img *Image) error {
	var st statement
	if err := strictJSON(payload, &st); err != nil {
		return fmt.Errorf("payload: %w", err)
	}
	rule := identityRule{Type: "matchRepoDigestOrExact"}
	if r.SignedIdentity != nil {
		rule = *r.SignedIdentity
	}
	switch {
	case st.Critical.Type != kind:
		return fmt.Errorf("signs %q", st.Critical.Type)
	case st.Critical.Image.Digest != img.Digest:
		return fmt.Errorf("is for %s", short(st.Critical.Image.Digest))
	case !rule.matches(s.named, st.Critical.Identity.Name):
		return fmt.Errorf("is for the name %q, which %s does not accept for this image", st.Critical.Identity.Name, rule.Type)
	}
	return nil
}

// anyGood returns nil if one of the signatures is good, otherwise what is wrong
// with them.
func anyGood(count int, good func(i int) error) error {
	if count == 0 {
		return errors.New("the image has no signature")
	}
	var first error
	for i := range min(count, maxSignatures) {
		err := good(i)
		if err == nil {
			return nil
		}
		if first == nil {
			first = fmt.Errorf("signature %d of %d: %w", i+1, count, err)
		}
	}
	return first
}

// allowSigned looks for a simple signature by one of the keys.
func (r requirement) allowSigned(ctx context.Context, src *source, s subject, img *Image, isInstance bool) error {
	keys, err := r.keys()
	if err != nil {
		return err
	}
	var ring openpgp.EntityList
	for _, key := range keys {
		some, err := readKeyRing(key)
		if err != nil {
			return fmt.Errorf("key: %w", err)
		}
		ring = append(ring, some...)
	}
	all, err := src.signatures(ctx, img, isInstance)
	if err != nil {
		return fmt.Errorf("signatures: %w", err)
	}
	return anyGood(len(all), func(i int) error {
		payload, err := verifyOpenPGP(all[i], ring)
		if err != nil {
			return err
		}
		return r.checkStatement(payload, "atomic container signature", s, img)
	})
}

func readKeyRing(b []byte) (openpgp.EntityList, error) {
	if bytes.HasPrefix(bytes.TrimSpace(b), []byte("-----BEGIN")) {
		return openpgp.ReadArmoredKeyRing(bytes.NewReader(b))
	}
	return openpgp.ReadKeyRing(bytes.NewReader(b))
}

// verifyOpenPGP returns what a message says that is signed by one of the keys.
func verifyOpenPGP(message []byte, ring openpgp.EntityList) ([]byte, error) {
	md, err := openpgp.ReadMessage(bytes.NewReader(message), ring, nil, nil)
	if err != nil {
		return nil, err
	}
	if !md.IsSigned || md.IsEncrypted {
		return nil, errors.New("is none")
	}
	// The signature follows the text, and is looked at when that was read.
	text, err := io.ReadAll(io.LimitReader(md.UnverifiedBody, maxSignature))
	switch {
	case err != nil:
		return nil, err
	case md.SignedBy == nil:
		return nil, fmt.Errorf("is by the key %X, which the policy does not name", md.SignedByKeyId)
	case md.SignatureError != nil:
		return nil, md.SignatureError
	case md.Signature == nil:
		return nil, errors.New("is not complete")
	}
	return text, nil
}

// allowSigstore looks for a signature by one of the keys that is attached to
// the image, as an image of its own whose tag is made of the digest.
func (r requirement) allowSigstore(ctx context.Context, src *source, s subject, img *Image) error {
	files, err := r.keys()
	if err != nil {
		return err
	}
	var keys []crypto.PublicKey
	for _, b := range files {
		block, rest := pem.Decode(b)
		if block == nil || len(bytes.TrimSpace(rest)) > 0 {
			return errors.New("key: is not one PEM block")
		}
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return fmt.Errorf("key: %w", err)
		}
		keys = append(keys, key)
	}
	all, err := src.attached(ctx, img.Digest)
	if err != nil {
		return fmt.Errorf("signatures: %w", err)
	}
	return anyGood(len(all), func(i int) error {
		err := errors.New("is by none of the keys that the policy names")
		for _, key := range keys {
			if verifyRaw(key, all[i].payload, all[i].signature) {
				err = r.checkStatement(all[i].payload, "cosign container image signature", s, img)
			}
		}
		return err
	})
}

func verifyRaw(key crypto.PublicKey, payload, signature []byte) bool {
	sum := sha256.Sum256(payload)
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(key, sum[:], signature)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature) == nil
	case ed25519.PublicKey:
		return ed25519.Verify(key, payload, signature)
	}
	return false
}

// signatures returns the simple signatures of an image: from the registry, or
// from where registries.d(5) has them, or what lies beside it.
func (s *source) signatures(ctx context.Context, img *Image, isInstance bool) ([][]byte, error) {
	src, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	var instance *digest.Digest
	if isInstance || s.instance() != nil || s.ref.transport == "containers-storage" {
		instance = &img.Digest
	}
	ctx, done := s.patience(ctx)
	all, err := src.GetSignatures(ctx, instance)
	if err = done(err); err != nil {
		return nil, explain(err)
	}
	return all, nil
}

// An attachment is a sigstore signature.
type attachment struct{ payload, signature []byte }

// attached returns the sigstore signatures of an image in a registry.
func (s *source) attached(ctx context.Context, d digest.Digest) ([]attachment, error) {
	if s.ref.transport != "docker" {
		return nil, fmt.Errorf("sigstore signatures are not looked for in %s: images, only in registries", s.ref.transport)
	}
	named, err := reference.WithName(s.ref.name)
	if err != nil {
		return nil, err
	}
	tagged, err := reference.WithTag(named, d.Algorithm().String()+"-"+d.Encoded()+".sig")
	if err != nil {
		return nil, err
	}
	r, err := docker.NewReference(tagged)
	if err != nil {
		return nil, err
	}
	request, done := s.patience(ctx)
	src, err := r.NewImageSource(request, s.system())
	if err = done(err); err != nil {
		if err = explain(err); errors.Is(err, ErrNotFound) {
			return nil, nil
		}
		return nil, err
	}
	defer src.Close()
	request, done = s.patience(ctx)
	raw, _, err := src.GetManifest(request, nil)
	if err = done(err); err != nil {
		return nil, explain(err)
	}
	return readAttachments(ctx, src, raw, s.o.IdleTimeout)
}

func readAttachments(ctx context.Context, src types.ImageSource, raw []byte, idle time.Duration) ([]attachment, error) {
	var m imgspec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, err
	}
	var all []attachment
	for _, l := range m.Layers[:min(len(m.Layers), maxSignatures)] {
		signature, err := base64.StdEncoding.DecodeString(l.Annotations[sigstoreSignature])
		if l.MediaType != sigstorePayload || len(signature) == 0 || err != nil || checkDigest("payload", l.Digest) != nil {
			continue
		}
		payload, err := readAttached(ctx, src, l, idle)
		if err != nil {
			return nil, err
		}
		all = append(all, attachment{payload, signature})
	}
	return all, nil
}

func readAttached(ctx context.Context, src types.ImageSource, l imgspec.Descriptor, idle time.Duration) ([]byte, error) {
	r, err := remoteBlob(ctx, src, types.BlobInfo{Digest: l.Digest, Size: l.Size}, idle)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxSignature))
	if err != nil {
		return nil, err
	}
	if got := digest.FromBytes(b); got != l.Digest {
		return nil, fmt.Errorf("payload: digest mismatch: it is %s", got)
	}
	return b, nil
}
