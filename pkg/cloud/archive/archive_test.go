package archive

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

func members() []File {
	at := time.Unix(1700000000, 0)
	return []File{
		{Header: tar.Header{Typeflag: tar.TypeDir, Name: "dir/", Mode: 0o755, ModTime: at}},
		{Header: tar.Header{Name: "dir/empty", Mode: 0o600, ModTime: at}, Content: strings.NewReader("")},
		{Header: tar.Header{Name: "dir/text", Mode: 0o644, ModTime: at}, Content: strings.NewReader("text")},
		{Header: tar.Header{Name: "block", Mode: 0o644, ModTime: at}, Content: disktest.Noise(block)},
		{Header: tar.Header{Name: strings.Repeat("long/", 50) + "ä", Mode: 0o644, ModTime: at}, Content: disktest.Noise(100_000)},
	}
}

// TestFormat: archive/tar writes the same bytes, and GNU tar reads them.
func TestFormat(t *testing.T) {
	for n := range len(members()) + 1 {
		files := members()[:n]
		var want bytes.Buffer
		w := tar.NewWriter(&want)
		for _, f := range files {
			f.Header.Size = f.size()
			if err := w.WriteHeader(&f.Header); err != nil {
				t.Fatal(err)
			}
			if f.Content != nil {
				io.Copy(w, io.NewSectionReader(f.Content, 0, f.size()))
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		file, err := Format(files...)
		if err != nil {
			t.Fatal(err)
		}
		path := disktest.File(t, "files.tar", file)
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want.Bytes()) {
			t.Errorf("%d files: %d bytes, want %d: %v", n, len(got), want.Len(), err)
		}
		if list := treetest.Run(t, "tar", "-tf", path); strings.Count(list, "\n") != n {
			t.Errorf("%d files: %s", n, list)
		}
		if n > 1 {
			head := file.Size() - files[n-1].size() - Tail(files[n-1].size())
			if b := make([]byte, files[n-1].size()); rootfs.ReadFull(file, b, head) != nil || !bytes.Equal(b, mustRead(t, files[n-1].Content)) {
				t.Errorf("%d files: the last one is not %d bytes before the end", n, Tail(files[n-1].size()))
			}
		}
	}
}

func mustRead(t *testing.T, b rootfs.Blob) []byte {
	t.Helper()
	data, err := rootfs.ReadAll(b, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestLarge: GNU tar reads the size of a file that needs more digits than a header
// has.
func TestLarge(t *testing.T) {
	hole, err := disk.New(100 << 30)
	if err != nil {
		t.Fatal(err)
	}
	file, err := Format(File{Header: tar.Header{Name: "hole"}, Content: hole}, File{Header: tar.Header{Name: "text"}, Content: strings.NewReader("text")})
	if err != nil {
		t.Fatal(err)
	}
	if file.Allocated() > 10_000 {
		t.Errorf("%d bytes are allocated", file.Allocated())
	}
	path := disktest.WriteSparse(t, file)
	treetest.Run(t, "tar", "-C", filepath.Dir(path), "-xf", path, "text")
	if got, err := os.ReadFile(filepath.Join(filepath.Dir(path), "text")); string(got) != "text" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestErrors(t *testing.T) {
	hole, err := disk.New(9 << 30)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Format(File{Header: tar.Header{Name: "hole", Format: tar.FormatUSTAR}, Content: hole})
	if err == nil || !strings.Contains(err.Error(), "hole of 9 GiB (9663676416 bytes): ") {
		t.Errorf("%v", err)
	}
}

// TestLazy: content is computed once, but again after an error.
func TestLazy(t *testing.T) {
	calls := 0
	b := Lazy(4, func() ([]byte, error) {
		switch calls++; calls {
		case 1:
			return nil, errors.New("a bad sector")
		case 2:
			return []byte("toolong"), nil
		}
		return []byte("text"), nil
	})
	for _, want := range []string{"a bad sector", "computed 7 bytes, want 4"} {
		if _, err := b.ReadAt(make([]byte, 1), 0); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	for range 3 {
		if got, err := rootfs.ReadAll(b, 10); string(got) != "text" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	}
	if b.Size() != 4 || calls != 3 {
		t.Errorf("size %d, computed %d times", b.Size(), calls)
	}
}
