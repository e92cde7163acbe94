package build

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/compress"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/upload"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
)

// disk is the content of the images in these tests: data, holes, data.
var disk = slices.Concat(bytes.Repeat([]byte("disk "), 300_000), make([]byte, 3<<20), []byte("end"))

// folder makes the folder of a build with an image of metal and one of openstack,
// and returns it with its files.
func folder(t *testing.T) (dir string, files []cloud.File) {
	t.Helper()
	dir = t.TempDir()
	b := &Build{Meta: &stream.Meta{BuildID: "1", Name: "os", OSTreeCommit: strings.Repeat("c", 64), OSTreeVersion: "1", BaseArch: "x86_64"}}
	system := upload.System{Arch: "x86_64", OS: "os", Version: "1"}
	for _, f := range []cloud.File{
		{Name: "os-1-metal.x86_64.raw", Platform: "metal", Type: filetype.Type{Format: filetype.Raw}, VirtualSize: int64(len(disk))},
		{Name: "os-1-openstack.x86_64.qcow2", Platform: "openstack", Type: filetype.Type{Format: filetype.QCOW2}, VirtualSize: 1 << 30, Published: []cloud.Place{{Repository: "r.example/os", Manifest: "sha256:" + strings.Repeat("e", 64)}}},
	} {
		s := cloud.NewMeter(t.Context(), nil)
		s.Write(disk)
		f.Content = s.Content()
		f.Plain = f.Content
		doc, err := upload.New(f, system)
		if err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string][]byte{f.Name: disk, uploadName(f): doc.Marshal()} {
			if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		files = append(files, f)
	}
	err := update(dir, func(*Build) (*Build, error) {
		for _, f := range files {
			b.set(f)
		}
		return b, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir, files
}

// names lists a folder.
func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func all(c filetype.Compression) func(cloud.File) filetype.Compression {
	return func(cloud.File) filetype.Compression { return c }
}

// TestRecompress goes from each compression to each, and back to the first state.
func TestRecompress(t *testing.T) {
	dir, files := folder(t)
	before := names(t, dir)
	for _, c := range []filetype.Compression{filetype.Zstd, filetype.Gzip, filetype.Xz, filetype.Zip, filetype.Gzip, filetype.None} {
		done, err := Recompress(t.Context(), dir, all(c), RecompressOptions{Level: 1})
		if err != nil || len(done) != 2 {
			t.Fatalf("%v: %v, %v", c, done, err)
		}
		builds, err := Open(os.DirFS(dir))
		if err != nil {
			t.Fatal(err)
		}
		for i, w := range done {
			want := files[i]
			want.Name += c.Suffix()
			want.Type.Compression, want.Published, want.Content = c, nil, w.Content
			if diff := cmp.Diff(want, w.File); diff != "" {
				t.Errorf("%v: %s", c, diff)
			}
			if diff := cmp.Diff(want, builds[0].Files[i]); diff != "" {
				t.Errorf("%v: in the folder: %s", c, diff)
			}
			checkContent(t, w, c)
			checkDocument(t, w)
		}
	}
	if after := names(t, dir); !slices.Equal(before, after) {
		t.Errorf("%q, want %q", after, before)
	}
	if done, err := Recompress(t.Context(), dir, all(filetype.None), RecompressOptions{}); err != nil || len(done) != 0 {
		t.Errorf("nothing to do: %v, %v", done, err)
	}
}

// checkContent checks the file of an image.
func checkContent(t *testing.T, w Written, c filetype.Compression) {
	t.Helper()
	f, err := os.Open(w.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%s: %v, %v", w.Path, info.Mode(), err)
	}
	sum := cloud.NewMeter(t.Context(), nil)
	if _, err := io.Copy(sum, f); err != nil {
		t.Fatal(err)
	}
	f.Seek(0, io.SeekStart)
	content, is, err := compress.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	got, err := io.ReadAll(content)
	if err != nil || is != c || !bytes.Equal(got, disk) {
		t.Errorf("%s: %v, %d bytes, %v", w.Path, is, len(got), err)
	}
	if sum.Content() != w.Content {
		t.Errorf("%s: %+v, want %+v", w.Path, sum.Content(), w.Content)
	}
}

// checkDocument checks that the upload document is about the file.
func checkDocument(t *testing.T, w Written) {
	t.Helper()
	text, err := os.ReadFile(upload.FileName(w.Path))
	if err != nil {
		t.Fatal(err)
	}
	var d upload.Document
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	if d.Image.File != w.Name || d.Image.SHA256 != w.SHA256 || d.Image.Compression != w.Type.Compression || d.Image.OS != "os" || d.Image.Published != nil {
		t.Errorf("%+v", d.Image)
	}
}

// TestRecompressKeep keeps the old files.
func TestRecompressKeep(t *testing.T) {
	dir, _ := folder(t)
	before := names(t, dir)
	if _, err := Recompress(t.Context(), dir, all(filetype.Gzip), RecompressOptions{Keep: true}); err != nil {
		t.Fatal(err)
	}
	for _, name := range before {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

// TestRecompressFails checks that a failure changes nothing.
func TestRecompressFails(t *testing.T) {
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	damage := func(dir string) {
		name := filepath.Join(dir, "os-1-metal.x86_64.raw")
		if err := os.WriteFile(name, bytes.Replace(disk, []byte("end"), []byte("bad"), 1), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, tc := range map[string]struct {
		ctx    context.Context
		change func(dir string)
		o      RecompressOptions
		is     error
	}{
		"cancelled": {cancelled, func(string) {}, RecompressOptions{}, context.Canceled},
		"damaged":   {t.Context(), damage, RecompressOptions{}, ErrFile},
		"missing":   {t.Context(), func(dir string) { os.Remove(filepath.Join(dir, "os-1-metal.x86_64.raw")) }, RecompressOptions{}, os.ErrNotExist},
		"level":     {t.Context(), func(string) {}, RecompressOptions{Level: 10}, nil},
		"no build":  {t.Context(), func(dir string) { os.Remove(filepath.Join(dir, MetaFile)) }, RecompressOptions{}, ErrNoBuild},
	} {
		dir, _ := folder(t)
		tc.change(dir)
		before := names(t, dir)
		done, err := Recompress(tc.ctx, dir, all(filetype.Gzip), tc.o)
		if err == nil || tc.is != nil && !errors.Is(err, tc.is) || len(done) != 0 {
			t.Errorf("%s: %v, %v", name, done, err)
		}
		if after := names(t, dir); !slices.Equal(before, after) {
			t.Errorf("%s: %q, want %q", name, after, before)
		}
	}
}

// steps counts the bytes of the work on each file.
type steps map[string]*step

type step struct {
	n    int
	ends int
}

func (s *step) Write(p []byte) (int, error) { s.n += len(p); return len(p), nil }
func (s *step) End(error)                   { s.ends++ }

// TestProgress reports every byte once.
func TestProgress(t *testing.T) {
	dir, files := folder(t)
	seen := steps{}
	_, err := Recompress(t.Context(), dir, all(filetype.Gzip), RecompressOptions{Begin: func(w Work) Step {
		if w.Size != int64(len(disk)) {
			t.Errorf("%+v", w)
		}
		seen[w.Platform] = &step{}
		return seen[w.Platform]
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if s := seen[f.Platform]; s == nil || s.n != len(disk) || s.ends != 1 {
			t.Errorf("%s: %+v", f.Platform, s)
		}
	}
}

// TestReplaced notices that another process has written another build.
func TestReplaced(t *testing.T) {
	dir, _ := folder(t)
	_, err := Recompress(t.Context(), dir, all(filetype.Gzip), RecompressOptions{Begin: func(w Work) Step {
		err := update(dir, func(b *Build) (*Build, error) {
			b.BuildID = "2"
			return b, nil
		})
		if err != nil {
			t.Error(err)
		}
		return silent{io.Discard}
	}})
	if !errors.Is(err, errReplaced) {
		t.Error(err)
	}
}

// TestRecordPublished adds places to images.json and the upload documents, and
// leaves meta.json alone.
func TestRecordPublished(t *testing.T) {
	dir, files := folder(t)
	meta := filepath.Join(dir, MetaFile)
	text, err := os.ReadFile(meta)
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, ' ') // lost if the file is written
	if err := os.WriteFile(meta, text, 0o644); err != nil {
		t.Fatal(err)
	}
	place := cloud.Place{Repository: "new.example/os", Manifest: "sha256:" + strings.Repeat("f", 64)}
	again := cloud.Place{Repository: "r.example/os", Manifest: place.Manifest}
	err = RecordPublished(dir, []Published{
		{"amd64", "openstack", files[1].SHA256, place},
		{"amd64", "openstack", files[1].SHA256, again},
		{"arm64", "metal", files[0].SHA256, place},
		{"amd64", "metal", "another", place},
		{"amd64", "qemu", "missing", place},
	})
	if err != nil {
		t.Fatal(err)
	}
	builds, err := Open(os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	want := [][]cloud.Place{nil, {place, again}}
	for i, f := range builds[0].Files {
		if diff := cmp.Diff(want[i], f.Published); diff != "" {
			t.Errorf("%s: %s", f.Platform, diff)
		}
	}
	if now, err := os.ReadFile(meta); err != nil || !bytes.Equal(now, text) {
		t.Errorf("meta.json was written: %v", err)
	}
	var d upload.Document
	text, err = os.ReadFile(filepath.Join(dir, uploadName(files[1])))
	if err == nil {
		err = json.Unmarshal(text, &d)
	}
	if err != nil || len(d.Image.Published) != 2 || d.Image.Published[0] != upload.Published(place) {
		t.Errorf("%+v, %v", d.Image.Published, err)
	}
	os.Remove(filepath.Join(dir, ImagesFile))
	if err := RecordPublished(dir, []Published{{"amd64", "openstack", files[1].SHA256, place}}); err != nil {
		t.Fatal(err)
	}
	if slices.Contains(names(t, dir), ImagesFile) {
		t.Error("a build of another program got an images.json")
	}
}
