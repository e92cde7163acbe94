// Package registry opens repositories in registries as skopeo does: with the
// credentials, certificates and exceptions that the machine is configured with.
//
// What fails for a reason that may pass is repeated, as late as the registry
// asks for. Credentials are sent to the registry and to where it takes tokens
// from, never to a host that it redirects to.
package registry

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"go.podman.io/image/v5/docker/reference"
	dockerconfig "go.podman.io/image/v5/pkg/docker/config"
	"go.podman.io/image/v5/pkg/sysregistriesv2"
	"go.podman.io/image/v5/pkg/tlsclientconfig"
	"go.podman.io/image/v5/types"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"
	"oras.land/oras-go/v2/registry/remote/retry"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/oci"
)

const (
	maxRetry  = 6           // times that a request is repeated
	maxWait   = time.Minute // before it is, whatever the registry asks for
	maxAnswer = 1 << 20     // bytes of an error

	// Some registries move a blob of gigabytes to its place before they answer.
	answerTimeout = 15 * time.Minute
)

// Options say how registries may be talked to. The zero value is good.
type Options struct {
	AuthFile     string     // credentials; default as in containers-auth.json(5)
	Login        *oci.Login // credentials for the registry that is named; nil takes those of the files
	CertDir      string     // folder of certificates for every registry; default is one of CertDirs
	CertDirs     []string   // where a folder may be with certificates for the registry, see containers-certs.d(5)
	TLSVerify    *bool      // false allows plain HTTP and unknown certificates; default as in registries.conf
	RegistryConf string     // a registries.conf; default is the system's

	IdleTimeout time.Duration // how long a registry may take nothing; default is two minutes
	ReadTimeout time.Duration // how long it may send nothing; default is no limit, for it may have much to do before it answers
	Backoff     time.Duration // before what failed is tried again, for the first time; default is 250 ms
}

// A Source is a place of a repository: a mirror, or the registry itself.
type Source = sysregistriesv2.PullSource

// Sources returns the places of a repository in the order of registries.conf:
// mirrors first, the registry's own location last. A blocked name is refused.
func Sources(named reference.Named, o Options) ([]Source, error) {
	conf, err := sysregistriesv2.FindRegistry(o.system(), named.Name())
	if err != nil {
		return nil, err
	}
	if conf == nil {
		return []Source{{Reference: named}}, nil
	}
	if err := checkBlocked(named, conf); err != nil {
		return nil, err
	}
	return conf.PullSourcesFromReference(named)
}

func checkBlocked(named reference.Named, conf *sysregistriesv2.Registry) error {
	if conf != nil && conf.Blocked {
		return fmt.Errorf("%s: registries.conf blocks %s: %w", named.Name(), conf.Prefix, oci.ErrForbidden)
	}
	return nil
}

// OpenSource opens one of the [Sources] of a repository. A Login is sent only to
// the host of the repository's own name.
func OpenSource(ctx context.Context, named reference.Named, src Source, o Options) (*Repo, error) {
	if src.Endpoint.Insecure && o.TLSVerify == nil {
		o.TLSVerify = new(bool)
	}
	if reference.Domain(src.Reference) != reference.Domain(named) {
		o.Login = nil
	}
	return Open(ctx, src.Reference, o)
}

func (o Options) system() *types.SystemContext {
	return &types.SystemContext{AuthFilePath: o.AuthFile, DockerAuthConfig: o.Login, SystemRegistriesConfPath: o.RegistryConf}
}

// A Repo is a repository.
type Repo struct {
	*remote.Repository              // its client repeats what fails
	Once               *auth.Client // sends a request once, or once more with credentials
	Backoff            retry.Backoff
}

