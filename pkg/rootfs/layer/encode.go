package layer

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree"
)

// Format names the format of a serialized index and of the pack beside it. The
// last digit is the version. A serialized index begins with the name:
//
//	Format | diffID | numbers | xattr sets | objects | entries | SHA-256 of all before
//
// Numbers are varints, strings follow their length, and every distinct set of
// xattrs occurs once, in the form of objects.
const Format = "ohpidx 3"

// Bytes returns the index as [Parse] reads it. Equal indexes give equal bytes.
func (x *Index) Bytes() []byte {
	e := &encoder{sets: map[string]uint64{"": 0}}
	for i := range x.Objects {
		e.object(&x.Objects[i])
	}
	objects := e.b
	e.b = nil
	for i := range x.Entries {
		e.entry(&x.Entries[i])
	}
	entries := e.b

	e.b = append([]byte(Format), x.DiffID[:]...)
	e.int(x.TarSize)
	e.int(x.PackSize)
	e.uint(uint64(x.PackSum))
	e.bool(x.Plain)
	e.bool(x.Repo)
	e.uint(uint64(len(e.order)))
	for _, set := range e.order {
		e.str(set)
	}
	e.uint(uint64(len(x.Objects)))
	e.b = append(e.b, objects...)
	e.uint(uint64(len(x.Entries)))
	e.b = append(e.b, entries...)
	sum := sha256.Sum256(e.b)
	return append(e.b, sum[:]...)
}

type encoder struct {
	b     []byte
	sets  map[string]uint64 // number of a set of xattrs; 0 is none
	order []string          // sets from number 1
}

func (e *encoder) uint(v uint64) { e.b = binary.AppendUvarint(e.b, v) }
func (e *encoder) int(v int64)   { e.b = binary.AppendVarint(e.b, v) }

func (e *encoder) bool(v bool) {
	b := byte(0)
	if v {
		b = 1
	}
	e.b = append(e.b, b)
}

func (e *encoder) str(s string) {
	e.uint(uint64(len(s)))
	e.b = append(e.b, s...)
}

func (e *encoder) xattrs(raw []byte) {
	n, ok := e.sets[string(raw)]
	if !ok {
		n = uint64(len(e.sets))
		e.sets[string(raw)] = n
		e.order = append(e.order, string(raw))
	}
	e.uint(n)
}

func (e *encoder) content(c Content) {
	e.int(c.Off)
	e.int(c.TarOff)
	e.int(c.Size)
}

func (e *encoder) object(o *Object) {
	e.b = append(e.b, o.ID[:]...)
	e.b = append(e.b, byte(o.Type))
	e.uint(uint64(o.UID))
	e.uint(uint64(o.GID))
	e.uint(uint64(o.Mode))
	e.str(o.Target)
	e.xattrs(o.Xattrs)
	e.content(o.Content)
}

func (e *encoder) entry(n *Entry) {
	e.str(n.Name)
	e.uint(uint64(n.Mode))
	e.uint(uint64(n.UID))
	e.uint(uint64(n.GID))
	e.int(n.MTime.Sec)
	e.uint(uint64(n.MTime.Nsec))
	e.uint(n.Rdev)
	e.str(n.Target)
	e.bool(n.HardLink)
	e.bool(n.Absolute)
	e.xattrs(ostree.XattrsOf(n.Xattrs))
	e.content(n.Content)
}

var errIndex = errors.New("index is damaged")

// ParseHeader checks a serialized index and reads it without its objects and
// entries.
func ParseHeader(b []byte) (*Index, error) {
	d, err := newDecoder(b)
	if err != nil {
		return nil, err
	}
	x := d.header()
	if d.bad {
		return nil, errIndex
	}
	return x, nil
}

// newDecoder checks the format and the checksum of a serialized index.
func newDecoder(b []byte) (*decoder, error) {
	if len(b) < len(Format)+2*sha256.Size || string(b[:len(Format)]) != Format {
		return nil, fmt.Errorf("not an index of this version")
	}
	body, sum := b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	if sha256.Sum256(body) != [sha256.Size]byte(sum) {
		return nil, errIndex
	}
	return &decoder{b: body[len(Format):]}, nil
}

