package compress

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/ulikunitz/xz"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

var kinds = filetype.Compressions()

// pack compresses content, written in pieces of odd lengths.
func pack(t testing.TB, kind filetype.Compression, o Options, content ...[]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	if o.Name == "" {
		o.Name = "disk.raw"
	}
	w, err := NewWriter(&out, kind, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range content {
		for piece := range slices.Chunk(b, 300001) {
			if n, err := w.Write(piece); n != len(piece) || err != nil {
				t.Fatal(n, err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// unpack decompresses a file, at most limit bytes of it.
func unpack(r io.Reader, limit int64) ([]byte, filetype.Compression, error) {
	in, kind, err := NewReader(r)
	if err != nil {
		return nil, kind, err
	}
	defer in.Close()
	b, err := io.ReadAll(io.LimitReader(in, limit))
	return b, kind, err
}

func read(t testing.TB, r io.Reader) []byte {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// contents are files at the edges of blocks of all kinds, and disks with holes.
func contents(t testing.TB) map[string][]byte {
	text, noise, hole := read(t, disktest.Text(3<<19)), read(t, disktest.Noise(5<<18)), make([]byte, 17<<20)
	return map[string][]byte{
		"nothing":       nil,
		"a byte":        noise[:1],
		"a zero":        hole[:1],
		"a block - 1":   text[:1<<20-1],
		"a block":       noise[:1<<20],
		"a block + 1":   text[:1<<20+1],
		"zeros":         hole,
		"zeros + 1":     hole[:16<<20+1],
		"text":          text,
		"noise":         noise,
		"a disk":        slices.Concat(text, hole, noise[:5000], hole[:2<<20], text[:100], hole[:5<<20]),
		"begins hollow": slices.Concat(hole[:1<<20-1], noise[:1<<20], hole[:3<<19]),
	}
}

// judges has for each compression a command that tests a file, and one that prints its
// content.
var judges = map[filetype.Compression][2][]string{
	filetype.Gzip: {{"gzip", "-t"}, {"gzip", "-dc"}},
	filetype.Xz:   {{"xz", "-t"}, {"xz", "-dc"}},
	filetype.Zstd: {{"zstd", "-qt"}, {"zstd", "-qdc"}},
	filetype.Zip:  {{"unzip", "-t"}, {"unzip", "-p"}},
}

// TestTools reads each file with the compression's own tool and with our reader.
func TestTools(t *testing.T) {
	for name, want := range contents(t) {
		if testing.Short() && len(want) > 2<<20 {
			continue
		}
		for _, kind := range kinds {
			t.Run(fmt.Sprintf("%s/%s", kind, name), func(t *testing.T) {
				packed := pack(t, kind, Options{}, want)
				in := iotest.HalfReader(bytes.NewReader(packed))
				if kind == filetype.Zip {
					in = bytes.NewReader(packed)
				}
				if got, k, err := unpack(in, 1<<30); err != nil || k != kind || !bytes.Equal(got, want) {
					t.Errorf("reader: %d bytes of %d, kind %s: %v", len(got), len(want), k, err)
				}
				path := filepath.Join(t.TempDir(), "file"+kind.Suffix())
				if err := os.WriteFile(path, packed, 0o644); err != nil {
					t.Fatal(err)
				}
				treetest.Run(t, judges[kind][0][0], append(judges[kind][0][1:], path)...)
				if got := treetest.Run(t, judges[kind][1][0], append(judges[kind][1][1:], path)...); got != string(want) {
					t.Errorf("%s: %d bytes of %d, or others", judges[kind][1], len(got), len(want))
				}
			})
		}
	}
}

// TestOneMember gets all content from the first member of a gzip file.
func TestOneMember(t *testing.T) {
	want := contents(t)["a disk"]
	packed := bytes.NewReader(pack(t, filetype.Gzip, Options{}, want))
	r, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	r.Multistream(false)
	if got := read(t, r); !bytes.Equal(got, want) || packed.Len() != 0 {
		t.Errorf("%d bytes of %d, %d behind the member", len(got), len(want), packed.Len())
	}
	if r.Name != "" || !r.ModTime.IsZero() || len(r.Extra) > 0 {
		t.Errorf("header %+v", r.Header)
	}
}

// TestXzList has xz find one stream, and in it the blocks that can be read on
// several cores.
func TestXzList(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file.xz")
	if err := os.WriteFile(path, pack(t, filetype.Xz, Options{}, make([]byte, 9<<20)), 0o644); err != nil {
		t.Fatal(err)
	}
	list := treetest.Run(t, "xz", "--robot", "-lvv", path)
	var blocks, sized int
	for line := range strings.Lines(list) {
		f := strings.Split(strings.TrimSpace(line), "\t")
		switch f[0] {
		case "file":
			if f[1] != "1" || f[2] != "3" || f[6] != "CRC64" {
				t.Errorf("not one stream of three blocks: %q", f)
			}
		case "block":
			blocks++
			if f[12] == "cu" { // both sizes are in the header
				sized++
			}
		}
	}
	if blocks != 3 || sized != 3 {
		t.Errorf("%d blocks, %d with sizes:\n%s", blocks, sized, list)
	}
}

// TestZip has Python read an archive: one member with a name and a date.
func TestZip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file.zip")
	want := contents(t)["a disk"]
	if err := os.WriteFile(path, pack(t, filetype.Zip, Options{Name: "a name.vhdx"}, want), 0o644); err != nil {
		t.Fatal(err)
	}
	got := treetest.Run(t, "python3", "-c", `
import sys, zipfile, hashlib
z = zipfile.ZipFile(sys.argv[1])
assert z.testzip() is None
for m in z.infolist():
    print(m.filename, m.date_time, m.file_size, m.compress_type, oct(m.external_attr >> 16), hashlib.sha256(z.read(m)).hexdigest())
`, path)
	if want := fmt.Sprintf("a name.vhdx (1980, 1, 1, 0, 0, 0) %d 8 0o100644 %x\n", len(want), sha256.Sum256(want)); got != want {
		t.Errorf("got  %swant %s", got, want)
	}
}

// TestLarge compresses more bytes than 32 bits can count. Zeros are fast.
func TestLarge(t *testing.T) {
	if testing.Short() {
		t.Skip("4 GiB in -short")
	}
	const size = 4<<30 + 5
	for _, kind := range []filetype.Compression{filetype.Gzip, filetype.Zip} {
		path := filepath.Join(t.TempDir(), "file"+kind.Suffix())
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		w, err := NewWriter(f, kind, Options{Name: "large"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(w, io.LimitReader(zeroReader{}, size)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		in, _, err := NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		if n, err := io.Copy(io.Discard, in); n != size || err != nil {
			t.Errorf("%s: %d bytes: %v", kind, n, err)
		}
		if kind == filetype.Zip {
			if out := treetest.Run(t, "unzip", "-l", path); !strings.Contains(out, fmt.Sprint(size)) {
				t.Errorf("no %d in\n%s", size, out)
			}
		}
	}
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestDeterminism gets the same files for every number of cores.
func TestDeterminism(t *testing.T) {
	content := contents(t)["a disk"]
	for _, kind := range kinds {
		sums := map[[32]byte]bool{}
		for _, procs := range []int{1, 2, 5} {
			before := runtime.GOMAXPROCS(procs)
			sums[sha256.Sum256(pack(t, kind, Options{}, content))] = true
			runtime.GOMAXPROCS(before)
		}
		if len(sums) != 1 {
			t.Errorf("%s: %d different files", kind, len(sums))
		}
	}
}

// TestLevels gets valid files from all levels, and smaller ones from the slower levels.
func TestLevels(t *testing.T) {
	want := slices.Concat(read(t, disktest.Text(100_000)), read(t, disktest.Noise(200_000)), read(t, disktest.Text(100_000)), read(t, disktest.Noise(200_000)))
	for _, f := range coders {
		last := len(want)
		for _, level := range []int{1, 3, 6, f.highest} {
			packed := pack(t, f.compression, Options{Level: level}, want)
			if got, _, err := unpack(bytes.NewReader(packed), 1<<30); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s, level %d: %d bytes of %d: %v", f.compression, level, len(got), len(want), err)
			}
			if len(packed) > last+last/100 {
				t.Errorf("%s, level %d: %d bytes, a lower one makes %d", f.compression, level, len(packed), last)
			}
			last = len(packed)
		}
	}
}

// TestForeign reads files of other tools.
func TestForeign(t *testing.T) {
	want := slices.Concat(read(t, disktest.Text(1<<20)), read(t, disktest.Noise(300_000)), make([]byte, 1<<20))
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, want, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		kind    filetype.Compression
		command []string
	}{
		{filetype.Gzip, []string{"gzip", "-9c", plain}},
		{filetype.Xz, []string{"xz", "-9c", plain}},
		{filetype.Xz, []string{"xz", "-c", "-T2", "--block-size=300KiB", plain}},
		{filetype.Xz, []string{"xz", "-c", "--check=crc32", "--lzma2=dict=4KiB", plain}},
		{filetype.Xz, []string{"xz", "-c", "--check=sha256", plain}},
		{filetype.Zstd, []string{"zstd", "-qc", "-19", plain}},
		{filetype.Zstd, []string{"zstd", "-qc", "--long=27", "--no-check", plain}},
		{filetype.Zip, []string{"python3", "-c", "import sys, zipfile; z = zipfile.ZipFile(sys.stdout.buffer, 'w', 8); z.write(sys.argv[1]); z.close()", plain}},
		{filetype.Zip, []string{"python3", "-c", "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]+'.zip', 'w', 8); z.write(sys.argv[1]); z.close(); sys.stdout.buffer.write(open(z.filename, 'rb').read())", plain}},
		{filetype.Zip, []string{"python3", "-c", "import sys, zipfile; z = zipfile.ZipFile(sys.stdout.buffer, 'w'); z.write(sys.argv[1]); z.comment = b'stored'; z.close()", plain}},
		{filetype.None, []string{"cat", plain}},
	} {
		packed := []byte(treetest.Run(t, c.command[0], c.command[1:]...))
		if got, kind, err := unpack(bytes.NewReader(packed), 1<<30); kind != c.kind || err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: kind %s, %d bytes of %d: %v", c.command, kind, len(got), len(want), err)
		}
		if c.kind == filetype.Zip || c.kind == filetype.None {
			continue
		}
		twice := slices.Concat(packed, packed)
		if c.kind == filetype.Xz {
			twice = slices.Concat(packed, make([]byte, 8), packed, make([]byte, 4))
		}
		if got, _, err := unpack(bytes.NewReader(twice), 1<<30); err != nil || !bytes.Equal(got, slices.Concat(want, want)) {
			t.Errorf("%s twice: %d bytes of %d: %v", c.command, len(got), 2*len(want), err)
		}
	}
}

// TestDamage rejects a file that is truncated, has trailing data, or has a flipped bit,
// unless its content is the same.
func TestDamage(t *testing.T) {
	want := slices.Concat(read(t, disktest.Text(700)), read(t, disktest.Noise(200)))
	for _, c := range []struct {
		kind   filetype.Compression
		packed []byte
	}{
		{filetype.Gzip, pack(t, filetype.Gzip, Options{}, want)},
		{filetype.Xz, pack(t, filetype.Xz, Options{}, want)},
		{filetype.Xz, unsized(t, want)},
		{filetype.Zstd, pack(t, filetype.Zstd, Options{}, want)},
		{filetype.Zip, pack(t, filetype.Zip, Options{}, want)},
	} {
		kind, packed := c.kind, c.packed
		for n := range len(packed) {
			if n < 6 && kind != filetype.Gzip || n < 2 {
				continue // too little to tell the kind
			}
			if got, _, err := unpack(bytes.NewReader(packed[:n]), 1<<20); err == nil || len(got) > len(want) {
				t.Errorf("%s: %d bytes of %d: no error", kind, n, len(packed))
			} else if !strings.Contains(err.Error(), "compress: "+string(kind)) {
				t.Errorf("%s: an error that does not tell the kind: %v", kind, err)
			}
		}
		for _, garbage := range []string{"x", "\x00", "garbage, and enough of it to be anything"} {
			if _, _, err := unpack(strings.NewReader(string(packed)+garbage), 1<<20); err == nil {
				t.Errorf("%s: followed by %q: no error", kind, garbage)
			}
		}
		for bit := 0; bit < 8*len(packed); bit += 3 {
			bad := bytes.Clone(packed)
			bad[bit/8] ^= 1 << (bit % 8)
			if got, k, err := unpack(bytes.NewReader(bad), 1<<20); err == nil && k != filetype.None && !bytes.Equal(got, want) {
				t.Errorf("%s: bit %d of byte %d: other content, and no error", kind, bit%8, bit/8)
			}
		}
	}
}

// unsized makes a stream of blocks that do not tell their sizes ahead.
func unsized(t *testing.T, content []byte) []byte {
	var out bytes.Buffer
	w, err := xz.WriterConfig{BlockSize: 500, DictCap: 1 << 16}.NewWriter(&out)
	if err == nil {
		_, err = w.Write(content)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestHostile rejects well-formed files.
func TestHostile(t *testing.T) {
	treetest.Tool(t, "python3")
	two := treetest.Run(t, "python3", "-c", "import sys, zipfile; z = zipfile.ZipFile(sys.stdout.buffer, 'w', 8); z.writestr('a', b'a'); z.writestr('b', b'b'); z.close()")
	many := treetest.Run(t, "python3", "-c", "import sys, zipfile; z = zipfile.ZipFile(sys.stdout.buffer, 'w', 8); [z.writestr('%1000d' % i, b'a') for i in range(1500)]; z.close()")
	dict := pack(t, filetype.Xz, Options{}, []byte("a"))
	at := bytes.IndexByte(dict, xzLZMA2)
	dict[at+2] = 40 // 4 GiB
	head := dict[12:][:(int(dict[12])+1)*4]
	copy(head, withCRC(head[:len(head)-4:len(head)-4]))
	for _, c := range []struct{ file, want string }{
		{two, "2 members, want 1"},
		{many, "directory is larger than"},
		{string(dict), "dictionary of 4294967295 bytes"},
		{"\x28\xb5\x2f\xfd\x00\xf8\x01\x00\x00", "window size exceeded"},
	} {
		if _, _, err := unpack(strings.NewReader(c.file), 1<<20); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v", c.want, err)
		}
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		kind filetype.Compression
		o    Options
		want string
	}{
		{"lzip", Options{}, `compression "lzip" is unknown, must be one of: none, gzip, xz, zstd, zip`},
		{filetype.Gzip, Options{Level: 10}, "gzip: invalid level 10, must be 1 to 9"},
		{filetype.Zstd, Options{Level: -1}, "zstd: invalid level -1, must be 1 to 22"},
		{filetype.Zip, Options{}, "missing name of the member"},
	} {
		if _, err := NewWriter(io.Discard, c.kind, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %+v: %v", c.kind, c.o, err)
		}
	}
	if _, _, err := NewReader(iotest.HalfReader(bytes.NewReader(pack(t, filetype.Zip, Options{}, nil)))); !errors.Is(err, ErrNotFile) {
		t.Errorf("a zip archive in a stream: %v", err)
	}
	if _, _, err := NewReader(iotest.ErrReader(errors.New("broken"))); err == nil || err.Error() != "broken" {
		t.Errorf("a file that cannot be read: %v", err)
	}
}

// full is a file on a disk that has only so much room.
type full struct{ room int }

func (f *full) Write(p []byte) (int, error) {
	if f.room -= len(p); f.room < 0 {
		return 0, errors.New("no space left")
	}
	return len(p), nil
}

// TestFull returns the error of a full disk and does not hang, and a second Close has no
// effect.
func TestFull(t *testing.T) {
	content := slices.Concat(read(t, disktest.Noise(200_000)), make([]byte, 300<<20))
	for _, kind := range append(kinds, filetype.None) {
		for _, room := range []int{0, 20, 100_000} {
			w, err := NewWriter(&full{room}, kind, Options{Name: "disk.raw", Level: 1})
			if err == nil {
				_, written := w.Write(content)
				err = cmp.Or(written, w.Close())
				if again := w.Close(); written != nil && again == nil && kind != filetype.None {
					t.Errorf("%s: an error is forgotten", kind)
				}
			}
			if err == nil || !strings.Contains(err.Error(), "no space left") {
				t.Errorf("%s: room for %d bytes: %v", kind, room, err)
			}
		}
	}
	var out bytes.Buffer
	for _, kind := range kinds {
		w, err := NewWriter(&out, kind, Options{Name: "disk.raw"})
		if err != nil {
			t.Fatal(err)
		}
		err = w.Close()
		n := out.Len()
		if again := w.Close(); err != nil || again != nil || out.Len() != n {
			t.Errorf("%s: closed twice: %v, %v, %d bytes and then %d", kind, err, again, n, out.Len())
		}
	}
}

func FuzzReader(f *testing.F) {
	for _, kind := range kinds {
		f.Add(pack(f, kind, Options{}, []byte("some text and some text")))
		f.Add(pack(f, kind, Options{}))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		content, kind, err := unpack(bytes.NewReader(file), 1<<20)
		if err == nil && kind == filetype.None && !bytes.Equal(content, file[:min(len(file), 1<<20)]) {
			t.Error("what is not compressed is not read as it is")
		}
	})
}

func BenchmarkWriter(b *testing.B) {
	for _, kind := range kinds {
		b.Run(string(kind), func(b *testing.B) {
			content := slices.Concat(read(b, disktest.Text(8<<20)), read(b, disktest.Noise(8<<20)), make([]byte, 16<<20))
			b.SetBytes(int64(len(content)))
			for b.Loop() {
				pack(b, kind, Options{}, content)
			}
		})
	}
}

func BenchmarkZeros(b *testing.B) {
	zero := make([]byte, 256<<10)
	for _, kind := range kinds {
		b.Run(string(kind), func(b *testing.B) {
			w, err := NewWriter(io.Discard, kind, Options{Name: "disk.raw"})
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(zero)))
			for b.Loop() {
				w.Write(zero)
			}
			if err := w.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

func BenchmarkReader(b *testing.B) {
	content := slices.Concat(read(b, disktest.Text(8<<20)), read(b, disktest.Noise(8<<20)), make([]byte, 16<<20))
	for _, kind := range kinds {
		packed := pack(b, kind, Options{}, content)
		b.Run(string(kind), func(b *testing.B) {
			b.SetBytes(int64(len(content)))
			for b.Loop() {
				if _, _, err := unpack(bytes.NewReader(packed), 1<<30); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
