package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"
)

// A policy is a containers-policy.json(5): what an image must bring to be
// used, by transport and by where it comes from.
type policy struct {
	file       string
	Default    []requirement                       `json:"default"`
	Transports map[string]map[string][]requirement `json:"transports"`
}

// A requirement is one thing that an image must fulfil; it must fulfil all that
// apply to it.
type requirement struct {
	Type           string        `json:"type"`
	KeyType        string        `json:"keyType"`
	KeyPath        string        `json:"keyPath"`
	KeyPaths       []string      `json:"keyPaths"`
	KeyData        []byte        `json:"keyData"`
	KeyDatas       [][]byte      `json:"keyDatas"`
	SignedIdentity *identityRule `json:"signedIdentity"`

	// What is refused when an image comes to it.
	Fulcio             json.RawMessage `json:"fulcio"`
	PKI                json.RawMessage `json:"pki"`
	RekorPublicKeyPath json.RawMessage `json:"rekorPublicKeyPath"`
	RekorKeyPaths      json.RawMessage `json:"rekorPublicKeyPaths"`
	RekorKeyData       json.RawMessage `json:"rekorPublicKeyData"`
	RekorKeyDatas      json.RawMessage `json:"rekorPublicKeyDatas"`
	BaseLayerIdentity  json.RawMessage `json:"baseLayerIdentity"`
}

// An identityRule says which name a signature must be for.
type identityRule struct {
	Type             string `json:"type"`
	DockerReference  string `json:"dockerReference"`
	DockerRepository string `json:"dockerRepository"`
	Prefix           string `json:"prefix"`
	SignedPrefix     string `json:"signedPrefix"`
}

// A subject is an image as policies know it.
type subject struct {
	transport string
	scopes    []string        // from the most specific on, without the empty one
	named     reference.Named // nil if it has no name in a registry
}

// readPolicy reads the policy of a file.
func readPolicy(file string) (*policy, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	return parsePolicy(b, file)
}

// parsePolicy reads a policy. What is in there and not understood is an error:
// it may have been meant to forbid something.
func parsePolicy(b []byte, file string) (*policy, error) {
	p := &policy{file: file}
	if err := strictJSON(b, p); err != nil {
		return nil, fmt.Errorf("policy %s: %w", file, err)
	}
	if err := checkRequirements(p.Default); err != nil {
		return nil, fmt.Errorf("policy %s: default: %w", file, err)
	}
	for transport, scopes := range p.Transports {
		for scope, all := range scopes {
			if err := checkRequirements(all); err != nil {
				return nil, fmt.Errorf("policy %s: transport %s: scope %q: %w", file, transport, scope, err)
			}
		}
	}
	return p, nil
}

// strictJSON decodes one value that has no members but those known, and none
// of them twice.
func strictJSON(b []byte, v any) error {
	if err := checkMembers(json.NewDecoder(bytes.NewReader(b)), 20); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("more than one JSON value")
	}
	return nil
}

// checkMembers refuses objects that name a member twice, of which decoders
// would use one or the other. Case does not tell members apart: our decoder
// does not look at it.
func checkMembers(d *json.Decoder, deep int) error {
	if deep == 0 {
		return errors.New("nested too deeply")
	}
	t, err := d.Token()
	if err != nil {
		return err
	}
	delim, _ := t.(json.Delim)
	seen := map[string]bool{}
	for delim != 0 && d.More() {
		if delim == '{' {
			name, err := d.Token()
			if err != nil {
				return err
			}
			key, _ := name.(string)
			if !strings.ContainsAny(key, "/.:@[") { // or it is a scope
				key = strings.ToLower(key)
			}
			if seen[key] {
				return fmt.Errorf("%q is there twice", key)
			}
			seen[key] = true
		}
		if err := checkMembers(d, deep-1); err != nil {
			return err
		}
	}
	if delim != 0 {
		_, err = d.Token()
	}
	return err
}

// SignatureRequired reports whether an operating system whose own policy is
// given (the text of a containers-policy.json, which is in file) takes nothing
// but signed images of a name in a registry, such as example.org/os:stable.
//
// ostree-ext speaks of a signed image only where the policy's default is more
// than to accept anything, no matter what the policy says of the name. It is
// an error if the system could not pull the image at all.
func SignatureRequired(text []byte, file, name string) (bool, error) {
	p, err := parsePolicy(text, file)
	if err != nil {
		return false, err
	}
	ref, err := docker.ParseReference("//" + name)
	if err != nil {
		return false, err
	}
	s := subjectOf(ref)
	if err := p.forbid(s); err != nil {
		return false, err
	}
	signed := len(p.Default) > 1 || p.Default[0].Type != "insecureAcceptAnything"
	return signed && !slices.ContainsFunc(p.apply(s), func(r requirement) bool { return r.Type == "insecureAcceptAnything" }), nil
}

func checkRequirements(all []requirement) error {
	if len(all) == 0 {
		return errors.New("no requirements: write insecureAcceptAnything if that is meant")
	}
	for _, r := range all {
		if err := r.check(); err != nil {
			return fmt.Errorf("%s: %w", r.Type, err)
		}
	}
	return nil
}

