package registry

import (
	"context"

	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/pkg/sysregistriesv2"
)

// A Location is one location of a repository: a mirror, or the registry itself.
type Location = sysregistriesv2.PullSource

// Locations returns the locations of a repository in the order of
// registries.conf(5): mirrors first, the registry itself last. A blocked name is
// an [ErrForbidden].
func Locations(named reference.Named, o Options) ([]Location, error) {
	conf, err := sysregistriesv2.FindRegistry(o.System(), named.Name())
	if err != nil {
		return nil, err
	}
	if conf == nil {
		return []Location{{Reference: named}}, nil
	}
	if err := checkBlocked(named, conf); err != nil {
		return nil, err
	}
	return conf.PullSourcesFromReference(named)
}

func checkBlocked(named reference.Named, conf *sysregistriesv2.Registry) error {
	if conf != nil && conf.Blocked {
		return Errorf(ErrForbidden, "%s: registries.conf blocks %s", named.Name(), conf.Prefix)
	}
	return nil
}

// OpenLocation opens one of the [Locations] of a repository. The Login of the
// options goes only to the host of the repository's own name.
func OpenLocation(ctx context.Context, named reference.Named, at Location, o Options) (*Repo, error) {
	if at.Endpoint.Insecure && o.TLSVerify == nil {
		o.TLSVerify = new(bool)
	}
	if reference.Domain(at.Reference) != reference.Domain(named) {
		o.Login = nil
	}
	return Open(ctx, at.Reference, o)
}
