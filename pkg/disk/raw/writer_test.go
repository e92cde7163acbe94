package raw

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestWriter: the file has the bytes that were written in pieces of any size,
// and zeros take no room.
func TestWriter(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	want := make([]byte, 9<<20+123)
	for range 20 { // islands in zeros
		at := random.IntN(len(want) - 5000)
		for i := range random.IntN(5000) {
			want[at+i] = byte(1 + random.IntN(255))
		}
	}
	for _, most := range []int{1 << 8, 5000, 1 << 20, len(want)} {
		f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		w := NewWriter(f, 0)
		for rest := want; len(rest) > 0; {
			n := min(1+random.IntN(most), len(rest))
			if k, err := w.Write(rest[:n]); k != n || err != nil {
				t.Fatal(k, err)
			}
			rest = rest[n:]
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(f.Name())
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("pieces of up to %d: another file, %v", most, err)
		}
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		if room := info.Sys().(*syscall.Stat_t).Blocks * 512; room > 1<<20 {
			t.Errorf("pieces of up to %d: %d bytes on disk", most, room)
		}
	}
}