func (d *decoder) header() *Index {
	x := &Index{}
	copy(x.DiffID[:], d.bytes(sha256.Size))
	x.TarSize, x.PackSize, x.PackSum = d.int(), d.int(), uint32(d.uint())
	x.Plain, x.Repo = d.byte() != 0, d.byte() != 0
	return x
}

// Parse reads a serialized index. Strings and xattrs of the index share memory
// with one copy of b.
func Parse(b []byte) (*Index, error) {
	d, err := newDecoder(b)
	if err != nil {
		return nil, err
	}
	x := d.header()
	d.s = string(d.b)
	if err := d.sets(); err != nil {
		return nil, err
	}
	x.Objects = make([]Object, d.count())
	for i := range x.Objects {
		d.object(&x.Objects[i])
	}
	x.Entries = make([]Entry, d.count())
	for i := range x.Entries {
		d.entry(&x.Entries[i])
	}
	if d.bad || len(d.b) > 0 {
		return nil, errIndex
	}
	return x, nil
}

// A decoder reads an index. After something impossible it is bad and reads
// zeros.
type decoder struct {
	b     []byte
	s     string // the same bytes behind the header; both are cut at the front as they are read
	bad   bool
	raw   [][]byte
	attrs []map[string]string
}

func (d *decoder) skip(n int) { d.b, d.s = d.b[n:], d.s[min(n, len(d.s)):] }

func (d *decoder) bytes(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.bad = true
		d.skip(len(d.b))
		return nil
	}
	b := d.b[:n:n]
	d.skip(int(n))
	return b
}

func (d *decoder) byte() byte {
	if b := d.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) str() string {
	n := d.uint()
	s := d.s
	return s[:len(d.bytes(n))]
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.skip(n)
	return v
}

func (d *decoder) int() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.skip(n)
	return v
}

// count reads how many things follow. Each takes at least a byte.
func (d *decoder) count() int {
	n := d.uint()
	if n > uint64(len(d.b)) {
		d.bad = true
		return 0
	}
	return int(n)
}

func (d *decoder) sets() error {
	d.raw = [][]byte{nil}
	for range d.count() {
		d.raw = append(d.raw, d.bytes(d.uint()))
	}
	d.attrs = make([]map[string]string, len(d.raw))
	return nil
}

func (d *decoder) set() uint64 {
	n := d.uint()
	if n >= uint64(len(d.raw)) {
		d.bad = true
		return 0
	}
	return n
}

func (d *decoder) content() Content { return Content{Off: d.int(), TarOff: d.int(), Size: d.int()} }

func (d *decoder) object(o *Object) {
	copy(o.ID[:], d.bytes(uint64(len(o.ID))))
	o.Type = ostree.ObjectType(d.byte())
	o.UID, o.GID, o.Mode = uint32(d.uint()), uint32(d.uint()), uint32(d.uint())
	o.Target = d.str()
	o.Xattrs = d.raw[d.set()]
	o.Content = d.content()
}

func (d *decoder) entry(n *Entry) {
	n.Name = d.str()
	n.Mode, n.UID, n.GID = uint32(d.uint()), uint32(d.uint()), uint32(d.uint())
	n.MTime = rootfs.Time{Sec: d.int(), Nsec: uint32(d.uint())}
	n.Rdev = d.uint()
	n.Target = d.str()
	n.HardLink, n.Absolute = d.byte() != 0, d.byte() != 0
	n.Xattrs = d.xattrs(d.set())
	n.Content = d.content()
}

// xattrs returns a set as entries have it.
func (d *decoder) xattrs(n uint64) map[string]string {
	if n == 0 || d.attrs[n] != nil {
		return d.attrs[n]
	}
	attrs, err := ostree.ParseXattrs(d.raw[n])
	if err != nil {
		d.bad = true
		return nil
	}
	m := make(map[string]string, len(attrs))
	for _, a := range attrs {
		m[a.Name] = a.Value
	}
	d.attrs[n] = m
	return m
}
