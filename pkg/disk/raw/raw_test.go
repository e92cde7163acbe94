package raw

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
)

func noise(seed uint64, n int) *bytes.Reader {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(seed)}).Read(b)
	return bytes.NewReader(b)
}

func mustNew(t testing.TB, size int64, extents ...disk.Extent) *disk.Image {
	t.Helper()
	img, err := disk.New(size, extents...)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// scattered has many small extents and some large ones, as an image of a file
// system does.
func scattered(t testing.TB, size int64, count int) *disk.Image {
	r := rand.New(rand.NewPCG(1, 1))
	step := size / int64(count)
	var extents []disk.Extent
	for i := range int64(count) {
		n := 1 + r.Int64N(step)
		extents = append(extents, disk.Extent{Off: i*step + r.Int64N(step-n+1), Blob: noise(uint64(i), int(n))})
	}
	return mustNew(t, size, extents...)
}

func images(t *testing.T) map[string]*disk.Image {
	ext := func(off int64, b *bytes.Reader) disk.Extent { return disk.Extent{Off: off, Blob: b} }
	return map[string]*disk.Image{
		"nothing":      mustNew(t, 0),
		"one byte":     mustNew(t, 1, ext(0, noise(1, 1))),
		"hole":         mustNew(t, 5<<20+1),
		"odd end":      mustNew(t, 1<<20+7, ext(1<<20+3, noise(1, 2))),
		"chunk - 1":    mustNew(t, chunk, ext(0, noise(1, chunk-1))),
		"chunk":        mustNew(t, chunk, ext(0, noise(1, chunk))),
		"chunk + 1":    mustNew(t, chunk+1, ext(0, noise(1, chunk+1))),
		"across":       mustNew(t, 3*chunk, ext(chunk-1, noise(1, chunk+2))),
		"middle":       mustNew(t, 9<<20, ext(4<<20, noise(1, 1<<20))),
		"scattered":    scattered(t, 20<<20, 3000),
		"thin":         scattered(t, 20<<20, 40),
		"zero content": mustNew(t, 1<<20, ext(0, bytes.NewReader(make([]byte, 1<<20)))),
	}
}

func content(t *testing.T, img *disk.Image) []byte {
	t.Helper()
	b := make([]byte, img.Size())
	if n, err := img.ReadAt(b, 0); n < len(b) {
		t.Fatal(err)
	}
	return b
}

func TestWrite(t *testing.T) {
	for name, img := range images(t) {
		var got bytes.Buffer
		if err := Write(&got, img); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), content(t, img)) {
			t.Errorf("%s: wrong bytes", name)
		}
	}
}

// TestWriteFile writes over garbage, which is shorter, longer or absent, so
// that a byte that is not written shows.
func TestWriteFile(t *testing.T) {
	for name, img := range images(t) {
		want := content(t, img)
		for _, garbage := range []int{0, len(want) / 2, len(want) + 100} {
			t.Run(fmt.Sprintf("%s/%d", name, garbage), func(t *testing.T) {
				file := filepath.Join(t.TempDir(), "disk.img")
				if err := os.WriteFile(file, bytes.Repeat([]byte{0xA5}, garbage), 0o644); err != nil {
					t.Fatal(err)
				}
				f, err := os.OpenFile(file, os.O_RDWR, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				f.Seek(3, io.SeekStart) // must not matter
				h := sha256.New()
				if err := WriteFile(f, img, h); err != nil {
					t.Fatal(err)
				}
				got, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got, want) {
					t.Error("wrong bytes in the file")
				}
				if [32]byte(h.Sum(nil)) != sha256.Sum256(want) {
					t.Error("wrong bytes at the tap")
				}
			})
		}
	}
}

func TestSparse(t *testing.T) {
	const size = 1 << 40
	f, err := os.Create(filepath.Join(t.TempDir(), "disk.img"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := WriteFile(f, mustNew(t, size, disk.Extent{Off: size / 2, Blob: noise(1, 100000)}), nil); err != nil {
		t.Fatal(err)
	}
	var st syscall.Stat_t
	if err := syscall.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	if st.Size != size || st.Blocks*512 > 1<<20 {
		t.Errorf("%d bytes take %d", st.Size, st.Blocks*512)
	}
}

// TestDeterminism: the number of cores does not show.
func TestDeterminism(t *testing.T) {
	img := scattered(t, 30<<20, 2000)
	sums := map[[32]byte]bool{}
	for _, procs := range []int{1, 2, 5} {
		before := runtime.GOMAXPROCS(procs)
		f, err := os.Create(filepath.Join(t.TempDir(), "disk.img"))
		if err != nil {
			t.Fatal(err)
		}
		tap, read := sha256.New(), sha256.New()
		if err := WriteFile(f, img, tap); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(read, f); err != nil {
			t.Fatal(err)
		}
		f.Close()
		sums[[32]byte(tap.Sum(nil))], sums[[32]byte(read.Sum(nil))] = true, true
		runtime.GOMAXPROCS(before)
	}
	if len(sums) != 1 {
		t.Errorf("%d different sums", len(sums))
	}
}

type failing struct{ err error }

func (f failing) Size() int64                             { return 100 }
func (f failing) ReadAt(p []byte, off int64) (int, error) { return 0, f.err }
func (f failing) Write(p []byte) (int, error)             { return 0, f.err }

func TestErrors(t *testing.T) {
	broken := errors.New("broken")
	bad := mustNew(t, 1<<20, disk.Extent{Off: 5000, Blob: failing{broken}})
	good := mustNew(t, 1<<20, disk.Extent{Off: 5000, Blob: noise(1, 5000)})
	short := mustNew(t, 1<<20, disk.Extent{Off: 300000, Blob: io.NewSectionReader(noise(1, 5000), 0, 9000)})
	f, err := os.Create(filepath.Join(t.TempDir(), "disk.img"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	closed, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"content":         {Write(io.Discard, bad), "disk: content at 5000: broken"},
		"short":           {WriteFile(f, short, io.Discard), "disk: content at 305000: unexpected EOF"},
		"content to file": {WriteFile(f, bad, io.Discard), "disk: content at 5000: broken"},
		"writer":          {Write(failing{broken}, good), "broken"},
		"tap":             {WriteFile(f, good, failing{broken}), "broken"},
		"file":            {WriteFile(closed, good, nil), "file already closed"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, c.err, c.want)
		}
	}
}

func BenchmarkWriteFile(b *testing.B) {
	img := scattered(b, 512<<20, 12000)
	for _, hash := range []bool{false, true} {
		b.Run(fmt.Sprintf("sha256=%v", hash), func(b *testing.B) {
			f, err := os.Create(filepath.Join(b.TempDir(), "disk.img"))
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			b.SetBytes(img.Size())
			for b.Loop() {
				var tap io.Writer
				if hash {
					tap = sha256.New()
				}
				if err := WriteFile(f, img, tap); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkWrite(b *testing.B) {
	img := scattered(b, 512<<20, 12000)
	b.SetBytes(img.Size())
	for b.Loop() {
		if err := Write(io.Discard, img); err != nil {
			b.Fatal(err)
		}
	}
}
