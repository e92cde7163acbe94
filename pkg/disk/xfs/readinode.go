package xfs

import (
	"errors"
	"fmt"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/internal/walk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// A forkData is a fork of an inode.
type forkData struct {
	raw    []byte // in the inode
	format uint8
	maps   uint64 // number of its extents
}

// A core is an inode with its forks.
type core struct {
	ino        uint64
	size       int64
	data, attr forkData
}

// Inode implements [walk.Source].
func (rd *reader) Inode(ino uint64) (*rootfs.Inode, []walk.Entry, error) {
	in, entries, err := rd.inode(ino)
	if err != nil {
		return nil, nil, fmt.Errorf("inode %d: %w", ino, err)
	}
	return in, entries, nil
}

func (rd *reader) inode(ino uint64) (in *rootfs.Inode, entries []walk.Entry, err error) {
	in, c, err := rd.decode(ino)
	if err != nil {
		return nil, nil, err
	}
	if in.Xattrs, err = rd.attrs(c); err != nil {
		return nil, nil, err
	}
	switch in.Type() {
	case rootfs.ModeFile:
		in.Content, err = rd.content(c)
	case rootfs.ModeLink:
		in.Target, err = rd.target(c)
	case rootfs.ModeChar, rootfs.ModeBlock:
		dev := uint64(be.Uint32(c.data.raw))
		major, minor := dev>>18, dev&(1<<18-1)
		in.Rdev = minor&0xFF | major&0xFFF<<8 | minor&^0xFF<<12 | major&^0xFFF<<32
	case rootfs.ModeDir:
		entries, err = rd.entries(c)
	case rootfs.ModeFIFO, rootfs.ModeSocket:
	default:
		err = fmt.Errorf("mode %#o has no file type", in.Mode)
	}
	return in, entries, err
}

// decode reads an inode.
func (rd *reader) decode(ino uint64) (*rootfs.Inode, *core, error) {
	b, err := rd.rawInode(ino)
	if err != nil {
		return nil, nil, err
	}
	d := get[dinode](b)
	switch {
	case d.Magic != magicInode || d.Version != 3:
		return nil, nil, fmt.Errorf("magic number %#x, version %d, want %#x, 3", d.Magic, d.Version, magicInode)
	case sealed(b, inodeCRC) != nil:
		return nil, nil, errChecksum
	case d.Ino != ino:
		return nil, nil, fmt.Errorf("its place has inode %d", d.Ino)
	case d.NLink == 0:
		return nil, nil, errors.New("it is free")
	}
	c, err := d.core(b[coreSize:])
	if err != nil {
		return nil, nil, err
	}
	in, err := d.node()
	return in, c, err
}

// rawInode reads the bytes of an inode.
func (rd *reader) rawInode(ino uint64) ([]byte, error) {
	at, err := rd.offset(ino >> rd.perBlock)
	if err != nil {
		return nil, err
	}
	b := make([]byte, rd.inodeBytes)
	return b, rootfs.ReadFull(rd.r, b, at+int64(ino&(1<<rd.perBlock-1))*rd.inodeBytes)
}

// node returns the metadata of an inode.
func (d *dinode) node() (*rootfs.Inode, error) {
	in := &rootfs.Inode{Mode: uint32(d.Mode), UID: d.UID, GID: d.GID, Immutable: d.Flags&flagImmut != 0}
	if d.Flags2&flag2Bigtime != 0 {
		in.MTime = rootfs.Time{Sec: int64(d.MTime/1e9) - 1<<31, Nsec: uint32(d.MTime % 1e9)}
	} else {
		in.MTime = rootfs.Time{Sec: int64(int32(d.MTime >> 32)), Nsec: uint32(d.MTime)}
	}
	if in.MTime.Nsec > 999_999_999 {
		return nil, fmt.Errorf("its time has %d nanoseconds", in.MTime.Nsec)
	}
	return in, nil
}

// core returns an inode with its forks, which are in room.
func (d *dinode) core(room []byte) (*core, error) {
	c := &core{
		ino: d.Ino, size: int64(d.Size),
		data: forkData{room, d.Format, uint64(d.NExtents)},
		attr: forkData{nil, d.AFormat, uint64(d.ANExtents)},
	}
	if d.Flags2&flag2NRExt64 != 0 {
		c.data.maps, c.attr.maps = d.BigNExtents, uint64(d.NExtents)
	}
	if off := int(d.ForkOff) * 8; off >= len(room) {
		return nil, fmt.Errorf("its attribute fork is at byte %d of %d", off, len(room))
	} else if off > 0 {
		c.data.raw, c.attr.raw = room[:off], room[off:]
	}
	if c.size < 0 {
		return nil, fmt.Errorf("its size is %d bytes", d.Size)
	}
	return c, nil
}

// target returns the target of a symbolic link.
func (rd *reader) target(c *core) (string, error) {
	if c.size == 0 || c.size > maxLink+1 {
		return "", fmt.Errorf("symbolic link of %d bytes, must be 1 to %d", c.size, maxLink+1)
	}
	if c.data.format == formatLocal {
		if c.size > int64(len(c.data.raw)) {
			return "", fmt.Errorf("symbolic link of %d bytes in %d bytes of the inode", c.size, len(c.data.raw))
		}
		return string(c.data.raw[:c.size]), nil
	}
	maps, err := rd.mappings(c, c.data)
	if err != nil {
		return "", err
	}
	target, err := rd.text(c, maps, 0, int(c.size), magicLink)
	return string(target), err
}