// Open returns the repository at a place, with its registry. It sends no request,
// except to find out whether a registry needs plain HTTP, if that is allowed.
func Open(ctx context.Context, named reference.Named, o Options) (*Repo, error) {
	sys := o.system()
	conf, err := sysregistriesv2.FindRegistry(sys, named.Name())
	if err != nil {
		return nil, err
	}
	if err := checkBlocked(named, conf); err != nil {
		return nil, err
	}
	login, err := dockerconfig.GetCredentialsForRef(sys, named)
	if err != nil {
		return nil, fmt.Errorf("credentials for %s: %w", named.Name(), oci.CredentialsError(o.AuthFile, err))
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
		base = oci.Patient(transport, o.ReadTimeout)
	}
	r := &Repo{Backoff: backoff(o.Backoff)}
	policy := &retry.GenericPolicy{Retryable: retryable, Backoff: r.Backoff, MaxWait: maxWait, MaxRetry: maxRetry}
	r.Once = &auth.Client{
		Client: &http.Client{Transport: base},
		Header: http.Header{"User-Agent": {"ohp-assemble"}},
		Cache:  auth.NewCache(),
		Credential: func(_ context.Context, hostport string) (auth.Credential, error) {
			if hostport != ref.Host() {
				return auth.EmptyCredential, nil
			}
			if login.Username != "" && login.Password == "" && login.IdentityToken == "" {
				return auth.EmptyCredential, fmt.Errorf("%w: no password for the user %s", oci.ErrAccess, login.Username)
			}
			return auth.Credential{Username: login.Username, Password: login.Password, RefreshToken: login.IdentityToken}, nil
		},
	}
	repeating := *r.Once
	repeating.Client = &http.Client{Transport: &retry.Transport{Base: base, Policy: func() retry.Policy { return policy }}}
	r.Repository = &remote.Repository{
		Client: &repeating, Reference: ref, PlainHTTP: plain,
		SkipReferrersGC: true, // many registries delete nothing
	}
	return r, nil
}

// SetReferrers says whether the registry lists referrers itself. If not, what is
// pushed with a subject is put into a list under a tag.
func (r *Repo) SetReferrers(api bool) {
	old := r.Repository
	r.Repository = &remote.Repository{Client: old.Client, Reference: old.Reference, PlainHTTP: old.PlainHTTP, SkipReferrersGC: true}
	_ = r.SetReferrersCapability(api) // fails if it was set before
}

// newTransport returns a transport with the certificates that are configured
// for a host, and with little patience.
func newTransport(host string, o Options) (*http.Transport, error) {
	t := tlsclientconfig.NewTransport()
	dial, idle := t.DialContext, o.IdleTimeout
	if idle <= 0 {
		idle = 2 * time.Minute
	}
	t.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return patientConn{c, idle}, nil
	}
	t.ResponseHeaderTimeout = answerTimeout
	t.WriteBufferSize = 64 << 10
	t.DisableCompression = true
	t.TLSClientConfig = &tls.Config{}
	if o.CertDir != "" {
		return t, tlsclientconfig.SetupCertificates(o.CertDir, t.TLSClientConfig)
	}
	for _, dir := range o.CertDirs {
		dir = filepath.Join(dir, host)
		if _, err := os.Stat(dir); err == nil {
			return t, tlsclientconfig.SetupCertificates(dir, t.TLSClientConfig)
		}
	}
	return t, nil
}

// A patientConn is closed when who is at its other end takes nothing for some time.
type patientConn struct {
	net.Conn
	idle time.Duration
}

func (c patientConn) Write(p []byte) (int, error) {
	timer := time.AfterFunc(c.idle, func() { c.Close() })
	n, err := c.Conn.Write(p)
	if !timer.Stop() && err != nil {
		err = stalled(c.idle)
	}
	return n, err
}

// stalled is the error of a connection that was closed for that.
type stalled time.Duration

func (s stalled) Error() string {
	return fmt.Sprintf("the registry took nothing for %v", time.Duration(s))
}
func (s stalled) Unwrap() error { return net.ErrClosed }

// speaksTLS reports whether a host that need not does.
func speaksTLS(ctx context.Context, t http.RoundTripper, host string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+"/v2/", nil)
	if err != nil {
		return true
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return true
}

