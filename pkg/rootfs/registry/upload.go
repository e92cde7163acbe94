package registry

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
)

const (
	// pieceSize is a little less than the largest request that GHCR accepts.
	pieceSize = 4<<20 - 64<<10
	maxTries  = 6 // of a blob, without progress
)

// An upload is the upload of one blob, see [Repo.PutBlob].
type upload struct {
	repo      *Repo
	ctx       context.Context
	blob      Blob
	mountFrom string
	progress  Progress
	content   Content
	how       Transfer

	location *url.URL // of the upload session; nil without one
	at       int64    // bytes that the registry has
	pieces   bool     // send pieces, with ranges
	least    int64    // smallest piece that the registry accepts

	mu   sync.Mutex // a cancelled request may read for a while
	sum  hash.Hash  // of the bytes read, from offset 0 on
	read int64      // number of those
	err  error      // of reading
}

// run sends the blob, and starts again after errors that may pass.
func (u *upload) run() error {
	var furthest int64
	for tries := 1; ; tries++ {
		answer, err := u.advance()
		if err == nil || u.ctx.Err() != nil {
			return errors.Join(err, u.ctx.Err())
		}
		if err := u.readError(); err != nil {
			return err
		}
		var no *final
		if errors.As(err, &no) || tries >= maxTries {
			return err
		}
		if err := u.repo.wait(u.ctx, tries-1, answer); err != nil {
			return err
		}
		if Status(err) == http.StatusRequestedRangeNotSatisfiable {
			u.location = nil
		}
		if there, err := u.locate(); there || err != nil {
			return err
		}
		if u.at > furthest {
			furthest, tries = u.at, 0
		}
	}
}

// final is an error that a retry does not change.
type final struct{ error }

func (f *final) Unwrap() error { return f.error }

// advance sends the rest of the blob, up to the first answer that is an error.
func (u *upload) advance() (*http.Response, error) {
	if u.location == nil {
		if there, err := u.begin(); there || err != nil {
			return nil, err
		}
	}
	for u.at < u.blob.Size {
		if resp, err := u.patch(); err != nil {
			return resp, err
		}
	}
	return nil, u.commit()
}

// begin begins an upload session, or mounts the blob from another repository.
func (u *upload) begin() (there bool, err error) {
	target := u.repo.url("blobs/uploads/")
	if u.mountFrom != "" {
		mount := *target
		mount.RawQuery = url.Values{"mount": {u.blob.Digest.String()}, "from": {u.mountFrom}}.Encode()
		resp, err := u.do(u.repo.remote.Client, http.MethodPost, &mount, nil, u.mountFrom)
		if err != nil {
			return false, &final{err}
		}
		switch resp.StatusCode {
		case http.StatusCreated:
			resp.Body.Close()
			u.how = Mounted
			u.progress.Done(u.blob.Size)
			return true, nil
		case http.StatusAccepted:
			return false, u.follow(resp)
		}
		resp.Body.Close() // no mount: the registry refused it
	}
	resp, err := u.do(u.repo.remote.Client, http.MethodPost, target, nil)
	if err != nil {
		return false, &final{err}
	}
	if err := check(resp, http.StatusAccepted); err != nil {
		return false, &final{err}
	}
	return false, u.follow(resp)
}

// follow takes the location of the next request from an answer.
func (u *upload) follow(resp *http.Response) error {
	resp.Body.Close()
	next, err := resp.Location()
	if err != nil {
		return &final{fmt.Errorf("the registry does not say where to send the blob: %w", err)}
	}
	if resp.Request.URL.Scheme == "https" && next.Scheme != "https" {
		return &final{fmt.Errorf("the registry wants the blob sent without TLS, to %s", next.Host)}
	}
	u.location = next
	if least, err := strconv.ParseInt(resp.Header.Get("OCI-Chunk-Min-Length"), 10, 64); err == nil {
		u.least = least
	}
	return nil
}

// patch sends the rest of the blob, or a piece of it.
func (u *upload) patch() (*http.Response, error) {
	n := u.blob.Size - u.at
	if u.pieces {
		n = min(n, max(pieceSize, u.least))
	}
	resp, err := u.do(u.repo.once, http.MethodPatch, u.location, &piece{u: u, from: u.at, at: u.at, end: u.at + n})
	if err != nil {
		return nil, err
	}
	if err := check(resp, http.StatusAccepted, http.StatusNoContent, http.StatusCreated); err != nil {
		if code := resp.StatusCode; code == http.StatusUnauthorized || code == http.StatusForbidden {
			return nil, &final{err}
		}
		return resp, err
	}
	if resp.Header.Get("Location") == "" {
		resp.Body.Close()
	} else if err := u.follow(resp); err != nil {
		return nil, err
	}
	u.at += n
	return nil, nil
}

