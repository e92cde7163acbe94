package gvariant

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
)

// Lengths around which the width of offsets changes.
func TestArrayWidths(t *testing.T) {
	for _, size := range []int{0, 1, 252, 253, 254, 255, 256, 65530, 65531, 65532, 65533, 65534, 65535, 65536, 70000} {
		for _, count := range []int{1, 2, 3, 200} {
			elems := make([][]byte, count)
			elems[0] = bytes.Repeat([]byte{'x'}, size)
			b := Array(1, elems...)
			z := (len(b) - size) / count
			if z != offsetSize(len(b)) || z > 1 && size+count*(z/2) <= 1<<(4*z)-1 {
				t.Errorf("%d elements, %d bytes: offsets of %d bytes in %d", count, size, z, len(b))
			}
			got, err := SplitArray(1, b)
			if err != nil || len(got) != count || !bytes.Equal(got[0], elems[0]) {
				t.Errorf("%d elements, %d bytes: %d, %v", count, size, len(got), err)
			}
		}
	}
}

// Tuples that are written can be read, around the lengths where the width of offsets changes.
func TestTupleWidths(t *testing.T) {
	kinds := []Kind{Bytes, U64, Bytes, U32, Bytes}
	for _, size := range []int{0, 1, 200, 220, 225, 230, 235, 240, 250, 256, 65500, 65510, 65520, 65530, 65536, 70000} {
		for extra := range 10 {
			long := bytes.Repeat([]byte{'x'}, size+extra)
			b := Tuple(kinds, long, []byte("12345678"), []byte("ab"), []byte("1234"), []byte("c"))
			got, err := SplitTuple(kinds, b)
			if err != nil || !bytes.Equal(got[0], long) || string(got[2]) != "ab" || string(got[4]) != "c" {
				t.Errorf("%d bytes: %q, %v", size+extra, got, err)
			}
		}
	}
}

// Elements of an ArrayWriter are those of Array.
func TestArrayWriter(t *testing.T) {
	kinds := []Kind{Bytes, U32}
	for _, size := range []int{0, 1, 5, 300, 70000} {
		long := bytes.Repeat([]byte{'x'}, size)
		w := ArrayWriter{Align: 8}
		w.Grow(2, size)
		w.Tuple(kinds, long, []byte("1234"))
		w.Tuple(kinds, nil, []byte("5678"))
		want := Array(8, Tuple(kinds, long, []byte("1234")), Tuple(kinds, nil, []byte("5678")))
		if got := w.Bytes(); !bytes.Equal(got, want) {
			t.Errorf("%d bytes: %q, want %q", size, got, want)
		}
	}
}

func TestDict(t *testing.T) {
	entry := []Kind{Bytes, Variant}
	b := Array(8,
		Tuple(entry, String("version"), []byte("1.2.3\x00\x00s")),
		Tuple(entry, String("ostree.bootable"), []byte("\x01\x00b")))
	want := "version\x001.2.3\x00\x00s\x08\x00\x00\x00\x00\x00\x00\x00ostree.bootable\x00\x01\x00b\x10\x11\x2c"
	if string(b) != want {
		t.Errorf("%q, want %q", b, want)
	}
	for i := range b {
		for _, bit := range []byte{1, 0x80} {
			bad := bytes.Clone(b)
			bad[i] ^= bit
			elems, err := SplitArray(8, bad)
			if err == nil && string(Array(8, elems...)) != string(bad) {
				t.Errorf("byte %d: read as something else", i)
			}
		}
	}
}

func TestNormalForm(t *testing.T) {
	two := []Kind{U32, Bytes, U64, Bytes}
	good := Tuple(two, []byte("aaaa"), []byte("b"), []byte("cccccccc"), []byte("d"))
	if want := "aaaab\x00\x00\x00ccccccccd\x05"; string(good) != want {
		t.Fatalf("%q, want %q", good, want)
	}
	for _, bad := range []string{
		"aaaab\x01\x00\x00ccccccccd\x05", // padding
		"aaaab\x00\x00\x00ccccccccd\x03", // end before start
		"aaaab\x00\x00\x00ccccccccd\x12", // end in the offsets
		"aaaab\x00\x00\x00cccccccc\x05",  // fine: empty last member
		"aaaab\x00\x00\x00ccccccc\x05",   // short
		"aaaa", "\x00", "",
	} {
		_, err := SplitTuple(two, []byte(bad))
		if empty := bad == "aaaab\x00\x00\x00cccccccc\x05"; empty != (err == nil) || !empty && !errors.Is(err, ErrForm) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestText(t *testing.T) {
	for in, ok := range map[string]bool{"\x00": true, "a\x00": true, "ü\x00": true, "": false, "a": false, "a\x00b\x00": false, "\xff\x00": false} {
		if s, err := Text([]byte(in)); (err == nil) != ok || ok && s+"\x00" != in {
			t.Errorf("%q: %q %v", in, s, err)
		}
	}
}

func FuzzSplit(f *testing.F) {
	f.Add([]byte("aaaab\x00\x00\x00ccccccccd\x05"))
	f.Add([]byte("version\x001.2.3\x00\x00s\x08"))
	f.Add(bytes.Repeat([]byte{0xff}, 300))
	kinds := [][]Kind{{U32, Bytes, U64, Bytes}, {Bytes, Variant}, {Dict, Bytes, Bytes, Bytes, Bytes, U64, Bytes, Bytes}}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, k := range kinds {
			if m, err := SplitTuple(k, b); err == nil && !bytes.Equal(Tuple(k, m...), b) {
				t.Error(fmt.Sprint("tuple ", k))
			}
		}
		for _, align := range []int{1, 8} {
			if e, err := SplitArray(align, b); err == nil && !bytes.Equal(Array(align, e...), b) {
				t.Error("array ", align)
			}
		}
	})
}
