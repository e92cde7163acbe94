package oci

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// An Entry is something that a cache has.
type Entry struct {
	Digest digest.Digest // of the blob
	Kind   string        // "layer", "manifest" (or an index of them), "config" or "import"
	Size   int64         // in the cache, where layers are not compressed
	Used   time.Time     // when it last was
}

// Usage lists what a cache has, what was used last first. A cache that is not
// there is empty.
func Usage(dir string) ([]Entry, error) {
	if dir == "" {
		return nil, errors.New("oci: no cache directory")
	}
	c := &cache{dir: filepath.Join(dir, version)}
	byDigest := map[digest.Digest]*Entry{}
	for _, sub := range []string{"blobs", "layers", "imports"} {
		files, err := os.ReadDir(filepath.Join(c.dir, sub))
		if ignoreNotExist(err) != nil {
			return nil, err
		}
		for _, f := range files {
			name, suffix, _ := strings.Cut(f.Name(), ".")
			d := digest.NewDigestFromEncoded(digest.SHA256, name)
			info, err := f.Info()
			if checkDigest("file", d) != nil || err != nil || suffix != "" && suffix != "pack" && suffix != "index" {
				continue // is not ours, or is gone, or belongs to who is at it
			}
			e := byDigest[d]
			if e == nil {
				e = &Entry{Digest: d, Kind: "layer", Used: time.Unix(0, 0)}
				byDigest[d] = e
			}
			e.Size += info.Size()
			if suffix != "pack" { // which is as old as the layer is here
				e.Used = info.ModTime()
			}
			switch sub {
			case "blobs":
				e.Kind = blobKind(filepath.Join(c.dir, sub, f.Name()))
			case "imports":
				e.Kind = "import"
			}
		}
	}
	all := make([]Entry, 0, len(byDigest))
	for _, e := range byDigest {
		all = append(all, *e)
	}
	slices.SortFunc(all, func(a, b Entry) int { return cmp.Or(b.Used.Compare(a.Used), cmp.Compare(a.Digest, b.Digest)) })
	return all, nil
}

// blobKind tells configs, which have a root file system, from manifests.
func blobKind(name string) string {
	if b, err := os.ReadFile(name); err == nil && bytes.Contains(b, []byte(`"rootfs"`)) {
		return "config"
	}
	return "manifest"
}

// PruneOptions say what may stay in a cache. With neither bound nothing may.
type PruneOptions struct {
	OlderThan time.Duration // what was not used for longer goes; 0 is no bound
	KeepBytes int64         // what was used longest ago goes until no more is left; 0 is no bound
	Now       time.Time     // what ages are counted from
}

// ErrBusy is the error of [Prune] while an image is being pulled.
var ErrBusy = errors.New("the cache is in use: an image is being pulled")

// Prune removes entries from a cache, and returns how many bytes that freed.
// What builds read from stays: the layers of images that are not closed, in
// whatever process.
func Prune(dir string, o PruneOptions) (freed int64, err error) {
	all, err := Usage(dir)
	if err != nil || len(all) == 0 {
		return 0, err
	}
	c := &cache{dir: filepath.Join(dir, version)}
	// Who pulls counts on more than it has opened.
	lock, err := os.OpenFile(filepath.Join(c.dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return 0, err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return 0, fmt.Errorf("%s: %w", dir, ErrBusy)
		}
		return 0, fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	c.sweep()

	var left int64
	for _, e := range all {
		left += e.Size
	}
	for _, e := range slices.Backward(all) {
		old := o.OlderThan > 0 && o.Now.Sub(e.Used) > o.OlderThan
		much := o.KeepBytes > 0 && left > o.KeepBytes
		if !old && !much && (o.OlderThan > 0 || o.KeepBytes > 0) {
			continue
		}
		gone, err := c.drop(e)
		if err != nil {
			return freed, err
		}
		if gone {
			freed, left = freed+e.Size, left-e.Size
		}
	}
	return freed, c.dropNotes()
}

// dropNotes removes the notes of layers that are gone.
func (c *cache) dropNotes() error {
	names, err := filepath.Glob(filepath.Join(c.dir, "diffs", "*"))
	if err != nil {
		return err
	}
	for _, name := range names {
		note, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		blob := digest.Digest(note)
		if checkDigest("note", blob) == nil {
			if _, err := os.Stat(c.layerPath(blob, ".index")); !errors.Is(err, fs.ErrNotExist) {
				continue
			}
		}
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	return nil
}

// drop removes an entry, unless a build reads from it.
func (c *cache) drop(e Entry) (gone bool, err error) {
	switch e.Kind {
	case "layer":
	case "import":
		return true, os.Remove(filepath.Join(c.dir, "imports", e.Digest.Encoded()))
	default:
		return true, os.Remove(c.blobPath(e.Digest))
	}
	pack, err := os.Open(c.layerPath(e.Digest, ".pack"))
	if err == nil {
		defer pack.Close()
		if err := unix.Flock(int(pack.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			return false, nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	// Without its index a pack is nothing, so the index goes first.
	for _, suffix := range []string{".index", ".pack"} {
		if err := os.Remove(c.layerPath(e.Digest, suffix)); ignoreNotExist(err) != nil {
			return false, err
		}
	}
	return true, nil
}
