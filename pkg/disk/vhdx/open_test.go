package vhdx

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
			path := path(t, img, Options{})
			disktest.Open(t, path, Open, img)
			disktest.Open(t, disktest.Convert(t, img, "-O", "vhdx", "-o", "block_size=8M"), Open, img)
		})
	}
}

// TestOpenQEMU reads the other kinds of file that QEMU makes.
func TestOpenQEMU(t *testing.T) {
	img, err := disk.New(10<<20, disk.Extent{Off: 9 << 20, Blob: disktest.Noise(5000)})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []string{"subformat=fixed", "block_size=1M,block_state_zero=off", "block_size=256M"} {
		disktest.Open(t, disktest.Convert(t, img, "-O", "vhdx", "-o", o), Open, img)
	}
}

// A compact file is one whose zeros at ends of regions are left out: each
// string is content, by its offset.
type compact map[int64][]byte

func (c compact) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	for at, b := range c {
		if from, to := max(at, off), min(at+int64(len(b)), off+int64(len(p))); from < to {
			copy(p[from-off:to-off], b[from-at:])
		}
	}
	return len(p), nil
}

func small(t testing.TB) ([]byte, *disk.Image) {
	return disktest.Small(t, disktest.Written(format))
}

func TestOpenDamaged(t *testing.T) {
	good, _ := small(t)
	put := func(at int, value ...byte) func([]byte) {
		return func(b []byte) { copy(b[at:], value) }
	}
	// The same in both copies of a structure, with new checksums.
	both := func(first, size, at int, value ...byte) func([]byte) {
		return func(b []byte) {
			for i := range 2 {
				s := b[first+i*tableSize:][:size]
				copy(s[at:], value)
				clear(s[4:8])
				seal(s)
			}
		}
	}
	head := func(at int, value ...byte) func([]byte) { return both(tableSize, headerSize, at, value...) }
	region := func(at int, value ...byte) func([]byte) { return both(3*tableSize, tableSize, at, value...) }
	meta := func(at int, value ...byte) func([]byte) { return put(metaOffset+at, value...) }
	for _, c := range []struct {
		want   string
		damage func([]byte)
	}{
		{"not a vhdx file", put(0, 'V')},
		{"headers: at 131072: checksum 0x", func(b []byte) { b[tableSize+20]++; b[2*tableSize+20]++ }},
		{`headers: at 131072: no "head"`, head(0, 'H')},
		{"headers: version 2 ", head(66, 2)},
		{"the log has changes", head(48, 1)},
		{"regions: at 196608: checksum 0x", func(b []byte) { b[3*tableSize+20]++; b[4*tableSize+20]++ }},
		{"regions: 2048 of them", region(8, 0, 8)},
		{"regions: one of 1048576 bytes at 3145729", region(32, 1)},
		{"regions: one of 1048576 bytes at 0", region(32, 0, 0, 0)},
		{"regions: one of 1048576 bytes at ", region(39, 0xff)},
		{"regions: one of 4278190080 bytes at 3145728", region(40, 0, 0, 0, 0xff)},
		{"regions: {", region(16, 0)},
		{"regions: no block allocation table", region(8, 1)},
		{"regions: no block allocation table", region(72, 0, 0, 0)},
		{"metadata: no table", meta(0, 'M')},
		{"metadata: no table", meta(10, 0, 8)},
		{"metadata: {", meta(32, 0)},
		{"metadata: {", meta(32+16, 0, 0, 0)},
		{"metadata: {", meta(32+16, 0xfc, 0xff, 0x0f)},
		{"metadata: {", meta(32+20, 7)},
		{"metadata: the disk has a parent", meta(tableSize+4, 2)},
		{"metadata: blocks of 1048577 bytes", meta(tableSize, 1)},
		{"metadata: blocks of 524288 bytes", meta(tableSize+2, 8)},
		{"metadata: disk of 2.0 MiB (2097153 bytes)", meta(tableSize+8, 1)},
		{"metadata: disk of ", meta(tableSize+15, 1)},
		{"metadata: sectors of 513 bytes", meta(tableSize+32, 1)},
		{"block allocation table of 1048576 bytes", meta(tableSize+8+5, 1)},
	} {
		b := bytes.Clone(good)
		c.damage(b)
		if _, err := Open(bytes.NewReader(b), int64(len(b))); err == nil || !strings.HasPrefix(err.Error(), "vhdx: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
	for _, c := range []struct {
		want  string
		entry uint64
	}{
		{"bad entry 0x400007", 4<<20 | 7}, {"bad entry 0x4", 4}, {"at 0 leaves the file", present},
		{"at 5242880 leaves the file", 5<<20 | present}, {"leaves the file", 1<<63 | present},
	} {
		b := bytes.Clone(good)
		binary.LittleEndian.PutUint64(b[batOffset+8:], c.entry)
		blob, err := Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := blob.ReadAt(make([]byte, 10), 1<<20); err == nil || !strings.HasPrefix(err.Error(), "vhdx: block at 1048576: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

// TestOpenOne: one good copy of each structure is enough, and of two headers
// the later one counts.
func TestOpenOne(t *testing.T) {
	for _, at := range []int{tableSize, 2 * tableSize, 3 * tableSize, 4 * tableSize} {
		b, img := small(t)
		b[at+20]++
		blob, err := Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatalf("damage at %d: %v", at, err)
		}
		disktest.Read(t, blob, img)
	}
	b, _ := small(t)
	b[tableSize+48] = 1 // a log, in the header that was replaced
	clear(b[tableSize+4:][:4])
	seal(b[tableSize:][:headerSize])
	if _, err := Open(bytes.NewReader(b), int64(len(b))); err != nil {
		t.Errorf("a log of the header before: %v", err)
	}
}

// FuzzOpen repairs the checksums, or it would find wrong ones only. It
// changes the front, metadata and table, without their zeros.
func FuzzOpen(f *testing.F) {
	good, _ := small(f)
	f.Add(good[tableSize:][:80], good[3*tableSize:][:80], good[metaOffset:][:192], good[metaOffset+tableSize:][:40], good[batOffset:][:32])
	f.Fuzz(func(t *testing.T, head, regions, meta, items, bat []byte) {
		limit := func(b []byte, n int) []byte { return append(bytes.Clone(b), make([]byte, n)...)[:n] }
		head, regions = limit(head, headerSize), limit(regions, tableSize)
		for _, s := range [][]byte{head, regions} {
			clear(s[4:8])
			seal(s)
		}
		file := compact{0: []byte("vhdxfile"), tableSize: head, 3 * tableSize: regions,
			metaOffset: limit(meta, tableSize), metaOffset + tableSize: limit(items, tableSize), batOffset: limit(bat, tableSize)}
		if blob, err := Open(file, int64(len(good))); err == nil {
			disktest.ReadSome(t, blob)
		}
	})
}