// check refuses a requirement that cannot be meant.
func (r requirement) check() error {
	keys := 0
	for _, there := range []bool{r.KeyPath != "", r.KeyPaths != nil, r.KeyData != nil, r.KeyDatas != nil} {
		if there {
			keys++
		}
	}
	switch r.Type {
	case "insecureAcceptAnything", "reject":
		if keys != 0 || r.KeyType != "" || r.SignedIdentity != nil {
			return errors.New("takes no keys and no identity")
		}
		return nil
	case "signedBy":
		if r.KeyType != "GPGKeys" {
			return fmt.Errorf("keyType %q is not GPGKeys", r.KeyType)
		}
	case "sigstoreSigned":
		if r.KeyType != "" {
			return errors.New("takes no keyType")
		}
		if r.Fulcio != nil || r.PKI != nil {
			return nil // refused where it applies
		}
	case "signedBaseLayer":
		return nil
	default:
		return errors.New("no such type of requirement")
	}
	if keys != 1 {
		return errors.New("wants one of keyPath, keyPaths, keyData and keyDatas")
	}
	if r.SignedIdentity != nil {
		return r.SignedIdentity.check()
	}
	return nil
}

// apply returns what a policy requires of an image: that of the most specific
// scope that has any.
func (p *policy) apply(s subject) []requirement {
	scopes, ok := p.Transports[s.transport]
	if !ok {
		return p.Default
	}
	for _, scope := range append(slices.Clone(s.scopes), "") {
		if all, ok := scopes[scope]; ok {
			return all
		}
	}
	return p.Default
}

// forbid is the part of a policy that needs to see nothing of the image.
func (p *policy) forbid(s subject) error {
	for _, r := range p.apply(s) {
		if r.Type == "reject" {
			return failf(ErrForbidden, "policy %s: rejects it", p.file)
		}
	}
	return nil
}

// allow checks an image whose manifest is known.
func (p *policy) allow(ctx context.Context, src *source, s subject, img *Image, isInstance bool) error {
	if err := p.forbid(s); err != nil {
		return err
	}
	for _, r := range p.apply(s) {
		var err error
		switch {
		case r.Type == "insecureAcceptAnything":
		case r.Type == "signedBy":
			err = r.allowSigned(ctx, src, s, img, isInstance)
		case r.Type == "sigstoreSigned" && r.Fulcio == nil && r.PKI == nil && r.rekor() == nil:
			err = r.allowSigstore(ctx, src, s, img)
		default:
			err = errors.New("certificates, transparency logs and base layers are not supported: use a key")
		}
		if err != nil {
			return failf(ErrForbidden, "policy %s: %s: %w", p.file, r.Type, err)
		}
	}
	return nil
}

func (r requirement) rekor() json.RawMessage {
	return slices.Concat(r.RekorPublicKeyPath, r.RekorKeyPaths, r.RekorKeyData, r.RekorKeyDatas)
}

// keys returns the keys of a requirement, as they are in the files.
func (r requirement) keys() ([][]byte, error) {
	all := r.KeyDatas
	if r.KeyData != nil {
		all = [][]byte{r.KeyData}
	}
	names := r.KeyPaths
	if r.KeyPath != "" {
		names = []string{r.KeyPath}
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		all = append(all, b)
	}
	return all, nil
}

func (i identityRule) check() error {
	switch i.Type {
	case "matchExact", "matchRepoDigestOrExact", "matchRepository":
		return nil
	case "exactReference":
		n, err := reference.ParseNormalizedNamed(i.DockerReference)
		if err == nil && reference.IsNameOnly(n) {
			err = fmt.Errorf("%s: has neither tag nor digest", i.DockerReference)
		}
		return err
	case "exactRepository":
		_, err := reference.ParseNormalizedNamed(i.DockerRepository)
		return err
	case "remapIdentity":
		if i.Prefix == "" || i.SignedPrefix == "" {
			return errors.New("remapIdentity wants prefix and signedPrefix")
		}
		return nil
	}
	return fmt.Errorf("signedIdentity of type %q", i.Type)
}

// matches reports whether a signature for a name is one for the image, whose
// name may be nil. A signature for a repository covers a tag only where the
// rule says so, a signature for a tag covers an image asked for by digest.
func (i identityRule) matches(image reference.Named, signed string) bool {
	n, err := reference.ParseNormalizedNamed(signed)
	if err != nil {
		return false
	}
	switch i.Type {
	case "exactReference":
		want, err := reference.ParseNormalizedNamed(i.DockerReference)
		return err == nil && !reference.IsNameOnly(n) && want.String() == n.String()
	case "exactRepository":
		want, err := reference.ParseNormalizedNamed(i.DockerRepository)
		return err == nil && want.Name() == n.Name()
	}
	if image == nil {
		return false
	}
	switch i.Type {
	case "matchRepository":
		return image.Name() == n.Name()
	case "matchExact":
		return !reference.IsNameOnly(image) && !reference.IsNameOnly(n) && image.String() == n.String()
	case "remapIdentity":
		if image, err = i.remap(image); err != nil {
			return false
		}
	}
	if _, ok := image.(reference.Canonical); ok {
		return image.Name() == n.Name()
	}
	return !reference.IsNameOnly(image) && !reference.IsNameOnly(n) && image.String() == n.String()
}

// remap puts the signed prefix in the place of the prefix of a name: a host,
// or a whole number of components of it.
func (i identityRule) remap(image reference.Named) (reference.Named, error) {
	rest, ok := strings.CutPrefix(image.String(), i.Prefix)
	if !ok || rest != "" && !strings.ContainsRune("/:@", rune(rest[0])) || strings.HasPrefix(rest, ":") && !strings.Contains(i.Prefix, "/") {
		return image, nil
	}
	return reference.ParseNormalizedNamed(i.SignedPrefix + rest)
}
