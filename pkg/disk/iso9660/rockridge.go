package iso9660

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// maxArea bounds the system use area of a name, continuation areas included.
const maxArea = 64 << 10

// posix is the POSIX metadata of a name, as Rock Ridge records it in the system
// use area. The zero value is that of a name without Rock Ridge.
type posix struct {
	posixName string // NM
	target    string // SL
	mode      uint32 // PX, 0 if it is missing
	uid, gid  uint32
	rdev      uint64       // PN
	mtime     *rootfs.Time // TF
	child     uint32       // CL: block of the directory that was moved away
	relocated bool         // RE: the directory has been moved here
	zisofs    bool         // ZF

	linkOpen bool // the next component continues the last one
}

// apply sets the metadata of an inode. Without Rock Ridge, the mode is the one
// that the inode has, and the time is that of the record.
func (e *entry) apply(in *rootfs.Inode) {
	in.MTime = e.Date.time()
	if e.mtime != nil {
		in.MTime = *e.mtime
	}
	if e.mode == 0 {
		return
	}
	kind := in.Type()
	in.Mode, in.UID, in.GID, in.Rdev = e.mode, e.uid, e.gid, e.rdev
	if (kind == rootfs.ModeDir) != in.IsDir() { // the record decides the meaning of its extent
		in.Mode = in.Mode&^rootfs.ModeType | kind
	}
	if in.IsLink() {
		in.Target = e.target
	}
}

// readRoot returns the entry of the root directory. With Rock Ridge, the first
// record of the directory begins with an SP entry.
func (rd *reader) readRoot(root record) (e entry, err error) {
	e.record = root
	content, err := rd.extent(root)
	if err != nil {
		return e, err
	}
	b := make([]byte, 255)
	n, _ := content.ReadAt(b, 0)
	if b = b[:n]; len(b) == 0 || int(b[0]) > len(b) || b[0] < recordSize+1 {
		return e, errors.New("no entry of itself")
	}
	use := b[recordSize+1 : b[0]]
	if len(use) >= 7 && string(use[:2]) == "SP" && use[4] == 0xBE && use[5] == 0xEF {
		rd.rockRidge, rd.skip = true, int(use[6])
		e.posix, err = rd.readPosix(use)
	}
	return e, err
}

// readPosix decodes a system use area and its continuation areas.
func (rd *reader) readPosix(area []byte) (p posix, err error) {
	for total := len(area); ; {
		next, err := p.decode(area)
		if err != nil || next == nil {
			return p, err
		}
		block, off, n := int64(order.Uint32(next[4:])), int64(order.Uint32(next[12:])), int64(order.Uint32(next[20:]))
		rd.hops++
		if total += int(min(n, maxArea)); total > maxArea || n == 0 || rd.hops > limits.Names {
			return p, fmt.Errorf("system use area of more than %d bytes", maxArea)
		}
		area = make([]byte, n)
		if err := rootfs.ReadFull(rd.r, area, block*rd.block+off); err != nil {
			return p, fmt.Errorf("continuation area: %w", err)
		}
	}
}

// Sizes of the entries whose fields have fixed places.
var entrySizes = map[string]int{"CE": 28, "PX": 36, "PN": 20, "CL": 12, "NM": 5, "SL": 5, "TF": 5}

// decode adds the entries of an area. It returns the entry of the continuation
// area, if there is one.
func (p *posix) decode(area []byte) (next []byte, err error) {
	for len(area) >= 4 {
		sig, n := string(area[:2]), int(area[2])
		if sig == "ST" || sig == "\x00\x00" {
			break
		}
		if n < 4 || n > len(area) || n < entrySizes[sig] {
			return nil, fmt.Errorf("system use entry %q of %d bytes", sig, n)
		}
		e := area[:n]
		area = area[n:]
		if sig == "CE" {
			next = e
			continue
		}
		if err := p.add(sig, e); err != nil {
			return nil, fmt.Errorf("system use entry %s: %w", sig, err)
		}
	}
	return next, nil
}

// add adds one entry.
func (p *posix) add(sig string, e []byte) error {
	switch sig {
	case "PX":
		p.mode, p.uid, p.gid = order.Uint32(e[4:]), order.Uint32(e[20:]), order.Uint32(e[28:])
	case "PN":
		p.rdev = device(order.Uint32(e[4:]), order.Uint32(e[12:]))
	case "NM":
		if e[4]&6 == 0 { // not the name of the directory itself or its parent
			p.posixName += string(e[5:])
		}
	case "SL":
		return p.addLink(e[5:])
	case "TF":
		return p.addTimes(e[4], e[5:])
	case "CL":
		p.child = order.Uint32(e[4:])
	case "RE":
		p.relocated = true
	case "ZF":
		p.zisofs = true
	}
	return nil
}

// device packs the numbers of a device. Some programs leave the high half zero
// and put a 16-bit device number into the low half.
func device(high, low uint32) uint64 {
	if high == 0 && low > 0xff {
		return uint64(low)
	}
	h, l := uint64(high), uint64(low)
	return h&0xFFF<<8 | h&^0xFFF<<32 | l&0xFF | l&^0xFF<<12
}

// addLink adds components to the target of a symbolic link.
func (p *posix) addLink(b []byte) error {
	for len(b) > 0 {
		if len(b) < 2 || int(b[1]) > len(b)-2 {
			return errors.New("component outside its entry")
		}
		flags, text := b[0], string(b[2:][:b[1]])
		b = b[2+len(text):]
		switch {
		case flags&2 != 0:
			text = "."
		case flags&4 != 0:
			text = ".."
		case flags&8 != 0:
			text = "/"
		}
		if p.target != "" && !p.linkOpen && !strings.HasSuffix(p.target, "/") {
			p.target += "/"
		}
		p.target += text
		p.linkOpen = flags&1 != 0
	}
	return nil
}

// Flags of TF entries, in the order of their times.
const (
	timeCreated  = 1
	timeModified = 2
	timeLong     = 0x80 // 17 bytes each, not 7
)

// addTimes takes the time of modification.
func (p *posix) addTimes(flags uint8, b []byte) error {
	if flags&timeModified == 0 {
		return nil
	}
	size := len(date{})
	if flags&timeLong != 0 {
		size = 17
	}
	at := size * int(flags&timeCreated)
	if len(b) < at+size {
		return errors.New("too short")
	}
	b = b[at:][:size]
	if flags&timeLong == 0 {
		t := date(b).time()
		p.mtime = &t
		return nil
	}
	t, err := longTime(b)
	p.mtime = &t
	return err
}

// longTime decodes a time of 16 digits, to hundredths of a second, and the
// offset from UTC.
func longTime(b []byte) (rootfs.Time, error) {
	t, err := time.Parse("20060102150405", string(b[:14]))
	if err != nil {
		return rootfs.Time{}, fmt.Errorf("invalid time %q", b[:16])
	}
	hundredths, err := strconv.ParseUint(string(b[14:16]), 10, 8)
	if err != nil {
		return rootfs.Time{}, fmt.Errorf("invalid time %q", b[:16])
	}
	return rootfs.Time{Sec: t.Unix() - int64(int8(b[16]))*15*60, Nsec: uint32(hundredths) * 10_000_000}, nil
}
