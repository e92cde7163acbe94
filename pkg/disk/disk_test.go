package disk

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"
)

// blob returns n bytes that are not zero.
func blob(n int) *bytes.Reader { return bytes.NewReader(bytes.Repeat([]byte{0xB1}, n)) }

func mustNew(t testing.TB, size int64, extents ...Extent) *Image {
	t.Helper()
	img, err := New(size, extents...)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func TestNew(t *testing.T) {
	for name, c := range map[string]struct {
		size    int64
		extents []Extent
		want    string
	}{
		"empty":        {0, nil, ""},
		"hole":         {1 << 40, nil, ""},
		"touching":     {8, []Extent{{4, blob(4)}, {0, blob(4)}}, ""},
		"empty blobs":  {8, []Extent{{0, blob(8)}, {4, blob(0)}, {8, blob(0)}}, ""},
		"negative":     {-1, nil, "size -1 is negative"},
		"before":       {8, []Extent{{-1, blob(4)}}, "extent -1+4 leaves the image of 8 bytes"},
		"behind":       {8, []Extent{{5, blob(4)}}, "extent 5+4 leaves the image of 8 bytes"},
		"overflow":     {8, []Extent{{math.MaxInt64, blob(4)}}, "leaves the image"},
		"overlap":      {8, []Extent{{3, blob(4)}, {0, blob(4)}}, "extents 0+4 and 3+4 overlap"},
		"same":         {8, []Extent{{0, blob(4)}, {0, blob(4)}}, "overlap"},
		"big nested":   {8, []Extent{{4, mustNew(t, 5)}}, "leaves the image"},
		"nested":       {8, []Extent{{4, mustNew(t, 4, Extent{0, blob(1)})}, {4, blob(1)}}, "overlap"},
		"into a hole":  {8, []Extent{{4, mustNew(t, 4, Extent{0, blob(1)})}, {6, blob(1)}}, ""},
		"largest size": {math.MaxInt64, []Extent{{math.MaxInt64 - 4, blob(4)}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			img, err := New(c.size, c.extents...)
			switch {
			case c.want != "":
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want %q", err, c.want)
				}
			case err != nil:
				t.Error(err)
			case img.Size() != c.size:
				t.Errorf("size %d, want %d", img.Size(), c.size)
			}
		})
	}
}

func TestNesting(t *testing.T) {
	file := mustNew(t, 100, Extent{10, blob(5)}, Extent{50, blob(50)})
	part := mustNew(t, 1000, Extent{0, blob(20)}, Extent{300, file})
	img := mustNew(t, 5000, Extent{2000, part}, Extent{0, blob(1)})
	var got []string
	for _, e := range img.Extents() {
		if _, ok := e.Blob.(*Image); ok {
			t.Errorf("extent at %d is an image", e.Off)
		}
		got = append(got, fmt.Sprintf("%d-%d", e.Off, e.End()))
	}
	if want := []string{"0-1", "2000-2020", "2310-2315", "2350-2400"}; !slices.Equal(got, want) {
		t.Errorf("extents %v, want %v", got, want)
	}
	if got := img.Allocated(); got != 76 {
		t.Errorf("%d bytes allocated, want 76", got)
	}
}

// random returns an image and its bytes, made from the seed.
func random(t testing.TB, seed uint64, size, extents int) (*Image, []byte) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 0))
	want := make([]byte, size)
	var list []Extent
	for off := r.IntN(size/extents + 1); off < size && len(list) < extents; {
		n := min(1+r.IntN(2*size/extents/3+1), size-off)
		for i := range n {
			want[off+i] = byte(r.Uint32())
		}
		list = append(list, Extent{int64(off), bytes.NewReader(want[off : off+n])})
		if off += n; r.IntN(3) > 0 {
			off += r.IntN(size/extents/2 + 1)
		}
	}
	r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return mustNew(t, int64(size), list...), want
}

func TestReadAt(t *testing.T) {
	for seed := range uint64(20) {
		img, want := random(t, seed, 3000, 1+int(seed))
		r := rand.New(rand.NewPCG(seed, 1))
		for range 500 {
			off := r.IntN(len(want))
			p := bytes.Repeat([]byte{0xEE}, r.IntN(len(want)+50))
			n, err := img.ReadAt(p, int64(off))
			if fits := min(len(p), len(want)-off); n != fits || !bytes.Equal(p[:n], want[off:off+n]) {
				t.Fatalf("seed %d: %d bytes at %d: read %d, which may be wrong", seed, len(p), off, n)
			}
			if (err == io.EOF) != (off+len(p) > len(want)) || err != nil && err != io.EOF {
				t.Fatalf("seed %d: %d bytes at %d: %v", seed, len(p), off, err)
			}
		}
		if err := iotest.TestReader(io.NewSectionReader(img, 0, img.Size()), want); err != nil {
			t.Error(err)
		}
	}
	img := mustNew(t, 10)
	if _, err := img.ReadAt(make([]byte, 1), -1); err == nil || err == io.EOF {
		t.Errorf("negative offset: %v", err)
	}
	for _, off := range []int64{10, 11, math.MaxInt64} {
		if n, err := img.ReadAt(make([]byte, 1), off); n != 0 || err != io.EOF {
			t.Errorf("at %d: %d, %v", off, n, err)
		}
	}
}

// broken is content that cannot be read from some byte on.
type broken struct {
	size, good int64
	err        error
}

func (b broken) Size() int64 { return b.size }

func (b broken) ReadAt(p []byte, off int64) (int, error) {
	n := max(0, min(int64(len(p)), b.good-off))
	if n < int64(len(p)) {
		return int(n), b.err
	}
	return int(n), nil
}