// retryable reports whether a request may have better luck next time.
func retryable(resp *http.Response, err error) (bool, error) {
	if err == nil {
		return Passing(resp.StatusCode), nil
	}
	return Lost(err) && !errors.Is(err, syscall.ECONNREFUSED), nil // which is more often a wrong name
}

// Passing reports whether an answer is one of a registry that has trouble.
func Passing(status int) bool {
	return slices.Contains([]int{http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout}, status)
}

// Lost reports whether an error is that of a connection that broke.
func Lost(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout() && !errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNREFUSED) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// backoff waits as long as the registry asks for, or ever longer.
func backoff(first time.Duration) retry.Backoff {
	if first <= 0 {
		first = 250 * time.Millisecond
	}
	grow := retry.ExponentialBackoff(first, 2, 0.1)
	return func(attempt int, resp *http.Response) time.Duration {
		if resp != nil {
			after := resp.Header.Get("Retry-After")
			if s, err := strconv.ParseUint(after, 10, 16); err == nil {
				return min(time.Duration(s)*time.Second, maxWait)
			}
			at, err := http.ParseTime(after)
			now, nowErr := http.ParseTime(resp.Header.Get("Date"))
			if err == nil && nowErr == nil {
				return min(at.Sub(now), maxWait)
			}
		}
		return min(grow(attempt, nil), maxWait)
	}
}

// Scoped returns a context for requests that write to the repository, and read
// of others in the same registry.
func (r *Repo) Scoped(ctx context.Context, others ...string) context.Context {
	ctx = auth.AppendRepositoryScope(ctx, r.Reference, auth.ActionPull, auth.ActionPush)
	for _, name := range others {
		ref := r.Reference
		ref.Repository = name
		ctx = auth.AppendRepositoryScope(ctx, ref, auth.ActionPull)
	}
	return ctx
}

// URL returns the URL of something in the repository, as manifests/TAG.
func (r *Repo) URL(what string) *url.URL {
	scheme := "https"
	if r.PlainHTTP {
		scheme = "http"
	}
	return &url.URL{Scheme: scheme, Host: r.Reference.Host(), Path: "/v2/" + r.Reference.Repository + "/" + what}
}

// Check returns the error that an answer is, unless it has one of the statuses
// that are good. The body of what is no error is the caller's to close.
func Check(resp *http.Response, good ...int) error {
	if slices.Contains(good, resp.StatusCode) {
		return nil
	}
	defer resp.Body.Close()
	var body struct{ Errors errcode.Errors }
	_ = json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&body) // or there is no more to say
	return &errcode.ErrorResponse{Method: resp.Request.Method, URL: resp.Request.URL, StatusCode: resp.StatusCode, Errors: body.Errors}
}

// Status returns the status of the answer that an error is, or 0.
func Status(err error) int {
	var answer *errcode.ErrorResponse
	if errors.As(err, &answer) {
		return answer.StatusCode
	}
	return 0
}

// Explain says what was asked for when an error came, and gives it the kind that
// it has. It leaves URLs out: one that a registry redirects to may be as good
// as a password.
func Explain(what string, err error) error {
	if err == nil {
		return nil
	}
	var answer *errcode.ErrorResponse
	var located *url.Error
	switch {
	case errors.As(err, &answer):
		text := strings.ToLower(http.StatusText(answer.StatusCode))
		if len(answer.Errors) > 0 {
			text = answer.Errors.Error()
		}
		err = answered{fmt.Sprintf("the registry answers %d %s", answer.StatusCode, text), answer}
		if answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden {
			return fmt.Errorf("%s: %w: %w", what, oci.ErrAccess, err)
		}
	case errors.Is(err, auth.ErrBasicCredentialNotFound):
		return fmt.Errorf("%s: %w: there are no credentials for the registry", what, oci.ErrAccess)
	case errors.As(err, &located):
		err = located.Err
	}
	return fmt.Errorf("%s: %w", what, err)
}

// answered is an answer of a registry as people are shown it.
type answered struct {
	text string
	*errcode.ErrorResponse
}

func (a answered) Error() string { return a.text }
func (a answered) Unwrap() error { return a.ErrorResponse }
