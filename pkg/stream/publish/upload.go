package publish

import (
	"context"
	"crypto/sha256"
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
	"time"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/oci"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/registry"
)

const (
	// pieceSize is what a blob is sent in once it cannot be sent in one go: a
	// little less than the most that GHCR takes at once.
	pieceSize = 4<<20 - 64<<10
	maxTries  = 6 // of a blob, without getting further
)

// An uploader sends blobs to a repository, any number at once.
type uploader struct {
	repo     *registry.Repo
	from     string // repository that may have blobs already; empty for none
	progress oci.Progress
}

// put sees that a blob is in the repository, and returns how it came there:
// there, mounted or sent.
func (u *uploader) put(ctx context.Context, b blob) (string, error) {
	there, err := u.repo.Blobs().Exists(ctx, b.desc)
	if err != nil {
		return "", err
	}
	if there {
		u.progress.Done(b.desc.Size)
		return "there", nil
	}
	content, err := b.open()
	if err != nil {
		return "", err
	}
	defer content.Close()
	s := &session{u: u, ctx: u.repo.Scoped(ctx), b: b, content: content, sum: sha256.New()}
	if err := s.run(); err != nil {
		return "", err
	}
	return s.how, nil
}

// A session is the upload of one blob. A blob goes out in one request, as
// docker and skopeo send it. When that breaks off, the registry is asked what
// it has, and gets the rest in pieces; one that cannot tell gets the blob anew.
type session struct {
	u       *uploader
	ctx     context.Context
	b       blob
	content *openBlob
	how     string

	location *url.URL // where to send it to; nil before it is known
	at       int64    // bytes that the registry has
	pieces   bool
	least    int64 // bytes of a piece that the registry wants

	mu   sync.Mutex // a request that was given up may still read for a while
	sum  hash.Hash  // of what was read, from the beginning
	read int64      // bytes of that
	err  error      // of reading
}

// run sends the blob, however often that must be begun.
func (s *session) run() error {
	var furthest int64
	for tries := 1; ; tries++ {
		answer, err := s.advance()
		if err == nil || s.ctx.Err() != nil {
			return errors.Join(err, s.ctx.Err())
		}
		if err := s.readError(); err != nil {
			return err
		}
		var no *final
		if errors.As(err, &no) || tries >= maxTries {
			return err
		}
		select {
		case <-s.ctx.Done():
			return s.ctx.Err()
		case <-time.After(s.u.repo.Backoff(tries-1, answer)):
		}
		if registry.Status(err) == http.StatusRequestedRangeNotSatisfiable {
			s.location = nil
		}
		if there, err := s.locate(); there || err != nil {
			return err
		}
		if s.at > furthest {
			furthest, tries = s.at, 0
		}
	}
}

// final is an error that no repetition helps against.
type final struct{ error }

func (f *final) Unwrap() error { return f.error }

// advance does what is left to do, up to the first answer that is no success.
func (s *session) advance() (*http.Response, error) {
	if s.location == nil {
		if there, err := s.begin(); there || err != nil {
			return nil, err
		}
	}
	for s.at < s.b.desc.Size {
		if resp, err := s.patch(); err != nil {
			return resp, err
		}
	}
	return nil, s.commit()
}

// begin begins a session, or mounts the blob from another repository.
func (s *session) begin() (there bool, err error) {
	target := s.u.repo.URL("blobs/uploads/")
	if s.u.from != "" {
		mount := *target
		mount.RawQuery = url.Values{"mount": {s.b.desc.Digest.String()}, "from": {s.u.from}}.Encode()
		resp, err := s.do(s.u.repo.Client, http.MethodPost, &mount, nil, s.u.from)
		if err != nil {
			return false, &final{err}
		}
		switch resp.StatusCode {
		case http.StatusCreated:
			resp.Body.Close()
			s.how = "mounted"
			s.u.progress.Done(s.b.desc.Size)
			return true, nil
		case http.StatusAccepted:
			return false, s.follow(resp)
		}
		resp.Body.Close() // not from there
	}
	resp, err := s.do(s.u.repo.Client, http.MethodPost, target, nil)
	if err != nil {
		return false, &final{err}
	}
	if err := registry.Check(resp, http.StatusAccepted); err != nil {
		return false, &final{err}
	}
	return false, s.follow(resp)
}

// follow goes where the registry says.
func (s *session) follow(resp *http.Response) error {
	resp.Body.Close()
	next, err := resp.Location()
	if err != nil {
		return &final{fmt.Errorf("the registry does not say where to send it: %w", err)}
	}
	if resp.Request.URL.Scheme == "https" && next.Scheme != "https" {
		return &final{fmt.Errorf("the registry wants it sent without TLS, to %s", next.Host)}
	}
	s.location = next
	if least, err := strconv.ParseInt(resp.Header.Get("OCI-Chunk-Min-Length"), 10, 64); err == nil {
		s.least = least
	}
	return nil
}

