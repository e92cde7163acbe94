package xfs

import (
	"errors"
	"fmt"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/internal/walk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// entries reads a directory without "." and "..". It ignores the hashes.
func (rd *reader) entries(c *core) (entries []walk.Entry, err error) {
	if c.size > maxDirSize {
		return nil, fmt.Errorf("directory of %d bytes, limit is %d", c.size, maxDirSize)
	}
	if c.data.format == formatLocal {
		entries, err = localEntries(c)
	} else {
		entries, err = rd.blockEntries(c)
	}
	if err != nil {
		return nil, fmt.Errorf("directory: %w", err)
	}
	return entries, nil
}

// blockEntries reads a directory in blocks. There may be holes among them.
func (rd *reader) blockEntries(c *core) (entries []walk.Entry, err error) {
	maps, err := rd.mappings(c, c.data)
	if err != nil {
		return nil, err
	}
	data, err := rd.image(maps, c.size)
	if err != nil {
		return nil, err
	}
	b := make([]byte, rd.dirBlock)
	at := int64(0)
	for _, m := range maps {
		at = max(at, int64(m.off)*rd.block/rd.dirBlock*rd.dirBlock)
		for ; at < min(int64(m.off+m.n)*rd.block, c.size); at += rd.dirBlock {
			if err := rootfs.ReadFull(data, b, at); err != nil {
				return nil, err
			}
			linear, err := find(maps, uint64(at/rd.block))
			if err == nil {
				err = rd.claim(b, dirStamp, linear, c.ino)
			}
			if err == nil {
				entries, err = appendEntries(entries, b)
			}
			if err != nil {
				return nil, err
			}
		}
	}
	return entries, nil
}

// appendEntries decodes a block of a directory.
func appendEntries(entries []walk.Entry, b []byte) ([]walk.Entry, error) {
	end := len(b)
	switch magic := be.Uint32(b); magic {
	case magicBlock: // with hashes at its end
		end -= blockTail + entryBytes*int(min(be.Uint32(b[end-blockTail:]), uint32(end)))
	case magicData:
	default:
		return nil, fmt.Errorf("a block has the magic number %#x, want %#x or %#x", magic, magicBlock, magicData)
	}
	for i := dirHead; i+16 <= end; {
		if be.Uint16(b[i:]) == null16 {
			n := int(be.Uint16(b[i+2:]))
			if n < 8 {
				return nil, fmt.Errorf("free space of %d bytes, must be 8 or more", n)
			}
			i += n
			continue
		}
		name := int(b[i+8])
		if i+entrySize(name) > end {
			return nil, errors.New("an entry is damaged")
		}
		if text := string(b[i+9 : i+9+name]); text != "." && text != ".." {
			entries = append(entries, walk.Entry{Name: text, Ino: be.Uint64(b[i:])})
		}
		i += entrySize(name)
	}
	return entries, nil
}

// localEntries reads a directory in the inode.
func localEntries(c *core) (entries []walk.Entry, err error) {
	if c.size > int64(len(c.data.raw)) || c.size < 6 {
		return nil, fmt.Errorf("%d bytes in the inode, must be 6 to %d", c.size, len(c.data.raw))
	}
	b := c.data.raw[:c.size]
	count, width := int(b[0]), 4
	if b[1] > 0 {
		width = 8
	}
	if len(b) < 2+width {
		return nil, errors.New("its header is damaged")
	}
	b = b[2+width:]
	for range count {
		name := 0
		if len(b) > 0 {
			name = int(b[0])
		}
		if len(b) < 4+name+width {
			return nil, errors.New("an entry is damaged")
		}
		ino := uint64(be.Uint32(b[4+name:]))
		if width == 8 {
			ino = be.Uint64(b[4+name:])
		}
		entries = append(entries, walk.Entry{Name: string(b[3 : 3+name]), Ino: ino})
		b = b[4+name+width:]
	}
	return entries, nil
}
