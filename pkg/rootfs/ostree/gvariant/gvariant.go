// Package gvariant reads and writes the part of the GVariant serialisation
// that OSTree objects are made of: tuples, arrays of variable-size elements,
// strings and byte strings.
//
// A value has no type in its bytes, so both directions are told the type: a
// tuple as a list of [Kind], an array as the alignment of its elements.
//
//	tuple: member | pad | member | ... | ends of variable-size members but the last, in reverse
//	array: element | pad | element | ... | end of each element
//
// Reading is strict. A value that would not be written in exactly the same
// bytes (padding that is not zero, ends out of order, wide offsets) is an
// error, where GLib would quietly put a default in its place: two readers
// never see different things in one object.
//
// Numbers are left to the caller, arrays of fixed-size elements and maybe
// types are left out.
// See https://docs.gtk.org/glib/gvariant-specification-1.0.html.
package gvariant

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"unicode/utf8"
)

// A Kind describes the type of a member to the framing of a tuple.
type Kind struct {
	Align int // 1, 2, 4 or 8
	Size  int // of a fixed-size type, 0 otherwise
}

// The kinds that OSTree objects are made of.
var (
	U32     = Kind{4, 4} // u
	U64     = Kind{8, 8} // t
	Bytes   = Kind{1, 0} // s, ay, and every tuple and array of these
	Variant = Kind{8, 0} // v
	Dict    = Kind{8, 0} // a{sv}
)

// ErrForm means that bytes are not the normal form of a value.
var ErrForm = errors.New("gvariant not in normal form")

// Tuple returns the serialisation of a tuple (or dictionary entry) of the
// given serialised members.
func Tuple(kinds []Kind, members ...[]byte) []byte {
	return appendTuple(nil, kinds, members)
}

// appendTuple appends a tuple. Its members are aligned from its own beginning.
func appendTuple(b []byte, kinds []Kind, members [][]byte) []byte {
	start, last, size := len(b), len(members)-1, 0
	for _, m := range members {
		size += len(m)
	}
	const framing = 32 // of padding and offsets, or about that
	b = slices.Grow(b, size+framing)
	var room [8]int
	ends := room[:0]
	for i, m := range members {
		b = append(pad(b, start, kinds[i].Align), m...)
		if kinds[i].Size == 0 && i < last {
			ends = append(ends, len(b)-start)
		}
	}
	z := width(len(b)-start, len(ends))
	for i := len(ends) - 1; i >= 0; i-- {
		b = appendOffset(b, ends[i], z)
	}
	return b
}

// Array returns the serialisation of an array of the given serialised
// variable-size elements.
func Array(align int, elems ...[]byte) []byte {
	w := ArrayWriter{Align: align}
	for _, e := range elems {
		w.body = append(pad(w.body, 0, align), e...)
		w.ends = append(w.ends, len(w.body))
	}
	return w.Bytes()
}

// An ArrayWriter makes an array without a buffer for each element.
type ArrayWriter struct {
	Align int // of the elements

	body []byte
	ends []int
}

// Grow makes room for a number of elements of a total size in bytes.
func (w *ArrayWriter) Grow(elems, size int) {
	const offset = 4
	w.body, w.ends = slices.Grow(w.body, size+offset*elems), slices.Grow(w.ends, elems)
}

// Tuple appends an element, which is a tuple of byte-aligned members.
func (w *ArrayWriter) Tuple(kinds []Kind, members ...[]byte) {
	w.body = appendTuple(pad(w.body, 0, w.Align), kinds, members)
	w.ends = append(w.ends, len(w.body))
}

// Bytes returns the array. The ArrayWriter is not used again.
func (w *ArrayWriter) Bytes() []byte {
	z := width(len(w.body), len(w.ends))
	b := w.body
	for _, end := range w.ends {
		b = appendOffset(b, end, z)
	}
	return b
}

// String returns the serialisation of a string, or of the byte string of a
// name that ends with NUL.
func String(s string) []byte { return append([]byte(s), 0) }

// SplitTuple returns the members of a tuple of at least one member. They
// share memory with b.
func SplitTuple(kinds []Kind, b []byte) ([][]byte, error) {
	z := offsetSize(len(b))
	members := make([][]byte, len(kinds))
	table := len(b) // where the offsets begin
	pos, ends := 0, 0
	for i, k := range kinds {
		at := (pos + k.Align - 1) &^ (k.Align - 1)
		if at > table || !zero(b[pos:at]) {
			return nil, ErrForm
		}
		pos = at
		end := pos + k.Size
		if k.Size == 0 {
			end = table
			if i < len(kinds)-1 {
				if table -= z; table < 0 {
					return nil, ErrForm
				}
				end = offset(b[table:], z)
				ends++
			}
		}
		if pos > end || end > table {
			return nil, ErrForm
		}
		members[i] = b[pos:end:end]
		pos = end
	}
	if pos != table || ends > 0 && z != width(table, ends) {
		return nil, ErrForm
	}
	return members, nil
}

// SplitArray returns the elements of an array of variable-size elements. They
// share memory with b.
func SplitArray(align int, b []byte) ([][]byte, error) {
	if len(b) == 0 {
		return nil, nil
	}
	z := offsetSize(len(b))
	table := offset(b[len(b)-z:], z)
	if table < 0 || table > len(b)-z || (len(b)-table)%z != 0 {
		return nil, ErrForm
	}
	elems := make([][]byte, (len(b)-table)/z)
	pos := 0
	for i := range elems {
		at := (pos + align - 1) &^ (align - 1)
		end := offset(b[table+i*z:], z)
		if at > end || end > table || !zero(b[pos:at]) {
			return nil, ErrForm
		}
		pos = at
		elems[i] = b[pos:end:end]
		pos = end
	}
	if z != width(table, len(elems)) {
		return nil, ErrForm
	}
	return elems, nil
}

// Text returns the string in a serialised s: valid UTF-8, NUL only at the end.
func Text(b []byte) (string, error) {
	s, err := CString(b)
	if err == nil && !utf8.ValidString(s) {
		err = fmt.Errorf("%w: string %q is not UTF-8", ErrForm, s)
	}
	return s, err
}

// CString returns the string in a serialised ay that ends with its only NUL.
func CString(b []byte) (string, error) {
	n := bytes.IndexByte(b, 0)
	if n < 0 || n != len(b)-1 {
		return "", fmt.Errorf("%w: string %q does not end with its only NUL", ErrForm, b)
	}
	return string(b[:n]), nil
}

// pad aligns the end of what begins at start.
func pad(b []byte, start, align int) []byte {
	for (len(b)-start)&(align-1) != 0 {
		b = append(b, 0)
	}
	return b
}

func zero(padding []byte) bool {
	for _, c := range padding {
		if c != 0 {
			return false
		}
	}
	return true
}

// width is the size of n offsets behind a body: the smallest that can count
// the whole container.
func width(body, n int) int {
	for _, z := range []int{1, 2, 4} {
		if offsetSize(body+n*z) <= z {
			return z
		}
	}
	return 8
}

func offsetSize(container int) int {
	switch {
	case container <= math.MaxUint8:
		return 1
	case container <= math.MaxUint16:
		return 2
	case container <= math.MaxUint32:
		return 4
	}
	return 8
}

func appendOffset(b []byte, v, size int) []byte {
	for range size {
		b = append(b, byte(v))
		v >>= 8
	}
	return b
}

// offset reads an offset. One that does not fit an int comes out negative, or
// is beyond the end of anything; callers check both.
func offset(b []byte, size int) int {
	v := uint64(0)
	for i := range size {
		v |= uint64(b[i]) << (8 * i)
	}
	return int(v)
}
