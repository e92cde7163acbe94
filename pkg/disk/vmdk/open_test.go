package vmdk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest"
)

func TestOpen(t *testing.T) {
	for name, img := range disktest.Images(t, sectorSize) {
		t.Run(name, func(t *testing.T) {
			disktest.Open(t, write(t, img), Open, img)
			disktest.Open(t, sparsePath(t, img), Open, img)
			disktest.Open(t, disktest.Convert(t, img, "-O", "vmdk"), Open, img)
			disktest.Open(t, disktest.Convert(t, img, "-O", "vmdk", "-o", "subformat=streamOptimized"), Open, img)
		})
	}
}

func small(t testing.TB) []byte {
	b, _ := disktest.Small(t, func(w io.Writer, img *disk.Image) error { return Write(w, img, Options{}) })
	return b
}

func TestOpenDamaged(t *testing.T) {
	good := small(t)
	foot := len(good) - endSize
	put32 := func(at int, v uint32) func([]byte) []byte {
		return func(b []byte) []byte { binary.LittleEndian.PutUint32(b[at:], v); return b }
	}
	for _, c := range []struct {
		want   string
		damage func([]byte) []byte
	}{
		{"header: unexpected EOF", func(b []byte) []byte { return b[:500] }},
		{"not a vmdk file", put32(0, 1)},
		{"version 4 is not known", put32(4, 4)},
		{"flags 0x10001, must be ", put32(8, 0x10001)},
		{"footer: not a vmdk file", func(b []byte) []byte { return b[:len(b)-sectorSize] }},
		{"footer: no place of the directory", func(b []byte) []byte { copy(b[foot:], b[:sectorSize]); return b }},
		{"compression 2 is not known", put32(foot+77, 2)},
		{"grains of 127 sectors", put32(foot+20, 127)},
		{"grains of 4096 sectors", put32(foot+20, 4096)},
		{"tables of 0 entries", put32(foot+44, 0)},
		{"tables of 513 entries", put32(foot+44, 513)},
		{"disk of ", put32(foot+16, 1<<31)},
		{"leaves the file", put32(foot+12, 1<<31)},
		{"leaves the file", put32(foot+56, uint32(len(good)/sectorSize))},
		{"leaves the file", put32(foot+60, 1<<31)},
	} {
		b := c.damage(bytes.Clone(good))
		if _, err := Open(bytes.NewReader(b), int64(len(b))); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
	table := overhead + int(binary.LittleEndian.Uint32(good[foot-2*sectorSize:])-uint32(overhead/sectorSize))*sectorSize
	for _, c := range []struct {
		want   string
		damage func([]byte) []byte
	}{
		{"table: unexpected EOF", put32(foot-2*sectorSize, 1<<30)},
		{"unexpected EOF", put32(table+4*16, 1<<30)},
		{"is one of ", put32(overhead, 5)},
		{"is one of 0 bytes", put32(overhead+8, 0)},
		{"is one of 131073 bytes", put32(overhead+8, 2*grain+1)},
		{"decompress: zlib: invalid header", put32(overhead+12, 0)},
		{"decompress: ", put32(overhead+8, 40)},
	} {
		b := c.damage(bytes.Clone(good))
		blob, err := Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Errorf("%s: %v", c.want, err)
			continue
		}
		if _, err := blob.ReadAt(make([]byte, 512), 1<<20+100); err == nil || !strings.Contains(err.Error(), "vmdk: grain at 1048576: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

// TestCache reads more grains than are kept, at once and again.
func TestCache(t *testing.T) {
	img, err := disk.New(16<<20, disk.Extent{Blob: disktest.Noise(16 << 20)})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := Write(&b, img, Options{}); err != nil {
		t.Fatal(err)
	}
	blob, err := Open(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	errs := make(chan error)
	for range 4 {
		go func() {
			got, want := make([]byte, img.Size()), make([]byte, img.Size())
			_, err := blob.ReadAt(got, 0)
			img.ReadAt(want, 0)
			if err == nil && !bytes.Equal(got, want) {
				err = errors.New("it reads differently")
			}
			errs <- err
		}()
	}
	for range 4 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	sparse, _ := disktest.Small(f, disktest.Written(formatSparse))
	disktest.Fuzz(f, Open, small(f), sparse)
}
