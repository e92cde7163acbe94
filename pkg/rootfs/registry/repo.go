package registry

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sync/atomic"

	"go.podman.io/image/v5/docker/reference"
	dockerconfig "go.podman.io/image/v5/pkg/docker/config"
	"go.podman.io/image/v5/pkg/sysregistriesv2"
	"go.podman.io/image/v5/types"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/retry"
)

// A Repo is a repository. Any number of goroutines may use it at once.
type Repo struct {
	remote  *remote.Repository // its client repeats failed requests
	once    *auth.Client       // sends a request once, or once more with credentials
	backoff retry.Backoff
	noRange atomic.Bool // the registry answers requests for ranges with other ranges
}

// Open returns a repository. It sends no request, with one exception: where
// plain HTTP is allowed, it finds out whether the registry needs that.
func Open(ctx context.Context, named reference.Named, o Options) (*Repo, error) {
	sys := o.System()
	conf, err := sysregistriesv2.FindRegistry(sys, named.Name())
	if err != nil {
		return nil, err
	}
	if err := checkBlocked(named, conf); err != nil {
		return nil, err
	}
	login, err := dockerconfig.GetCredentialsForRef(sys, named)
	if err != nil {
		return nil, fmt.Errorf("credentials for %s: %w", named.Name(), CredentialsError(o.AuthFile, err))
	}
	transport, err := newTransport(reference.Domain(named), o)
	if err != nil {
		return nil, err
	}
	ref := registry.Reference{Registry: reference.Domain(named), Repository: reference.Path(named)}
	plain := false
	if o.TLSVerify == nil && conf != nil && conf.Insecure || o.TLSVerify != nil && !*o.TLSVerify {
		transport.TLSClientConfig.InsecureSkipVerify = true
		plain = !speaksTLS(ctx, transport, ref.Host())
	}
	var base http.RoundTripper = transport
	if o.ReadTimeout > 0 {
		base = Patient(transport, o.ReadTimeout)
	}
	r := &Repo{once: newClient(base, ref.Host(), login), backoff: backoff(o.Backoff)}
	repeating := *r.once
	repeating.Client = &http.Client{Transport: &retry.Transport{Base: base, Policy: r.policy}}
	r.remote = newRemote(&repeating, ref, plain)
	return r, nil
}

// newClient returns a client that sends credentials to one host only.
func newClient(base http.RoundTripper, host string, login types.DockerAuthConfig) *auth.Client {
	return &auth.Client{
		Client: &http.Client{Transport: base},
		Header: http.Header{"User-Agent": {userAgent}},
		Cache:  auth.NewCache(),
		Credential: func(_ context.Context, hostport string) (auth.Credential, error) {
			if hostport != host {
				return auth.EmptyCredential, nil
			}
			if login.Username != "" && login.Password == "" && login.IdentityToken == "" {
				return auth.EmptyCredential, fmt.Errorf("%w: no password for the user %s", ErrAccess, login.Username)
			}
			return auth.Credential{Username: login.Username, Password: login.Password, RefreshToken: login.IdentityToken}, nil
		},
	}
}

func newRemote(client remote.Client, ref registry.Reference, plain bool) *remote.Repository {
	return &remote.Repository{
		Client: client, Reference: ref, PlainHTTP: plain,
		SkipReferrersGC:      true, // many registries do not support deletion
		ReferrerListMaxPages: maxPages,
	}
}

// Writable returns a context whose requests ask for a token that allows writing
// to the repository, and reading other repositories of the same registry.
func (r *Repo) Writable(ctx context.Context, others ...string) context.Context {
	ctx = auth.AppendRepositoryScope(ctx, r.remote.Reference, auth.ActionPull, auth.ActionPush)
	for _, name := range others {
		ref := r.remote.Reference
		ref.Repository = name
		ctx = auth.AppendRepositoryScope(ctx, ref, auth.ActionPull)
	}
	return ctx
}

// url returns the URL of a path in the repository, such as manifests/TAG.
func (r *Repo) url(path string) *url.URL {
	scheme := "https"
	if r.remote.PlainHTTP {
		scheme = "http"
	}
	ref := r.remote.Reference
	return &url.URL{Scheme: scheme, Host: ref.Host(), Path: "/v2/" + ref.Repository + "/" + path}
}

// get sends a GET request for a path in the repository.
func (r *Repo) get(ctx context.Context, path string, header http.Header) (*http.Response, error) {
	ctx = auth.AppendRepositoryScope(ctx, r.remote.Reference, auth.ActionPull)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url(path).String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header = header
	resp, err := r.remote.Client.Do(req)
	if err == nil {
		err = check(resp, http.StatusOK, http.StatusPartialContent)
	}
	return resp, explain(path, err)
}
