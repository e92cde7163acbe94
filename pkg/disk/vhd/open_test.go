package vhd

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest"
)

func TestOpen(t *testing.T) {
	for name, img := range disktest.Images(t, sectorSize) {
		t.Run(name, func(t *testing.T) {
			disktest.Open(t, dynamicPath(t, img), Open, img)
			disktest.Open(t, disktest.Convert(t, img, "-O", "vpc", "-o", "force_size=on"), Open, img)
			disktest.Open(t, disktest.Convert(t, img, "-O", "vpc", "-o", "force_size=on,subformat=fixed"), Open, img)
			fixed, err := Format(img, options)
			if err != nil {
				t.Fatal(err)
			}
			blob, err := Open(fixed, fixed.Size())
			if err != nil {
				t.Fatal(err)
			}
			disktest.Read(t, blob, img)
		})
	}
}

// TestOpenRounded reads a file of QEMU for a disk whose geometry is larger.
func TestOpenRounded(t *testing.T) {
	noise := disk.Extent{Off: 9 << 20, Blob: disktest.Noise(5000)}
	img, err := disk.New(10<<20, noise)
	if err != nil {
		t.Fatal(err)
	}
	larger, err := disk.New(10514432, noise)
	if err != nil {
		t.Fatal(err)
	}
	disktest.Open(t, disktest.Convert(t, img, "-O", "vpc"), Open, larger)
}

// small is a file of a disk with one block of 4 KiB, smaller than the blocks that
// Format makes.
func small(t testing.TB, sectors byte) []byte {
	t.Helper()
	head := header{Cookie: [8]byte([]byte("cxsparse")), DataOffset: none, TableOffset: tableOffset, Version: 1 << 16, Entries: 2, BlockSize: minBlock}
	head.Checksum = checksum(encode(head))
	end := newFooter(8<<10, typeDynamic, options)
	b := append(bytes.Clone(end), encode(head)...)
	b = append(b, bytes.Repeat([]byte{0xff}, sectorSize)...)
	binary.BigEndian.PutUint32(b[tableOffset+4:], uint32(len(b)/sectorSize))
	b = append(append(b, sectors), make([]byte, sectorSize-1)...)
	b = append(b, bytes.Repeat([]byte("x"), minBlock)...)
	return append(b, end...)
}

// TestOpenBitmap: sectors that are not in the bitmap read as zeros.
func TestOpenBitmap(t *testing.T) {
	want, err := disk.New(8<<10,
		disk.Extent{Off: 4<<10 + 512, Blob: strings.NewReader(strings.Repeat("x", 512))}, disk.Extent{Off: 7 << 10, Blob: strings.NewReader(strings.Repeat("x", 512))})
	if err != nil {
		t.Fatal(err)
	}
	b := small(t, 0b0100_0010)
	blob, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	disktest.Read(t, blob, want)
	for off := range int64(8 << 10) { // pieces that begin and end within sectors
		got, exp := make([]byte, 700), make([]byte, 700)
		blob.ReadAt(got, off)
		want.ReadAt(exp, off)
		if !bytes.Equal(got, exp) {
			t.Fatalf("700 bytes at %d differ", off)
		}
	}
}

func TestOpenDamaged(t *testing.T) {
	good := small(t, 0xff)
	footer := len(good) - footerSize
	// Damage that is sealed with a new checksum, in a structure of size bytes.
	sealed := func(start, size, sum, at int, value ...byte) func([]byte) []byte {
		return func(b []byte) []byte {
			copy(b[start+at:], value)
			s := b[start : start+size]
			clear(s[sum : sum+4])
			binary.BigEndian.PutUint32(s[sum:], checksum(s))
			return b
		}
	}
	foot := func(at int, value ...byte) func([]byte) []byte { return sealed(footer, footerSize, 64, at, value...) }
	head := func(at int, value ...byte) func([]byte) []byte {
		return sealed(footerSize, headerSize, 36, at, value...)
	}
	for _, c := range []struct {
		want   string
		damage func([]byte) []byte
	}{
		{"footer: ", func(b []byte) []byte { return b[:100] }},
		{"footer: checksum 0x", func(b []byte) []byte { b[footer+100]++; return b }},
		{"footer: not a vhd file", foot(0, 'C')},
		{"footer: version 2 is not known", foot(12, 0, 2)},
		{"footer: disk of ", foot(48, 0x80)},
		{"footer: disk of 8.0 KiB (8193 bytes)", foot(55, 1)},
		{"footer: disk type 4", foot(63, 4)},
		{"disk of 8 KiB (8192 bytes) in a file of ", func(b []byte) []byte { return sealed(4<<10, footerSize, 64, 63, 2)(append(b[:4<<10], b[footer:]...)) }},
		{"leaves the file", foot(16, 0xff)},
		{"header: checksum 0x", func(b []byte) []byte { b[footerSize+100]++; return b }},
		{"header: not that of a dynamic disk", head(0, 'C')},
		{"header: version 2 is not known", head(24, 0, 2)},
		{"header: blocks of 4097 bytes", head(35, 1)},
		{"header: blocks of 2048 bytes", head(34, 8)},
		{"header: a table of 1 entries", head(31, 1)},
		{"leaves the file", head(30, 0xff)},
		{"leaves the file", head(16, 0xff)},
	} {
		b := c.damage(bytes.Clone(good))
		if _, err := Open(bytes.NewReader(b), int64(len(b))); err == nil || !strings.HasPrefix(err.Error(), "vhd: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
	b := bytes.Clone(good)
	b[tableOffset+7]++
	blob, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := blob.ReadAt(make([]byte, 4<<10), 4<<10); err == nil || err.Error() != "vhd: block at 4096: at 2560 leaves the file" {
		t.Errorf("a block that reaches into the footer: %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	fixed := newFooter(0, typeFixed, options)
	disktest.Fuzz(f, Open, small(f, 0xa5), fixed)
}
