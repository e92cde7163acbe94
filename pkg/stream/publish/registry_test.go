package publish

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
)

// A fake is a registry of the distribution specification in memory, which can be
// told to be one of those that are not.
type fake struct {
	*httptest.Server
	host string

	mu        sync.Mutex
	blobs     map[string][]byte // by repository and digest
	manifests map[string][]byte
	types     map[string]string
	tags      map[string]string
	uploads   map[string]*bytes.Buffer
	log       []string // requests, as METHOD path

	noReferrers bool                                                 // it has no such API
	noStatus    bool                                                 // it does not tell how much of a blob it has
	refuse      func(m map[string]any) int                           // status for a manifest; 0 takes it
	before      func(w http.ResponseWriter, r *http.Request) bool    // true if it has answered
	maxPatch    int64                                                // bytes of a request with a range; 0 for any
	cut         func(r *http.Request) int64                          // bytes after which a connection breaks; negative for never
	allow       func(r *http.Request) (challenge string, allow bool) // who may
}

func newFake(t testing.TB) *fake {
	f := &fake{
		blobs: map[string][]byte{}, manifests: map[string][]byte{}, types: map[string]string{},
		tags: map[string]string{}, uploads: map[string]*bytes.Buffer{},
	}
	f.Server = httptest.NewServer(f)
	f.Config.ErrorLog = nil
	f.host = strings.TrimPrefix(f.URL, "http://")
	t.Cleanup(f.Close)
	return f
}

// insecure are the options for a registry without TLS that is not waited for.
func insecure(t testing.TB) registry.Options {
	no, auth := false, filepath.Join(t.TempDir(), "auth.json")
	write(t, auth, []byte("{}"))
	return registry.Options{TLSVerify: &no, Backoff: time.Millisecond, AuthFile: auth, RegistryConf: os.DevNull}
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.log = append(f.log, r.Method+" "+r.URL.Path)
	f.mu.Unlock()
	if f.before != nil && f.before(w, r) {
		return
	}
	if f.allow != nil {
		if challenge, ok := f.allow(r); !ok {
			w.Header().Set("WWW-Authenticate", challenge)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
	}
	for _, part := range []string{"/blobs/uploads/", "/blobs/", "/manifests/", "/referrers/"} {
		if repo, name, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), part); ok {
			f.serve(w, r, part, repo, name)
			return
		}
	}
}

func (f *fake) serve(w http.ResponseWriter, r *http.Request, part, repo, name string) {
	switch part {
	case "/blobs/uploads/":
		f.upload(w, r, repo, name)
	case "/blobs/":
		f.mu.Lock()
		b, ok := f.blobs[repo+"@"+name]
		f.mu.Unlock()
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
	case "/manifests/":
		f.manifest(w, r, repo, name)
	case "/referrers/":
		f.referrers(w, repo, name)
	}
}

