// Package record writes and reads the files of the cache that hold values of our
// own: a format name, numbers as varints, strings after their length, and the
// SHA-256 of all of it.
//
// A record is trusted no further than its checksum: a [Reader] of a damaged one
// returns zeros and an error, never more elements than the record has bytes.
package record

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
)

// ErrDamaged is the error of a record with another format or checksum, or with
// impossible content.
var ErrDamaged = errors.New("damaged record, or one of another version")

// A Writer makes a record.
type Writer struct{ b []byte }

// NewWriter returns a Writer of a record of a format.
func NewWriter(format string) *Writer { return &Writer{b: []byte(format)} }

// Grow makes room for n more bytes.
func (w *Writer) Grow(n int) { w.b = slices.Grow(w.b, n) }

// Uint appends a number.
func (w *Writer) Uint(v uint64) { w.b = binary.AppendUvarint(w.b, v) }

// Int appends a signed number.
func (w *Writer) Int(v int64) { w.b = binary.AppendVarint(w.b, v) }

// Bool appends a truth value.
func (w *Writer) Bool(v bool) {
	if v {
		w.b = append(w.b, 1)
	} else {
		w.b = append(w.b, 0)
	}
}

// String appends the length of a string, and the string.
func (w *Writer) String(s string) {
	w.Uint(uint64(len(s)))
	w.b = append(w.b, s...)
}

// Bytes appends the length of p, and p.
func (w *Writer) Bytes(p []byte) {
	w.Uint(uint64(len(p)))
	w.b = append(w.b, p...)
}

// Fixed appends p without its length.
func (w *Writer) Fixed(p []byte) { w.b = append(w.b, p...) }

// Sealed returns the record with its checksum. The Writer is not used again.
func (w *Writer) Sealed() []byte {
	sum := sha256.Sum256(w.b)
	return append(w.b, sum[:]...)
}

// A Reader reads the values of a record in the order in which they were written.
type Reader struct {
	b   []byte
	bad bool
}

// NewReader checks the format and the checksum of a record.
func NewReader(format string, b []byte) (*Reader, error) {
	if len(b) < len(format)+sha256.Size || string(b[:len(format)]) != format {
		return nil, ErrDamaged
	}
	body, sum := b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	if sha256.Sum256(body) != [sha256.Size]byte(sum) {
		return nil, ErrDamaged
	}
	return &Reader{b: body[len(format):]}, nil
}

// Err returns ErrDamaged after an impossible value.
func (r *Reader) Err() error {
	if r.bad {
		return ErrDamaged
	}
	return nil
}

// End returns ErrDamaged after an impossible value, or if values are left.
func (r *Reader) End() error {
	if len(r.b) > 0 {
		return ErrDamaged
	}
	return r.Err()
}

// Fixed returns the next n bytes, which share memory with the record, or nil.
func (r *Reader) Fixed(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

// Bytes returns the next bytes, which share memory with the record.
func (r *Reader) Bytes() []byte { return r.Fixed(r.Uint()) }

// String returns the next string.
func (r *Reader) String() string { return string(r.Bytes()) }

// Len returns the number of bytes that are left.
func (r *Reader) Len() int { return len(r.b) }

// Bool returns the next truth value.
func (r *Reader) Bool() bool {
	b := r.Fixed(1)
	return b != nil && b[0] != 0
}

// Uint returns the next number.
func (r *Reader) Uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

// Int returns the next signed number.
func (r *Reader) Int() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

// Count returns the next number, which counts elements of at least one byte each.
func (r *Reader) Count() int {
	n := r.Uint()
	if n > uint64(len(r.b)) {
		r.bad = true
		return 0
	}
	return int(n)
}