// commit ends the session. Until then the registry does not have the blob.
func (u *upload) commit() error {
	if err := u.check(); err != nil {
		if resp, err := u.do(u.repo.remote.Client, http.MethodDelete, u.location, nil); err == nil {
			resp.Body.Close()
		}
		return &final{err}
	}
	target := *u.location
	q := target.Query()
	q.Set("digest", u.blob.Digest.String())
	target.RawQuery = q.Encode()
	resp, err := u.do(u.repo.remote.Client, http.MethodPut, &target, nil)
	if err != nil {
		return err
	}
	if err := check(resp, http.StatusCreated, http.StatusNoContent); err != nil {
		return err
	}
	u.how = Sent
	return resp.Body.Close()
}

// locate asks the registry how much it has, after an error. It has everything if
// only its answer was lost.
func (u *upload) locate() (there bool, err error) {
	last := u.location
	u.location, u.at, u.pieces = nil, 0, true
	if there, err := u.repo.exists(u.ctx, u.blob); there || err != nil {
		u.how = Sent
		return there, err
	}
	if last == nil {
		return false, nil
	}
	resp, err := u.do(u.repo.remote.Client, http.MethodGet, last, nil)
	if err != nil {
		return false, u.ctx.Err() // the session is lost, but a new one may succeed
	}
	defer resp.Body.Close()
	at, ok := offset(resp.Header.Get("Range"))
	if resp.StatusCode/100 != 2 || !ok || at > u.seen() {
		return false, nil
	}
	if next, err := resp.Location(); err == nil {
		last = next
	}
	u.location, u.at = last, at
	return false, nil
}

// offset returns the number of bytes in a range such as 0-1023. A range of 0-0
// counts as empty: if it is one byte, the registry refuses the next piece.
func offset(s string) (int64, bool) {
	var from, to int64
	s = strings.TrimLeft(s, "bytes= ")
	if n, _ := fmt.Sscanf(s, "%d-%d", &from, &to); n != 2 || from != 0 || to < 0 {
		return 0, false
	}
	if to == 0 {
		return 0, true
	}
	return to + 1, true
}

// A doer sends requests.
type doer interface {
	Do(*http.Request) (*http.Response, error)
}

// do sends a request, whose body is a piece of the blob or empty.
func (u *upload) do(client doer, method string, to *url.URL, p *piece, alsoReads ...string) (*http.Response, error) {
	ctx := u.ctx
	if len(alsoReads) > 0 {
		ctx = u.repo.Writable(ctx, alsoReads...)
	}
	req, err := http.NewRequestWithContext(ctx, method, to.String(), nil)
	if err != nil {
		return nil, err
	}
	if p == nil {
		return client.Do(req)
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	if u.pieces {
		req.Header.Set("Content-Range", fmt.Sprintf("%d-%d", p.from, p.end-1))
	}
	req.ContentLength = p.end - p.from
	req.Body = p
	req.GetBody = func() (io.ReadCloser, error) { // for a repetition with a new token
		return &piece{u: u, from: p.from, at: p.from, end: p.end}, nil
	}
	return client.Do(req)
}

// A piece is a part of the blob, as the body of a request.
type piece struct {
	u             *upload
	from, at, end int64
}

func (p *piece) Close() error { return nil }

func (p *piece) Read(b []byte) (int, error) {
	if p.at == p.end {
		return 0, io.EOF
	}
	n, err := p.u.content.ReadAt(b[:min(int64(len(b)), p.end-p.at)], p.at)
	if n > 0 {
		err = nil
	} else if err == io.EOF {
		err = fmt.Errorf("%w: the file ends at byte %d", ErrSource, p.at)
	}
	p.u.pass(p.at, b[:n], err)
	p.at += int64(n)
	return n, err
}

// pass records bytes that were read, some perhaps for the second time.
func (u *upload) pass(at int64, b []byte, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.err = errors.Join(u.err, err)
	if end := at + int64(len(b)); at <= u.read && end > u.read {
		fresh := b[u.read-at:]
		u.sum.Write(fresh)
		u.read = end
		u.progress.Done(int64(len(fresh)))
	}
}

func (u *upload) readError() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.err
}

func (u *upload) seen() int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.read
}

// check compares the bytes read with the digest.
func (u *upload) check() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if got := hex.EncodeToString(u.sum.Sum(nil)); u.read == u.blob.Size && got != u.blob.Digest.Encoded() {
		return fmt.Errorf("%w: its SHA-256 is %s", ErrSource, got)
	}
	return nil
}