func (f *fake) upload(w http.ResponseWriter, r *http.Request, repo, name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	u := f.uploads[name]
	where := func(status int) {
		w.Header().Set("Location", "/v2/"+repo+"/blobs/uploads/"+name)
		w.Header().Set("Range", fmt.Sprintf("0-%d", max(u.Len()-1, 0)))
		w.WriteHeader(status)
	}
	if r.Method == http.MethodPost {
		d := r.FormValue("mount")
		if b, ok := f.blobs[r.FormValue("from")+"@"+d]; ok {
			f.blobs[repo+"@"+d] = b
			w.WriteHeader(http.StatusCreated)
			return
		}
		name = fmt.Sprint(len(f.uploads) + 1)
		u = &bytes.Buffer{}
		f.uploads[name] = u
		where(http.StatusAccepted)
		return
	}
	if u == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	switch r.Method {
	case http.MethodGet:
		if f.noStatus {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		where(http.StatusNoContent)
	case http.MethodPatch:
		if cr := r.Header.Get("Content-Range"); cr != "" {
			var from, to int64
			fmt.Sscanf(cr, "%d-%d", &from, &to)
			if from != int64(u.Len()) || to-from+1 != r.ContentLength {
				w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
				return
			}
			if f.maxPatch > 0 && r.ContentLength > f.maxPatch {
				w.WriteHeader(http.StatusRequestEntityTooLarge)
				return
			}
		} else if u.Len() > 0 {
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return
		}
		body := io.Reader(r.Body)
		if f.cut != nil {
			if n := f.cut(r); n >= 0 {
				io.CopyN(u, body, n)
				panic(http.ErrAbortHandler)
			}
		}
		f.mu.Unlock()
		b, err := io.ReadAll(body)
		f.mu.Lock()
		u.Write(b)
		if err != nil {
			return
		}
		where(http.StatusAccepted)
	case http.MethodPut:
		d := r.FormValue("digest")
		if digest.FromBytes(u.Bytes()).String() != d {
			w.WriteHeader(http.StatusBadRequest)
			io.WriteString(w, `{"errors":[{"code":"DIGEST_INVALID"}]}`)
			return
		}
		f.blobs[repo+"@"+d] = u.Bytes()
		delete(f.uploads, name)
		f.uploads[name+" done"] = nil
		w.WriteHeader(http.StatusCreated)
	case http.MethodDelete:
		delete(f.uploads, name)
		f.uploads[name+" gone"] = nil
		w.WriteHeader(http.StatusNoContent)
	}
}

func (f *fake) manifest(w http.ResponseWriter, r *http.Request, repo, name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := repo + "@" + name
	if !strings.Contains(name, ":") {
		key = f.tags[repo+":"+name]
	}
	if r.Method != http.MethodPut {
		b, ok := f.manifests[key]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", f.types[key])
		w.Header().Set("Docker-Content-Digest", digest.FromBytes(b).String())
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
		return
	}
	b, _ := io.ReadAll(r.Body)
	m := map[string]any{}
	if err := json.Unmarshal(b, &m); err != nil || m["mediaType"] != r.Header.Get("Content-Type") {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if f.refuse != nil {
		if status := f.refuse(m); status != 0 {
			w.WriteHeader(status)
			return
		}
	}
	if missing := f.missing(repo, b); missing != "" {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":%q}]}`, missing)
		return
	}
	d := digest.FromBytes(b)
	key = repo + "@" + d.String()
	f.manifests[key], f.types[key] = b, r.Header.Get("Content-Type")
	if !strings.Contains(name, ":") {
		f.tags[repo+":"+name] = key
	}
	if m["subject"] != nil { // even where it is not true, as at ECR
		w.Header().Set("OCI-Subject", m["subject"].(map[string]any)["digest"].(string))
	}
	w.WriteHeader(http.StatusCreated)
}

// missing returns a digest in a manifest that the registry lacks.
func (f *fake) missing(repo string, b []byte) string {
	var m struct {
		Config            *imgspec.Descriptor
		Layers, Manifests []imgspec.Descriptor
	}
	json.Unmarshal(b, &m)
	if m.Config != nil {
		m.Layers = append(m.Layers, *m.Config)
	}
	for _, d := range m.Layers {
		if b, ok := f.blobs[repo+"@"+d.Digest.String()]; !ok || int64(len(b)) != d.Size {
			return d.Digest.String()
		}
	}
	for _, d := range m.Manifests {
		if b, ok := f.manifests[repo+"@"+d.Digest.String()]; !ok || int64(len(b)) != d.Size {
			return d.Digest.String()
		}
	}
	return ""
}

func (f *fake) referrers(w http.ResponseWriter, repo, name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.noReferrers {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	x := imgspec.Index{MediaType: imgspec.MediaTypeImageIndex, Manifests: []imgspec.Descriptor{}}
	x.SchemaVersion = 2
	for key, b := range f.manifests {
		var m imgspec.Manifest
		json.Unmarshal(b, &m)
		if strings.HasPrefix(key, repo+"@") && m.Subject != nil && m.Subject.Digest.String() == name {
			x.Manifests = append(x.Manifests, imgspec.Descriptor{
				MediaType: m.MediaType, Digest: digest.FromBytes(b), Size: int64(len(b)), ArtifactType: m.ArtifactType, Annotations: m.Annotations,
			})
		}
	}
	slices.SortFunc(x.Manifests, func(a, b imgspec.Descriptor) int { return strings.Compare(a.Digest.String(), b.Digest.String()) })
	w.Header().Set("Content-Type", imgspec.MediaTypeImageIndex)
	json.NewEncoder(w).Encode(x)
}

// put stores a container in a repository.
func (f *fake) put(repo string, b []byte) {
	key := repo + "@" + digest.FromBytes(b).String()
	f.manifests[key], f.types[key] = b, imgspec.MediaTypeImageManifest
}

// count returns how many requests there were that begin so.
func (f *fake) count(prefix string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, l := range f.log {
		if ok, _ := path.Match(prefix, l); ok || strings.HasPrefix(l, prefix) {
			n++
		}
	}
	return n
}
