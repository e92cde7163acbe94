package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"go.podman.io/image/v5/docker"
	"go.podman.io/image/v5/docker/reference"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
)

// A policy is a containers-policy.json(5), read for two questions that need no
// signature: whether it rejects every image of a name, and whether it demands
// signatures at all. All else is decided by [go.podman.io/image/v5/signature], see
// verify.go.
type policy struct {
	file       string
	Default    requirements                       `json:"default"`
	Transports map[string]map[string]requirements `json:"transports"`
}

type requirements []struct {
	Type string `json:"type"`
}

func (all requirements) has(kind string) bool {
	for _, r := range all {
		if r.Type == kind {
			return true
		}
	}
	return false
}

// The types of requirements, as in containers-policy.json(5).
const (
	acceptAnything = "insecureAcceptAnything"
	reject         = "reject"
)

var requirementTypes = []string{acceptAnything, reject, "signedBy", "signedBaseLayer", "sigstoreSigned"}

// A subject is an image as policies know it.
type subject struct {
	transport string
	scopes    []string        // from the most specific to the least, without the empty one
	named     reference.Named // nil if it has no name in a registry
}

// parsePolicy reads a policy; file is its name for errors.
func parsePolicy(b []byte, file string) (*policy, error) {
	p := &policy{file: file}
	if err := json.Unmarshal(b, p); err != nil {
		return nil, fmt.Errorf("policy %s: %w", file, err)
	}
	if err := p.Default.check(); err != nil {
		return nil, fmt.Errorf("policy %s: default: %w", file, err)
	}
	for transport, scopes := range p.Transports {
		for scope, all := range scopes {
			if err := all.check(); err != nil {
				return nil, fmt.Errorf("policy %s: transport %s: scope %q: %w", file, transport, scope, err)
			}
		}
	}
	return p, nil
}

func (all requirements) check() error {
	if len(all) == 0 {
		return errors.New("no requirements: want at least one, such as insecureAcceptAnything")
	}
	for _, r := range all {
		if !slices.Contains(requirementTypes, r.Type) {
			return fmt.Errorf("unknown type of requirement %q", r.Type)
		}
	}
	return nil
}

// SignatureRequired reports whether an operating system with the given policy
// accepts only signed images of a name in a registry, such as example.org/os:stable.
// text is a containers-policy.json, and file its name for errors.
//
// ostree-ext calls an image signed only if the policy's default is not to accept
// anything, independent of the requirements for the name. It is an error if the
// system could not pull the image at all.
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
	signed := len(p.Default) > 1 || p.Default[0].Type != acceptAnything
	return signed && !p.apply(s).has(acceptAnything), nil
}

// apply returns the requirements for an image: those of the most specific scope
// that has any.
func (p *policy) apply(s subject) requirements {
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

// refuse is the error of an image that the policy does not accept.
func (p *policy) refuse(s subject, err error) error {
	if p.apply(s).has("sigstoreSigned") {
		err = fmt.Errorf("%w (sigstore signatures are read only where registries.d sets use-sigstore-attachments: true)", err)
	}
	return registry.Errorf(registry.ErrForbidden, "policy %s: %w", p.file, err)
}

// forbid returns an error if the policy rejects every image of a name.
func (p *policy) forbid(s subject) error {
	if p.apply(s).has(reject) {
		return registry.Errorf(registry.ErrForbidden, "policy %s: rejects it", p.file)
	}
	return nil
}
