package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
)

const (
	readTimeout = time.Minute // of a server that sends nothing
	maxDownload = 64 << 30    // bytes
)

// ErrWebAccess is the error of a web server that denies access.
var ErrWebAccess = fmt.Errorf("web server: %w", registry.ErrAccess)

func isURL(name string) bool {
	return strings.HasPrefix(name, "https://") || strings.HasPrefix(name, "http://")
}

// Public returns a name without the parts of a URL that can hold secrets: the user,
// and the query, which has the signature of a signed URL.
func Public(name string) string {
	scheme, _, isURL := strings.Cut(name, "://")
	if !isURL {
		return name
	}
	u, err := url.Parse(name)
	if err != nil {
		return scheme + "://..."
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

// get fetches a URL. It accepts no content encoding, because the bytes of the file
// are hashed, and follows no redirect from https to http.
func get(ctx context.Context, from string) (io.ReadCloser, error) {
	client := &http.Client{
		Transport: registry.Patient(&http.Transport{
			Proxy: http.ProxyFromEnvironment, DisableCompression: true, DisableKeepAlives: true, ForceAttemptHTTP2: true,
		}, readTimeout),
		CheckRedirect: checkRedirect,
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	var resp *http.Response
	if err == nil {
		resp, err = client.Do(req)
	}
	var located *url.Error
	if errors.As(err, &located) { // its URL may be that of a redirect, with a signature
		err = fmt.Errorf("%s: %w", Public(from), located.Err)
	}
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	resp.Body.Close()
	err = fmt.Errorf("%s: %s", Public(from), resp.Status)
	if resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden {
		err = fmt.Errorf("%w: %w", err, ErrWebAccess)
	}
	return nil, err
}

func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) == 10 || via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
		return fmt.Errorf("redirected to %s", Public(req.URL.String()))
	}
	return nil
}

// getText fetches the text of a document.
func getText(ctx context.Context, from string) ([]byte, error) {
	body, err := get(ctx, from)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	text, err := stream.Read(body)
	if err != nil {
		err = fmt.Errorf("%s: %w", Public(from), err)
	}
	return text, err
}

// Download fetches a file of a stream from a web server to a path, and returns its
// size. The path appears when the file is complete and has the digest that the
// stream says. Progress is written the bytes of the file to count them; it may be
// nil.
func Download(ctx context.Context, d *stream.Download, path string, progress io.Writer) (size int64, err error) {
	body, err := get(ctx, d.Location)
	if err != nil {
		return 0, err
	}
	defer body.Close()
	out, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithPermissions(0o666))
	if err != nil {
		return 0, err
	}
	defer out.Cleanup()
	hash := sha256.New()
	to := io.MultiWriter(out, hash)
	if progress != nil {
		to = io.MultiWriter(out, hash, progress)
	}
	size, err = io.Copy(to, io.LimitReader(body, maxDownload+1))
	if err == nil && size > maxDownload {
		err = fmt.Errorf("more than %s", rootfs.Bytes(int64(maxDownload)))
	}
	if got := hex.EncodeToString(hash.Sum(nil)); err == nil && got != strings.ToLower(d.SHA256) {
		err = fmt.Errorf("%w: %s has sha256 %s, want %s", registry.ErrVerify, d.Location, got, d.SHA256)
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return size, out.CloseAtomicallyReplace()
}