// patch sends the rest of the blob, or a piece of it.
func (s *session) patch() (*http.Response, error) {
	n := s.b.desc.Size - s.at
	if s.pieces {
		n = min(n, max(pieceSize, s.least))
	}
	resp, err := s.do(s.u.repo.Once, http.MethodPatch, s.location, &piece{s: s, from: s.at, at: s.at, end: s.at + n})
	if err != nil {
		return nil, err
	}
	if err := registry.Check(resp, http.StatusAccepted, http.StatusNoContent, http.StatusCreated); err != nil {
		if code := resp.StatusCode; code == http.StatusUnauthorized || code == http.StatusForbidden {
			return nil, &final{err}
		}
		return resp, err
	}
	if resp.Header.Get("Location") == "" {
		resp.Body.Close()
	} else if err := s.follow(resp); err != nil {
		return nil, err
	}
	s.at += n
	return nil, nil
}

// commit ends the session. Until then the registry has no blob.
func (s *session) commit() error {
	if err := s.check(); err != nil {
		if resp, err := s.do(s.u.repo.Client, http.MethodDelete, s.location, nil); err == nil {
			resp.Body.Close()
		}
		return &final{err}
	}
	target := *s.location
	q := target.Query()
	q.Set("digest", s.b.desc.Digest.String())
	target.RawQuery = q.Encode()
	resp, err := s.do(s.u.repo.Client, http.MethodPut, &target, nil)
	if err != nil {
		return err
	}
	if err := registry.Check(resp, http.StatusCreated, http.StatusNoContent); err != nil {
		return err
	}
	s.how = "sent"
	return resp.Body.Close()
}

// locate asks the registry how much it has, after something went wrong. Maybe
// only the answer was lost, and it has all.
func (s *session) locate() (there bool, err error) {
	last := s.location
	s.location, s.at, s.pieces = nil, 0, true
	if there, err := s.u.repo.Blobs().Exists(s.ctx, s.b.desc); there || err != nil {
		s.how = "sent"
		return there, err
	}
	if last == nil {
		return false, nil
	}
	resp, err := s.do(s.u.repo.Client, http.MethodGet, last, nil)
	if err != nil {
		return false, s.ctx.Err() // the session is lost, not the upload
	}
	defer resp.Body.Close()
	at, ok := offset(resp.Header.Get("Range"))
	if resp.StatusCode/100 != 2 || !ok || at > s.seen() {
		return false, nil
	}
	if next, err := resp.Location(); err == nil {
		last = next
	}
	s.location, s.at = last, at
	return false, nil
}

// offset reads how much there is from a range, as 0-1023. One of 0-0 is taken
// for nothing: if it is one byte, what is sent next is refused.
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

// do sends a request, with a piece of the blob in it or without.
func (s *session) do(client doer, method string, to *url.URL, p *piece, alsoReads ...string) (*http.Response, error) {
	ctx := s.ctx
	if len(alsoReads) > 0 {
		ctx = s.u.repo.Scoped(ctx, alsoReads...)
	}
	req, err := http.NewRequestWithContext(ctx, method, to.String(), nil)
	if err != nil {
		return nil, err
	}
	if p == nil {
		return client.Do(req)
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	if s.pieces {
		req.Header.Set("Content-Range", fmt.Sprintf("%d-%d", p.from, p.end-1))
	}
	req.ContentLength = p.end - p.from
	req.Body = p
	req.GetBody = func() (io.ReadCloser, error) { // when a token has expired
		return &piece{s: s, from: p.from, at: p.from, end: p.end}, nil
	}
	return client.Do(req)
}

// A piece is a part of the blob on its way.
type piece struct {
	s             *session
	from, at, end int64
}

func (p *piece) Close() error { return nil }

func (p *piece) Read(b []byte) (int, error) {
	if p.at == p.end {
		return 0, io.EOF
	}
	n, err := p.s.content.ReadAt(b[:min(int64(len(b)), p.end-p.at)], p.at)
	if n > 0 {
		err = nil
	} else if err == io.EOF {
		err = fmt.Errorf("%w: it ends at byte %d", ErrFile, p.at)
	}
	p.s.pass(p.at, b[:n], err)
	p.at += int64(n)
	return n, err
}

// pass takes note of what was read, of which some may have been read before.
func (s *session) pass(at int64, b []byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = errors.Join(s.err, err)
	if end := at + int64(len(b)); at <= s.read && end > s.read {
		fresh := b[s.read-at:]
		s.sum.Write(fresh)
		s.read = end
		s.u.progress.Done(int64(len(fresh)))
	}
}

func (s *session) readError() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *session) seen() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.read
}

// check sees that what was read is what it should be.
func (s *session) check() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if got := hex.EncodeToString(s.sum.Sum(nil)); s.read == s.b.desc.Size && got != s.b.desc.Digest.Encoded() {
		return fmt.Errorf("%w: its SHA-256 is %s", ErrFile, got)
	}
	return nil
}
