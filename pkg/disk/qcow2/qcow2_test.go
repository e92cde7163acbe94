package qcow2

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
	tib = 1 << 40
)

func TestStructSizes(t *testing.T) {
	if got := binary.Size(header{}); got != headerLength {
		t.Errorf("header has %d bytes, want %d", got, headerLength)
	}
}

// noise is content that does not compress, text is content that does.
func noise(seed uint64, n int) *bytes.Reader {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b)
	return bytes.NewReader(b)
}

func text(seed uint64, n int) *bytes.Reader {
	r := rand.New(rand.NewPCG(seed, 0))
	var b bytes.Buffer
	for b.Len() < n {
		fmt.Fprintf(&b, "%d bottles of beer on the wall\n", r.IntN(1000))
	}
	return bytes.NewReader(b.Bytes()[:n])
}

func mustNew(t testing.TB, size int64, extents ...disk.Extent) *disk.Image {
	t.Helper()
	img, err := disk.New(size, extents...)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// scattered has many extents of noise, text and zeros.
func scattered(t testing.TB, seed uint64, size int64, count int) *disk.Image {
	r := rand.New(rand.NewPCG(seed, 2))
	var extents []disk.Extent
	step := size / int64(count)
	for i := range int64(count) {
		n := int(min(1+r.Int64N(step), 40*kib))
		off := i*step + r.Int64N(step-int64(n)+1)
		switch i % 5 {
		case 0:
			extents = append(extents, disk.Extent{Off: off, Blob: noise(uint64(i), n)})
		case 1:
			extents = append(extents, disk.Extent{Off: off, Blob: bytes.NewReader(make([]byte, n))})
		default:
			extents = append(extents, disk.Extent{Off: off, Blob: text(uint64(i), n)})
		}
	}
	return mustNew(t, size, extents...)
}

func images(t testing.TB) map[string]*disk.Image {
	ext := func(off int64, b *bytes.Reader) disk.Extent { return disk.Extent{Off: off, Blob: b} }
	return map[string]*disk.Image{
		"nothing":         mustNew(t, 0),
		"one sector":      mustNew(t, 512, ext(0, text(1, 512))),
		"three sectors":   mustNew(t, 1536, ext(600, text(1, 300))),
		"one hole":        mustNew(t, 512),
		"cluster - 1":     mustNew(t, 64*kib-512, ext(0, text(1, 64*kib-512))),
		"cluster":         mustNew(t, 64*kib, ext(0, noise(1, 64*kib))),
		"cluster + 1":     mustNew(t, 64*kib+512, ext(0, text(1, 64*kib+512))),
		"last sector":     mustNew(t, mib+512, ext(mib, noise(1, 512))),
		"across":          mustNew(t, mib, ext(64*kib-1, noise(1, 2))),
		"table - 1":       mustNew(t, 512*mib-512, ext(512*mib-600, text(1, 88))),
		"table":           mustNew(t, 512*mib, ext(0, noise(1, 600*kib)), ext(512*mib-5, text(1, 5))),
		"table + 1":       mustNew(t, 512*mib+512, ext(512*mib-700, text(1, 1000))),
		"sparse 10 GiB":   mustNew(t, 10*gib, ext(3, text(1, 5)), ext(7*gib-100, noise(2, 200*kib)), ext(10*gib-100, text(3, 100))),
		"sparse 1 TiB":    mustNew(t, tib, ext(5, text(1, 5)), ext(tib/2-100, noise(2, 200*kib)), ext(tib-100, text(3, 100))),
		"many":            scattered(t, 1, 40*mib, 5000),
		"many and sparse": scattered(t, 2, 2*gib, 300),
		"holes":           mustNew(t, 3*mib, ext(mib, text(1, 100*kib)), ext(2*mib, noise(1, 100*kib))),
	}
}

// file makes a qcow2 file over garbage and returns its name.
func file(t testing.TB, img *disk.Image, c Compression, bits int) string {
	t.Helper()
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "disk.qcow2"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	spool, err := os.Create(filepath.Join(dir, "spool"))
	if err != nil {
		t.Fatal(err)
	}
	defer spool.Close()
	noise(7, 300*kib).WriteTo(spool)
	// Nothing but Write is to be seen: no seeking, no copying behind our back.
	if err := write(struct{ io.Writer }{f}, img, Options{Compression: c, Spool: spool}, bits); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

var compressions = map[string]Compression{"none": None, "deflate": Deflate, "zstd": Zstd}

// judge asks qemu-img and Open whether the file is right.
func judge(t *testing.T, img *disk.Image, c Compression, bits int) {
	t.Helper()
	name := file(t, img, c, bits)
	if out := treetest.Run(t, "qemu-img", "check", "-f", "qcow2", name); !strings.Contains(out, "No errors were found on the image.") || strings.Contains(out, "leaked") {
		t.Errorf("qemu-img check: %s", out)
	}
	if img.Size() > 0 && img.Size() <= 20*gib { // it compares holes byte by byte
		if out := treetest.Run(t, "qemu-img", "compare", "-f", "qcow2", "-F", "raw", name, disktest.WriteSparse(t, img)); !strings.Contains(out, "Images are identical.") {
			t.Errorf("qemu-img compare: %s", out)
		}
	}
	checkInfo(t, name, img, c, bits)
	checkMap(t, name, img, c, bits)
	checkReader(t, name, img)
}

func checkInfo(t *testing.T, name string, img *disk.Image, c Compression, bits int) {
	t.Helper()
	var info struct {
		Size   int64  `json:"virtual-size"`
		Bits   int    `json:"cluster-size"`
		Format string `json:"format"`
		Dirty  bool   `json:"dirty-flag"`
		Is     struct {
			Data struct {
				Compat   string
				Type     string `json:"compression-type"`
				Refcount int    `json:"refcount-bits"`
				Corrupt  bool
			}
		} `json:"format-specific"`
	}
	if err := json.Unmarshal([]byte(treetest.Run(t, "qemu-img", "info", "--output=json", name)), &info); err != nil {
		t.Fatal(err)
	}
	kind := map[Compression]string{None: "zlib", Deflate: "zlib", Zstd: "zstd"}[c]
	if d := info.Is.Data; info.Size != img.Size() || info.Bits != 1<<bits || info.Format != "qcow2" || info.Dirty || d.Corrupt || d.Compat != "1.1" || d.Type != kind || d.Refcount != 16 {
		t.Errorf("qemu-img info: %+v", info)
	}
}

// checkMap checks that exactly the clusters with content are in the file.
func checkMap(t *testing.T, name string, img *disk.Image, c Compression, bits int) {
	t.Helper()
	if img.Size() == 0 {
		return
	}
	var got []struct {
		Start, Length, Offset int64
		Depth                 int
		Present, Zero, Data   bool
	}
	if err := json.Unmarshal([]byte(treetest.Run(t, "qemu-img", "map", "--output=json", "-f", "qcow2", name)), &got); err != nil {
		t.Fatal(err)
	}
	l := newLayout(img, bits)
	l.place()
	next := l.dataStart() << bits
	for run := range img.Runs(1 << bits) {
		for at := run.Off; at < run.End(); {
			if len(got) == 0 || got[0].Start != at || got[0].Data == run.Hole {
				t.Fatalf("qemu-img map differs at %d, where the image has %+v, it %+v", at, run, got)
			}
			if !run.Hole && c == None && got[0].Offset != next {
				t.Fatalf("cluster at %d is at %d, want %d", at, got[0].Offset, next)
			}
			if !run.Hole {
				next += got[0].Length
			}
			at += got[0].Length
			got = got[1:]
		}
		next = (next + 1<<bits - 1) >> bits << bits
	}
}

// checkReader checks our own reader against the image. Of large images it
// looks at all content and at the edges of holes.
func checkReader(t *testing.T, name string, img *disk.Image) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	q, err := Open(f)
	if err != nil {
		t.Fatal(err)
	}
	disktest.Read(t, q, img)
}

func TestWrite(t *testing.T) {
	for name, img := range images(t) {
		for kind, c := range compressions {
			t.Run(name+"/"+kind, func(t *testing.T) { judge(t, img, c, clusterBits) })
		}
	}
}

// TestTableLimits shrinks clusters to 512 bytes, so that tables of each kind
// come to have one entry less than fits, as many as fit, and one more.
func TestTableLimits(t *testing.T) {
	const cluster, perTable, perBlock = 512, 64, 256
	var sizes []int64
	for _, n := range []int64{perTable, perTable * perTable, 2 * perTable * perTable} {
		sizes = append(sizes, n-1, n, n+1)
	}
	for _, n := range []int64{perBlock, 2 * perBlock, perBlock * perTable, 2 * perBlock * perTable} {
		// These count metadata as well. A file of exactly n clusters need not exist.
		data := n
		for fileClusters(t, data, 9) > n {
			data--
		}
		sizes = append(sizes, data-1, data, data+1)
	}
	for _, n := range sizes {
		img := mustNew(t, n*cluster, disk.Extent{Blob: text(uint64(n), int(n*cluster))})
		name := file(t, img, None, 9)
		if out := treetest.Run(t, "qemu-img", "check", "-f", "qcow2", name); !strings.Contains(out, "No errors were found") || strings.Contains(out, "leaked") {
			t.Fatalf("%d clusters: %s", n, out)
		}
		checkReader(t, name, img)
	}
	for _, c := range compressions {
		judge(t, scattered(t, 3, 9*mib, 2000), c, 9)
		judge(t, scattered(t, 3, 9*mib, 2000), c, 10)
		judge(t, scattered(t, 4, 1*mib, 9), c, 12)
	}
}

func fileClusters(t *testing.T, data int64, bits int) int64 {
	l := newLayout(mustNew(t, data<<bits, disk.Extent{Blob: zeroes(data << bits)}), bits)
	l.place()
	return l.clusters()
}

type zeroes int64

func (z zeroes) Size() int64                             { return int64(z) }
func (z zeroes) ReadAt(p []byte, off int64) (int, error) { clear(p); return len(p), nil }

// TestFormat: a file that was never written has the bytes of one that was.
func TestFormat(t *testing.T) {
	for name, img := range images(t) {
		t.Run(name, func(t *testing.T) {
			plan, err := Format(img, Options{})
			if err != nil {
				t.Fatal(err)
			}
			disktest.Ranges(t, file(t, img, None, clusterBits), plan)
			if plan.Allocated() > img.Allocated()+int64(newLayout(img, clusterBits).size/16+mib) {
				t.Errorf("%d bytes are allocated for a disk with %d", plan.Allocated(), img.Allocated())
			}
		})
	}
	if _, err := Format(mustNew(t, mib), Options{Compression: Deflate}); err == nil || !strings.Contains(err.Error(), "see Write") {
		t.Errorf("compression: %v", err)
	}
}

// TestDeterminism: neither the number of workers nor the old content of the spool
// shows in the file.
func TestDeterminism(t *testing.T) {
	img := scattered(t, 5, 30*mib, 900)
	for kind, c := range compressions {
		sums := map[[32]byte]bool{}
		for _, procs := range []int{1, 2, 5} {
			before := runtime.GOMAXPROCS(procs)
			for _, garbage := range []int{0, mib} {
				spool, err := os.Create(filepath.Join(t.TempDir(), "spool"))
				if err != nil {
					t.Fatal(err)
				}
				noise(uint64(procs), garbage).WriteTo(spool)
				h := sha256.New()
				if err := Write(h, img, Options{Compression: c, Spool: spool}); err != nil {
					t.Fatal(err)
				}
				spool.Close()
				sums[[32]byte(h.Sum(nil))] = true
			}
			runtime.GOMAXPROCS(before)
		}
		if len(sums) != 1 {
			t.Errorf("%s: %d different files", kind, len(sums))
		}
	}
}

type failing struct{ err error }

func (f failing) Size() int64                             { return 100 }
func (f failing) ReadAt(p []byte, off int64) (int, error) { return 0, f.err }
func (f failing) Write(p []byte) (int, error)             { return 0, f.err }
func (f failing) WriteAt(p []byte, off int64) (int, error) {
	return 0, f.err
}

func TestErrors(t *testing.T) {
	broken := errors.New("broken")
	small := mustNew(t, mib, disk.Extent{Blob: text(1, mib)})
	for name, c := range map[string]struct {
		w    io.Writer
		img  *disk.Image
		o    Options
		want string
	}{
		"half sector":      {io.Discard, mustNew(t, 1000), Options{}, "qcow2: disk of 1000 bytes is not whole sectors"},
		"too large":        {io.Discard, mustNew(t, 1<<62), Options{}, "is too large"},
		"no spool":         {io.Discard, small, Options{Compression: Zstd}, "qcow2: compression needs a spool"},
		"compression":      {io.Discard, small, Options{Compression: 7}, "qcow2: unknown compression 7"},
		"content":          {io.Discard, mustNew(t, mib, disk.Extent{Off: 900, Blob: failing{broken}}), Options{}, "content at 328580: broken"},
		"packed content":   {io.Discard, mustNew(t, mib, disk.Extent{Off: 900, Blob: failing{broken}}), Options{Zstd, failing{nil}}, "content at 900: broken"},
		"writer":           {failing{broken}, small, Options{}, "qcow2: broken"},
		"spool":            {io.Discard, mustNew(t, 99*mib, disk.Extent{Blob: zeroes(99 * mib)}), Options{Deflate, failing{broken}}, "qcow2: spool: broken"},
		"small and writer": {failing{broken}, mustNew(t, 0), Options{}, "qcow2: broken"},
	} {
		if err := Write(c.w, c.img, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// TestOpenQEMU reads files of qemu-img.
func TestOpenQEMU(t *testing.T) {
	for name, img := range map[string]*disk.Image{
		"scattered": scattered(t, 6, 8*mib, 100),
		"odd":       mustNew(t, mib+1536, disk.Extent{Off: mib - 5, Blob: text(1, 1000)}),
		"hole":      mustNew(t, 3*mib),
	} {
		for _, args := range [][]string{
			{"-o", "compat=0.10"},
			{"-o", "compat=1.1"},
			{"-o", "compat=1.1,cluster_size=512"},
			{"-o", "compat=1.1,cluster_size=2M,preallocation=metadata"},
			{"-o", "compat=1.1,preallocation=full"},
			{"-o", "compat=0.10", "-c"},
			{"-o", "compat=1.1,cluster_size=4k", "-c"},
			{"-o", "compat=1.1,compression_type=zstd", "-c"},
			{"-S", "0"},
		} {
			out := filepath.Join(t.TempDir(), "disk.qcow2")
			treetest.Run(t, "qemu-img", append(append([]string{"convert", "-f", "raw", "-O", "qcow2"}, args...), disktest.WriteSparse(t, img), out)...)
			checkReader(t, out, img)
			if t.Failed() {
				t.Fatalf("%s %q", name, args)
			}
		}
	}
}

// TestOpenZero reads clusters that say that they are zero.
func TestOpenZero(t *testing.T) {
	name := filepath.Join(t.TempDir(), "disk.qcow2")
	treetest.Run(t, "qemu-img", "create", "-f", "qcow2", name, "1M")
	treetest.Run(t, "qemu-io", "-c", "write -P 5 0 256k", "-c", "write -z 64k 64k", "-c", "write -P 9 900k 512", name)
	want := bytes.Repeat([]byte{5}, 256*kib)
	clear(want[64*kib : 128*kib])
	checkReader(t, name, mustNew(t, mib, disk.Extent{Blob: bytes.NewReader(want)}, disk.Extent{Off: 900 * kib, Blob: bytes.NewReader(bytes.Repeat([]byte{9}, 512))}))
}

func TestOpenRefuses(t *testing.T) {
	for want, args := range map[string][]string{
		"needs a backing file":        {"-b", "/dev/null", "-F", "raw"},
		"subclusters (extended_l2)":   {"-o", "extended_l2=on"},
		"needs an external data file": {"-o", "data_file=ext.raw"},
	} {
		t.Chdir(t.TempDir())
		treetest.Run(t, "qemu-img", append(append([]string{"create", "-f", "qcow2"}, args...), "disk.qcow2", "1M")...)
		b, err := os.ReadFile("disk.qcow2")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Open(bytes.NewReader(b)); !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestOpenDamaged(t *testing.T) {
	good, err := os.ReadFile(file(t, mustNew(t, mib, disk.Extent{Blob: text(1, 100*kib)}), Deflate, 12))
	if err != nil {
		t.Fatal(err)
	}
	for want, damage := range map[string]func(b []byte) []byte{
		"unexpected EOF":          func(b []byte) []byte { return b[:71] },
		"not a qcow2 file":        func(b []byte) []byte { b[0]++; return b },
		"version 4 is not known":  func(b []byte) []byte { b[7] = 4; return b },
		"clusters of 1<<8 bytes":  func(b []byte) []byte { b[23] = 8; return b },
		"clusters of 1<<22 bytes": func(b []byte) []byte { b[23] = 22; return b },
		"disk of ":                func(b []byte) []byte { b[24] = 0x80; return b },
		"encrypted":               func(b []byte) []byte { b[35] = 2; return b },
		"L1 table has ":           func(b []byte) []byte { b[25] = 0x80; return b },
		"L1 table at ":            func(b []byte) []byte { b[47]++; return b },
		"length 103":              func(b []byte) []byte { b[103] = 103; return b },
		"compression type 1":      func(b []byte) []byte { b[104] = 1; return b },
		"compression type 0":      func(b []byte) []byte { b[79] = 8; return b },
		"marked as corrupt":       func(b []byte) []byte { b[79] = 2; return b },
		"compression type 2":      func(b []byte) []byte { b[79], b[104] = 8, 2; return b },
	} {
		if _, err := Open(bytes.NewReader(damage(bytes.Clone(good)))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	for want, damage := range map[string]func(b []byte) []byte{
		"L1 table: unexpected EOF":   func(b []byte) []byte { return b[:3*4096] },
		"L2 table: unexpected EOF":   func(b []byte) []byte { return b[:4*4096] },
		"bad L1 entry":               func(b []byte) []byte { b[3*4096+6] ^= 2; return b },
		"decompress: ":               func(b []byte) []byte { clear(b[5*4096:]); return b },
		"decompress: unexpected EOF": func(b []byte) []byte { return b[:5*4096+100] },
		"bad entry":                  func(b []byte) []byte { b[4*4096], b[4*4096+6] = 0x80, 2; return b },
	} {
		q, err := Open(bytes.NewReader(damage(bytes.Clone(good))))
		if err != nil {
			t.Error(err)
			continue
		}
		if n, err := q.ReadAt(make([]byte, 5000), 0); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "qcow2: cluster at 0: ") {
			t.Errorf("read %d, %v, want %q", n, err, want)
		}
	}
}

func FuzzOpen(f *testing.F) {
	for _, c := range compressions {
		b, err := os.ReadFile(file(f, mustNew(f, 8*kib, disk.Extent{Off: 512, Blob: text(1, 2*kib)}), c, 9))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := Open(bytes.NewReader(b))
		if err != nil {
			return
		}
		p := make([]byte, 10*kib)
		q.ReadAt(p, 0)
		q.ReadAt(p, q.Size()/2)
		q.ReadAt(p, q.Size()-5*kib)
	})
}

func BenchmarkWrite(b *testing.B) {
	img := scattered(b, 8, 256*mib, 12000)
	for kind, c := range compressions {
		b.Run(kind, func(b *testing.B) {
			spool, err := os.Create(filepath.Join(b.TempDir(), "spool"))
			if err != nil {
				b.Fatal(err)
			}
			defer spool.Close()
			b.SetBytes(img.Allocated())
			for b.Loop() {
				if err := Write(io.Discard, img, Options{Compression: c, Spool: spool}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
