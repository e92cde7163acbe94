package cloud

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
)

// TestFileName has names as they are in the streams of Fedora CoreOS.
func TestFileName(t *testing.T) {
	for id, want := range map[string]string{
		"qemu":    "fedora-coreos-44.20260801.1.0-qemu.x86_64.qcow2",
		"metal":   "fedora-coreos-44.20260801.1.0-metal.x86_64.raw",
		"metal4k": "fedora-coreos-44.20260801.1.0-metal4k.x86_64.raw",
	} {
		p, err := Lookup(id)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.FileName("fedora-coreos", "44.20260801.1.0", "x86_64"); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestLookup(t *testing.T) {
	for _, p := range Platforms {
		got, err := Lookup(p.ID)
		if err != nil || got.ID != p.ID || got.Suffix != p.Suffix {
			t.Errorf("%s: %+v, %v", p.ID, got, err)
		}
	}
	for _, id := range []string{"", "QEMU", "qemu ", "nokia"} {
		_, err := Lookup(id)
		if err == nil {
			t.Errorf("%q is found", id)
			continue
		}
		for _, p := range Platforms {
			if !strings.Contains(err.Error(), p.ID) {
				t.Errorf("%v does not name %s", err, p.ID)
			}
		}
	}
}

// TestWrite: what a platform writes to its file is what it shows to the tap,
// as long as it said before, and begins as its format does.
func TestWrite(t *testing.T) {
	content := bytes.Repeat([]byte("content "), 1<<16)
	img, err := disk.New(4<<20, disk.Extent{Off: 1 << 20, Blob: bytes.NewReader(content)})
	if err != nil {
		t.Fatal(err)
	}
	magic := map[string]string{"qcow2": "QFI\xfb", "raw": "\x00\x00\x00\x00"}
	seen := map[string]bool{}
	for _, p := range Platforms {
		if seen[p.ID] {
			t.Errorf("%s is in the table twice", p.ID)
		}
		seen[p.ID] = true
		f, err := os.Create(filepath.Join(t.TempDir(), "image"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var tap bytes.Buffer
		if err := p.Write(f, img, &tap); err != nil {
			t.Fatalf("%s: %v", p.ID, err)
		}
		got, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, tap.Bytes()) {
			t.Errorf("%s: the file of %d bytes is not the %d of the tap", p.ID, len(got), tap.Len())
		}
		if p.Size(img) != int64(len(got)) {
			t.Errorf("%s: %d bytes, %d were said", p.ID, len(got), p.Size(img))
		}
		if want, ok := magic[p.Suffix]; !ok || !strings.HasPrefix(string(got), want) {
			t.Errorf("%s: begins with %q", p.ID, got[:4])
		}
	}
}
