package registry

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"go.podman.io/image/v5/pkg/tlsclientconfig"
)

// answerTimeout is long because some registries move a blob of gigabytes to its
// place before they answer.
const answerTimeout = 15 * time.Minute

// newTransport returns a transport with the certificates that are configured for
// a host. A connection that takes no data for the WriteTimeout is closed.
func newTransport(host string, o Options) (*http.Transport, error) {
	t := tlsclientconfig.NewTransport()
	dial, limit := t.DialContext, o.WriteTimeout
	if limit <= 0 {
		limit = DefaultTimeout
	}
	t.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return patientConn{c, limit}, nil
	}
	t.ResponseHeaderTimeout = answerTimeout
	t.WriteBufferSize = 64 << 10
	t.DisableCompression = true
	t.TLSClientConfig = &tls.Config{}
	if o.CertDir != "" {
		return t, tlsclientconfig.SetupCertificates(o.CertDir, t.TLSClientConfig)
	}
	for _, dir := range certDirs() {
		dir = filepath.Join(dir, host)
		if _, err := os.Stat(dir); err == nil {
			return t, tlsclientconfig.SetupCertificates(dir, t.TLSClientConfig)
		}
	}
	return t, nil
}

// certDirs returns the parents of the folders of certificates of each registry,
// see containers-certs.d(5).
func certDirs() []string {
	dirs := []string{"/etc/containers/certs.d", "/etc/docker/certs.d"}
	if config, err := os.UserConfigDir(); err == nil {
		dirs = append([]string{filepath.Join(config, "containers/certs.d")}, dirs...)
	}
	return dirs
}

// A patientConn is closed when the peer takes no data for the limit.
type patientConn struct {
	net.Conn
	limit time.Duration
}

func (c patientConn) Write(p []byte) (int, error) {
	timer := time.AfterFunc(c.limit, func() { c.Close() })
	n, err := c.Conn.Write(p)
	if !timer.Stop() && err != nil {
		err = stalled(c.limit)
	}
	return n, err
}

// stalled is the error of a connection that a patientConn closed.
type stalled time.Duration

func (s stalled) Error() string {
	return fmt.Sprintf("the registry took no data for %v", time.Duration(s))
}
func (s stalled) Unwrap() error { return net.ErrClosed }

// speaksTLS reports whether a host answers over TLS.
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