var errDisk = errors.New("read head is lost")

func TestReadErrors(t *testing.T) {
	img := mustNew(t, 100, Extent{10, broken{20, 5, errDisk}}, Extent{50, broken{20, 5, io.EOF}})
	n, err := img.ReadAt(make([]byte, 40), 0)
	if n != 15 || !errors.Is(err, errDisk) || !strings.Contains(err.Error(), "content at 15:") {
		t.Errorf("read %d, %v", n, err)
	}
	if n, err := img.ReadAt(make([]byte, 50), 40); n != 15 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("short content: read %d, %v", n, err)
	}
	if n, err := img.ReadAt(make([]byte, 15), 0); n != 15 || err != nil {
		t.Errorf("the good part: read %d, %v", n, err)
	}
}

func TestRuns(t *testing.T) {
	for _, c := range []struct {
		size    int64
		extents []Extent
		want    string
	}{
		{0, nil, ""},
		{5, nil, "hole 0-5"},
		{5, []Extent{{4, blob(1)}}, "data 0-5"},
		{16, []Extent{{0, blob(16)}}, "data 0-16"},
		{100, []Extent{{15, blob(1)}, {16, blob(1)}}, "hole 0-8, data 8-24, hole 24-100"},
		{100, []Extent{{9, blob(1)}, {11, blob(1)}, {14, blob(2)}}, "hole 0-8, data 8-16, hole 16-100"},
		{100, []Extent{{9, blob(1)}, {30, blob(1)}}, "hole 0-8, data 8-16, hole 16-24, data 24-32, hole 32-100"},
		{100, []Extent{{99, blob(1)}}, "hole 0-96, data 96-100"},
		{100, []Extent{{0, blob(1)}, {90, blob(7)}}, "data 0-8, hole 8-88, data 88-100"},
		{math.MaxInt64, []Extent{{math.MaxInt64 - 1, blob(1)}}, "hole 0-9223372036854775800, data 9223372036854775800-9223372036854775807"},
	} {
		var got []string
		for r := range mustNew(t, c.size, c.extents...).Runs(8) {
			got = append(got, fmt.Sprintf("%s %d-%d", map[bool]string{true: "hole", false: "data"}[r.Hole], r.Off, r.End()))
		}
		if got := strings.Join(got, ", "); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

// tap says how much it got while it is being written to.
type tap struct {
	b bytes.Buffer
	n atomic.Int64
}

func (t *tap) Write(p []byte) (int, error) {
	n, err := t.b.Write(p)
	t.n.Add(int64(n))
	return n, err
}

func TestChunks(t *testing.T) {
	for seed := range uint64(40) {
		img, want := random(t, seed, 30000, 1+int(seed))
		for _, tapped := range []*tap{nil, {}} {
			var got bytes.Buffer
			var w io.Writer
			if tapped != nil {
				w = tapped
			}
			for c, err := range img.Chunks(16, 64, w) {
				switch {
				case err != nil:
					t.Fatal(err)
				case c.Off != int64(got.Len()) || c.Len < 1:
					t.Fatalf("chunk %d+%d comes at %d", c.Off, c.Len, got.Len())
				case c.Hole != (c.Data == nil) || !c.Hole && int64(len(c.Data)) != c.Len || len(c.Data) > 64:
					t.Fatalf("chunk %+v has %d bytes", c.Run, len(c.Data))
				case tapped != nil && tapped.n.Load() < c.End():
					t.Fatal("tap comes behind the loop")
				}
				if n, err := c.WriteTo(&got); n != c.Len || err != nil {
					t.Fatal(n, err)
				}
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Fatalf("seed %d: wrong bytes", seed)
			}
			if tapped != nil && !bytes.Equal(tapped.b.Bytes(), want) {
				t.Fatalf("seed %d: wrong bytes at the tap", seed)
			}
		}
	}
}

// TestChunksEnd ends loops early, in all ways. No goroutine may stay behind.
func TestChunksEnd(t *testing.T) {
	before := runtime.NumGoroutine()
	img, _ := random(t, 1, 30000, 10)
	for stop := range 50 {
		h := sha256.New()
		i := 0
		for range img.Chunks(16, 64, h) {
			if i++; i > stop {
				break
			}
		}
	}
	// A loop that ends while the tap is at a hole of four exabytes.
	for range mustNew(t, 1<<62, Extent{0, blob(8)}).Chunks(8, 64, io.Discard) {
		break
	}
	for range 1000 { // a goroutine that is done takes a moment to vanish
		if runtime.NumGoroutine() <= before {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if after := runtime.NumGoroutine(); after > before {
		t.Errorf("%d goroutines, %d before", after, before)
	}
}

func TestChunksErrors(t *testing.T) {
	img := mustNew(t, 1000, Extent{0, blob(100)}, Extent{500, broken{200, 100, errDisk}}, Extent{800, blob(1)})
	good := int64(0)
	var last error
	for c, err := range img.Chunks(4, 64, io.Discard) {
		if last != nil {
			t.Fatal("something comes after an error")
		}
		if last = err; err == nil {
			good += c.Len
		}
	}
	if !errors.Is(last, errDisk) || !strings.Contains(last.Error(), "content at 600:") || good != 564 {
		t.Errorf("%v after %d good bytes", last, good)
	}

	full := errors.New("tap is full")
	for _, err := range mustNew(t, 1000, Extent{0, blob(1000)}).Chunks(4, 64, failing{full}) {
		if !errors.Is(err, full) {
			t.Errorf("got %v", err)
		}
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }
