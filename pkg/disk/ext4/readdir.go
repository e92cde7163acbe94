package ext4

import (
	"encoding/binary"
	"fmt"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/internal/walk"
)

// entries reads a directory without "." and "..". The blocks of its index are
// read too: they look like unused entries.
func (rd *reader) entries(d *core) (entries []walk.Entry, err error) {
	if d.size() > maxDirSize {
		return nil, fmt.Errorf("directory of %d bytes, limit is %d", d.size(), maxDirSize)
	}
	maps, err := rd.mappings(d)
	if err != nil {
		return nil, fmt.Errorf("directory: %w", err)
	}
	blocks := (d.size() + uint64(rd.block) - 1) / uint64(rd.block)
	next := uint64(0)
	for _, m := range maps {
		if m.off != next {
			break
		}
		for ; next < min(m.off+m.n, blocks); next++ {
			if entries, err = rd.dirBlock(entries, d, next == 0, m.start+next-m.off); err != nil {
				return nil, fmt.Errorf("directory: %w", err)
			}
		}
	}
	if next < blocks {
		return nil, fmt.Errorf("directory: block %d of %d is missing", next, blocks)
	}
	return entries, nil
}

// dirBlock adds the entries of a block of a directory.
func (rd *reader) dirBlock(to []walk.Entry, d *core, first bool, n uint64) ([]walk.Entry, error) {
	b, err := rd.claim(n)
	if err != nil {
		return nil, err
	}
	if rd.sums && !sealed(b, d, first) {
		return nil, fmt.Errorf("block %d: %w", n, errChecksum)
	}
	for rest := b; len(rest) > 0; {
		var h direntHeader
		if _, err := binary.Decode(rest, binary.LittleEndian, &h); err != nil {
			return nil, err
		}
		if h.RecLen < 8 || int(h.RecLen) > len(rest) || 8+int(h.NameLen) > int(h.RecLen) {
			return nil, fmt.Errorf("block %d: an entry is damaged", n)
		}
		name := string(rest[8 : 8+int(h.NameLen)])
		rest = rest[h.RecLen:]
		if h.Inode != 0 && name != "." && name != ".." {
			to = append(to, walk.Entry{Name: name, Ino: uint64(h.Inode)})
		}
	}
	return to, nil
}

// sealed reports whether the checksum of a block of a directory is right. It
// stands in an entry at the end, or behind the room for all entries of an index:
// see ext4_dirblock_csum_verify and ext4_dx_csum_verify.
func sealed(b []byte, d *core, first bool) bool {
	if d.Flags&inodeIndex != 0 && first {
		return sealedIndex(b, dxRootHead, d.seed)
	}
	if binary.LittleEndian.Uint32(b) == 0 && int(binary.LittleEndian.Uint16(b[4:])) == len(b) {
		return sealedIndex(b, dxNodeHead, d.seed)
	}
	var t direntTail
	tail := len(b) - direntTailSize
	binary.Decode(b[tail:], binary.LittleEndian, &t)
	return t == direntTail{RecLen: direntTailSize, FileType: direntTailType, Checksum: checksum(d.seed, b[:tail])}
}

// sealedIndex is sealed for a block of an index whose entries start at head.
func sealedIndex(b []byte, head int, seed uint32) bool {
	limit, count := int(binary.LittleEndian.Uint16(b[head:])), int(binary.LittleEndian.Uint16(b[head+2:]))
	tail := head + 8*limit
	if count > limit || tail+dxTailSize > len(b) {
		return false
	}
	sum := checksum(seed, b[:head+8*count])
	sum = checksum(checksum(sum, b[tail:tail+4]), make([]byte, 4))
	return sum == binary.LittleEndian.Uint32(b[tail+4:])
}
