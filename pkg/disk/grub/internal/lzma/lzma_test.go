package lzma

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/ulikunitz/xz/lzma"
)

// decode decodes a stream by another implementation.
func decode(t *testing.T, packed []byte, size int) []byte {
	t.Helper()
	head := []byte{(2*5+0)*9 + 3, 0, 0, 1, 0}
	head = binary.LittleEndian.AppendUint64(head, uint64(size))
	r, err := lzma.NewReader(bytes.NewReader(append(head, packed...)))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("%d bytes: %v", size, err)
	}
	return b
}

func check(t *testing.T, data []byte) {
	t.Helper()
	packed := Encode(data)
	if len(data) == 0 { // the other implementation wants content
		return
	}
	if got := decode(t, packed, len(data)); !bytes.Equal(got, data) {
		t.Errorf("%d bytes came back as %d others", len(data), len(got))
	}
	if again := Encode(data); !bytes.Equal(again, packed) {
		t.Errorf("%d bytes: differs the second time", len(data))
	}
}

// TestEncode encodes and decodes short inputs, long matches, distances at the end
// of the window, and noise. A test of package grub compares the bytes with those of
// GRUB.
func TestEncode(t *testing.T) {
	text := []byte(strings.Repeat("It was the best of times, it was the worst of times; ", 40))
	for n := range 70 {
		check(t, text[:n])
		check(t, make([]byte, n))
	}
	random := rand.NewChaCha8([32]byte{1})
	noise := make([]byte, 70000)
	if _, err := random.Read(noise); err != nil {
		t.Fatal(err)
	}
	for _, period := range []int{1, 2, 3, 31, 32, 33, 272, 273, 274, 4095, 4096, window - 1, window, window + 1} {
		check(t, append(noise[:period:period], noise[:min(period, 2000)]...))
		check(t, bytes.Repeat(noise[:period], 2+3000/period))
	}
	mixed := make([]byte, 100000) // repetitions with single changes in them
	for i := range mixed {
		if n := random.Uint64(); i > 100 && n%8 > 0 {
			mixed[i] = mixed[i-1-int(n>>32%97)]
		} else {
			mixed[i] = byte(n >> 40 % 7)
		}
	}
	changed := bytes.Repeat(noise[:500], 100)
	for i := range changed {
		if random.Uint64()%23 == 0 {
			changed[i]++
		}
	}
	check(t, mixed)
	check(t, changed)
	check(t, text)
	check(t, noise)
	check(t, make([]byte, 300000))
}

// TestRatio compresses text.
func TestRatio(t *testing.T) {
	text := strings.Repeat("The quick brown fox jumps over the lazy dog. ", 100)
	if n := len(Encode([]byte(text))); n > 100 {
		t.Errorf("%d bytes to %d", len(text), n)
	}
}

// BenchmarkEncode compresses words in random order.
func BenchmarkEncode(b *testing.B) {
	words := strings.Fields("push %rbp mov %rsp,%rbp sub $0x18,%rsp call grub_error jmp 0x9a leave ret xor %eax,%eax lea -0x8(%rbp),%rdi")
	r := rand.New(rand.NewPCG(1, 2))
	var text []byte
	for len(text) < 256<<10 {
		text = append(text, words[r.IntN(len(words))]...)
		text = append(text, byte(r.IntN(40)))
	}
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		Encode(text)
	}
}

func FuzzEncode(f *testing.F) {
	for _, seed := range []string{"", "a", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "abababababcabababababcab", "abcdeXbcdeYbcdeZ"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) { check(t, data) })
}
