package registry

import (
	"context"

	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
)

const maxPages = 16 // of a list of referrers

// SetReferrers says whether the registry lists referrers itself. If not, a
// manifest that is pushed with a subject is added to the list under the fallback
// tag. Call it before the repository is used by several goroutines.
func (r *Repo) SetReferrers(api bool) {
	old := r.remote
	r.remote = newRemote(old.Client, old.Reference, old.PlainHTTP)
	r.remote.ReferrerListMaxPages = 0 // a publisher looks for its own
	_ = r.remote.SetReferrersCapability(api)
}

// Referrers lists the manifests whose subject is a manifest. Unless
// [Repo.SetReferrers] has decided it, the list comes from the registry's API, or
// from the fallback tag sha256-HEX if that fails.
func (r *Repo) Referrers(ctx context.Context, subject imgspec.Descriptor) ([]imgspec.Descriptor, error) {
	all, err := r.listReferrers(ctx, subject)
	if err != nil && r.remote.SetReferrersCapability(false) == nil {
		all, err = r.listReferrers(ctx, subject) // not every registry answers 404 to an unknown request
	}
	return all, explain("referrers of "+subject.Digest.String(), err)
}

func (r *Repo) listReferrers(ctx context.Context, subject imgspec.Descriptor) (all []imgspec.Descriptor, err error) {
	err = r.remote.Referrers(ctx, subject, "", func(some []imgspec.Descriptor) error {
		all = append(all, some...)
		return nil
	})
	return all, err
}
