package oci

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/plaintext"
)

// An Entry is an item of a cache.
type Entry struct {
	Digest digest.Digest `json:"digest"` // of the blob; of the inputs of an import
	Kind   string        `json:"kind"`   // "layer", "manifest" (or index), "config" or "import"
	Size   int64         `json:"size"`   // bytes in the cache, where layers are not compressed
	Used   time.Time     `json:"used"`   // time of the last use, in UTC
}

// Entries are the items of a cache.
type Entries []Entry

// Size returns the size of all items in bytes.
func (all Entries) Size() (n int64) {
	for _, e := range all {
		n += e.Size
	}
	return n
}

// WriteText writes a table of the items for a person.
func (all Entries) WriteText(w io.Writer) error {
	rows := [][]string{{"USED", "SIZE", "KIND", "DIGEST"}}
	for _, e := range all {
		rows = append(rows, []string{e.Used.Local().Format(time.DateTime), rootfs.Size(e.Size), e.Kind, e.Digest.String()})
	}
	var b plaintext.Builder
	b.Table(rows)
	return b.Flush(w)
}

// Usage lists the entries of a cache, the last used ones first. A missing cache is empty.
func Usage(dir string) (Entries, error) {
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
				continue // another program's file, or removed, or a file in work
			}
			e := byDigest[d]
			if e == nil {
				e = &Entry{Digest: d, Kind: "layer", Used: time.Unix(0, 0).UTC()}
				byDigest[d] = e
			}
			e.Size += info.Size()
			if suffix != "pack" { // whose time is that of the download
				e.Used = info.ModTime().UTC()
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

// blobKind distinguishes configs, which have a root file system, from manifests.
func blobKind(name string) string {
	if b, err := os.ReadFile(name); err == nil && bytes.Contains(b, []byte(`"rootfs"`)) {
		return "config"
	}
	return "manifest"
}

// PruneOptions limit the entries of a cache. Without a limit no entry stays.
type PruneOptions struct {
	OlderThan time.Duration // remove entries that were not used for longer; 0 is no limit
	KeepBytes int64         // remove the least recently used entries down to this size; 0 is no limit
	Now       time.Time     // the end of the ages
}

// ErrBusy is the error of [Prune] while an image is being pulled.
var ErrBusy = errors.New("the cache is in use: an image is being pulled")

// Prune removes entries from a cache and returns the number of freed bytes. The layers of
// open images, in any process, stay.
func Prune(dir string, o PruneOptions) (freed int64, err error) {
	all, err := Usage(dir)
	if err != nil || len(all) == 0 {
		return 0, err
	}
	c := &cache{dir: filepath.Join(dir, version)}
	// A process that pulls relies on files that it has not opened yet.
	lock, err := os.OpenFile(filepath.Join(c.dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return 0, c.fault(err)
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
			return freed, c.fault(err)
		}
		if gone {
			freed, left = freed+e.Size, left-e.Size
		}
	}
	return freed, c.fault(c.dropNotes())
}

// dropNotes removes the notes about removed layers.
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

// drop removes an entry, unless an image with it is open.
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
	// The index goes first, because a pack without an index is ignored.
	for _, suffix := range []string{".index", ".pack"} {
		if err := os.Remove(c.layerPath(e.Digest, suffix)); ignoreNotExist(err) != nil {
			return false, err
		}
	}
	return true, nil
}
