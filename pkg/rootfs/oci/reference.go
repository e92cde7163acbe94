package oci

import (
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/pkg/sysregistriesv2"
	"go.podman.io/image/v5/types"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
)

// A ref is a parsed reference.
type ref struct {
	transport string        // "docker", "oci", "oci-archive", "dir", "docker-archive" or "containers-storage"
	name      string        // repository with its host, or path, or store and name
	tag       string        // may be empty; in a docker-archive a whole name, or @ and a number
	digest    digest.Digest // may be empty
	short     string        // the given name without a host; name is a guess then
}

func parseReference(s string) (ref, error) {
	transport, rest, ok := strings.Cut(s, ":")
	switch {
	case ok && transport == "docker" && strings.HasPrefix(rest, "//"):
		return parseDocker(s, rest[2:])
	case ok && (transport == "oci" || transport == "oci-archive" || transport == "dir"):
		return parsePath(s, transport, rest)
	case ok && (transport == "docker-archive" || transport == "containers-storage"):
		return parseLocal(s, transport, rest)
	case strings.HasPrefix(s, "/") || strings.HasPrefix(s, "."):
		return ref{}, fmt.Errorf("%s: looks like a path: write oci:%s or oci-archive:%s", s, s, s)
	case ok && strings.HasPrefix(rest, "//") || transport == "docker-daemon":
		return ref{}, fmt.Errorf("%s: transport %q is not supported: docker://, oci:, oci-archive:, dir:, docker-archive: and containers-storage: are", s, transport)
	}
	r, err := parseDocker(s, s)
	if host, _, ok := strings.Cut(s, "/"); err == nil && (!ok || !strings.ContainsAny(host, ".:") && host != "localhost") {
		r.short, _, _ = strings.Cut(s, "@")
		if i := strings.LastIndex(r.short, ":"); i >= 0 {
			r.short = r.short[:i]
		}
	}
	return r, err
}

// qualify adds the registry to a short name. The meaning of a short name must not depend on
// the content of several registries.
func (r ref) qualify(sys *types.SystemContext) (ref, error) {
	if r.short == "" {
		return r, nil
	}
	alias, _, err := sysregistriesv2.ResolveShortNameAlias(sys, r.short)
	if err != nil {
		return r, fmt.Errorf("%s: %w", r.short, err)
	}
	if alias != nil {
		r.name, r.short = alias.Name(), ""
		return r, nil
	}
	registries, err := sysregistriesv2.UnqualifiedSearchRegistries(sys)
	if err != nil {
		return r, fmt.Errorf("%s: %w", r.short, err)
	}
	switch len(registries) {
	case 0:
		return r, fmt.Errorf("%s: names no registry, and registries.conf has no alias and no registry to search; the full name may be %s", r.short, r.name)
	case 1:
		named, err := reference.ParseNormalizedNamed(registries[0] + "/" + r.short)
		if err != nil {
			return r, fmt.Errorf("%s: %w", r.short, err)
		}
		r.name, r.short = named.Name(), ""
		return r, nil
	}
	return r, fmt.Errorf("%s: names no registry, and registries.conf has several to search; use one of %s/%[1]s", r.short, strings.Join(registries, "/"+r.short+", "))
}

func parseDocker(s, rest string) (ref, error) {
	named, err := reference.ParseNormalizedNamed(rest)
	if err != nil {
		return ref{}, fmt.Errorf("%s: %w", s, err)
	}
	r := ref{transport: "docker", name: named.Name()}
	if t, ok := named.(reference.Tagged); ok {
		r.tag = t.Tag()
	}
	if d, ok := named.(reference.Digested); ok {
		r.digest = d.Digest()
	}
	if r.tag == "" && r.digest == "" {
		r.tag = "latest"
	}
	return r, checkDigest(s, r.digest)
}

// Named parses a reference to a registry as [Resolve] does: registries.conf defines
// short names and may block others. A digest replaces the tag.
func Named(s string, o registry.Options) (reference.Named, error) {
	sys := o.System()
	r, err := parseReference(s)
	if err != nil {
		return nil, err
	}
	if r.transport != "docker" {
		return nil, fmt.Errorf("%s: not in a registry", s)
	}
	if r, err = r.qualify(sys); err != nil {
		return nil, err
	}
	if err := r.checkBlocked(sys); err != nil {
		return nil, err
	}
	return r.named()
}

// named returns the name of the image in a registry.
func (r ref) named() (reference.Named, error) {
	named, err := reference.WithName(r.name)
	if err != nil {
		return nil, err
	}
	if r.digest != "" {
		return reference.WithDigest(named, r.digest)
	}
	return reference.WithTag(named, r.tag)
}

func parsePath(s, transport, rest string) (ref, error) {
	r := ref{transport: transport, name: rest}
	if i := strings.LastIndex(rest, "@"); i >= 0 && strings.Contains(rest[i:], ":") {
		r.name, r.digest = rest[:i], digest.Digest(rest[i+1:])
	}
	if transport != "dir" {
		r.name, r.tag, _ = strings.Cut(r.name, ":")
	}
	if r.name == "" {
		return ref{}, fmt.Errorf("%s: names no path", s)
	}
	return r, checkDigest(s, r.digest)
}

// parseLocal parses references that end with a name of an image.
func parseLocal(s, transport, rest string) (ref, error) {
	r := ref{transport: transport, name: rest}
	if i := strings.LastIndex(rest, "@sha"); i >= 0 && strings.Contains(rest[i:], ":") {
		r.name, r.digest = rest[:i], digest.Digest(rest[i+1:])
	}
	if transport == "docker-archive" {
		r.name, r.tag, _ = strings.Cut(r.name, ":")
	}
	if r.name == "" {
		return ref{}, fmt.Errorf("%s: names nothing", s)
	}
	if transport == "containers-storage" {
		if _, _, name, err := splitStorage(r.name); err != nil || name == "" {
			return ref{}, fmt.Errorf("%s: names no image", s)
		}
	}
	return r, checkDigest(s, r.digest)
}

// checkBlocked rejects an image whose name registries.conf blocks. The library compares only
// the location, and not at all for cached images.
func (r ref) checkBlocked(sys *types.SystemContext) error {
	if r.transport != "docker" {
		return nil
	}
	conf, err := sysregistriesv2.FindRegistry(sys, r.name)
	if err != nil {
		return fmt.Errorf("%s: %w", r, err)
	}
	if conf != nil && conf.Blocked {
		return registry.Errorf(registry.ErrForbidden, "%s: registries.conf blocks %s", r, conf.Prefix)
	}
	return nil
}

// checkDigest validates a digest that may be empty.
func checkDigest(what string, d digest.Digest) error {
	if d == "" {
		return nil
	}
	if err := registry.CheckDigest(d); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// String returns the reference with its transport, as skopeo reads it.
func (r ref) String() string {
	s := r.transport + ":"
	if r.transport == "docker" {
		s += "//"
	}
	s += r.name
	if r.tag != "" {
		s += ":" + r.tag
	}
	if r.digest != "" {
		s += "@" + r.digest.String()
	}
	return s
}
