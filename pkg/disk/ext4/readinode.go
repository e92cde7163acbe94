package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/internal/walk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// Inode implements [walk.Source].
func (rd *reader) Inode(ino uint64) (*rootfs.Inode, []walk.Entry, error) {
	in, entries, err := rd.inode(uint32(ino)) // entries have 32 bits
	if err != nil {
		return nil, nil, fmt.Errorf("inode %d: %w", ino, err)
	}
	return in, entries, nil
}

func (rd *reader) inode(ino uint32) (in *rootfs.Inode, entries []walk.Entry, err error) {
	d, attrs, err := rd.decode(ino)
	if err != nil {
		return nil, nil, err
	}
	if in, err = d.inode.node(); err != nil {
		return nil, nil, err
	}
	if in.Xattrs, err = rd.xattrs(attrs, uint64(d.FileACLHigh)<<32|uint64(d.FileACLLo)); err != nil {
		return nil, nil, err
	}
	switch in.Type() {
	case rootfs.ModeFile:
		in.Content, err = rd.content(d)
	case rootfs.ModeLink:
		in.Target, err = rd.target(d)
	case rootfs.ModeChar, rootfs.ModeBlock:
		in.Rdev = device(d.Block)
	case rootfs.ModeDir:
		entries, err = rd.entries(d)
	case rootfs.ModeFIFO, rootfs.ModeSocket:
	default:
		err = fmt.Errorf("mode %#o has no file type", d.Mode)
	}
	return in, entries, err
}

// A core is an inode and the start of the checksums of its metadata.
type core struct {
	inode
	seed uint32
}

// decode reads an inode. attrs are the bytes behind its fields.
func (rd *reader) decode(ino uint32) (d *core, attrs []byte, err error) {
	raw, err := rd.rawInode(ino)
	if err != nil {
		return nil, nil, err
	}
	// Only so many bytes behind the first 128 are fields.
	extra := 0
	if len(raw) > 128 {
		extra = int(binary.LittleEndian.Uint16(raw[128:]))
	}
	if 128+extra > len(raw) || extra%4 != 0 {
		return nil, nil, fmt.Errorf("%d bytes of more fields, must be a multiple of 4 up to %d", extra, len(raw)-128)
	}
	fields := make([]byte, bodyOffset)
	copy(fields, raw[:128+extra])
	d = &core{}
	if _, err := binary.Decode(fields, binary.LittleEndian, &d.inode); err != nil {
		return nil, nil, err
	}
	d.seed = checksum(rd.seed, binary.LittleEndian.AppendUint32(nil, ino))
	d.seed = checksum(d.seed, binary.LittleEndian.AppendUint32(nil, d.Generation))
	sum, mask := uint32(d.ChecksumLo), uint32(0xFFFF)
	clear(raw[inodeChecksumLo:][:2])
	if extra >= 4 { // there is room for the upper half
		sum, mask = sum|uint32(d.ChecksumHi)<<16, 0xFFFFFFFF
		clear(raw[inodeChecksumHi:][:2])
	}
	if err := rd.check(checksum(d.seed, raw)&mask, sum); err != nil {
		return nil, nil, err
	}
	if d.LinksCount == 0 {
		return nil, nil, errors.New("it is free")
	}
	return d, raw[128+extra:], nil
}

// rawInode reads the bytes of an inode.
func (rd *reader) rawInode(ino uint32) ([]byte, error) {
	group, index := (ino-1)/rd.super.InodesPerGroup, (ino-1)%rd.super.InodesPerGroup
	if ino == 0 || int(group) >= len(rd.tables) {
		return nil, errors.New("there is no such inode")
	}
	if rd.tables[group] >= rd.blocks {
		return nil, fmt.Errorf("block %d is outside the file system of %d blocks", rd.tables[group], rd.blocks)
	}
	raw := make([]byte, rd.super.InodeSize)
	return raw, rootfs.ReadFull(rd.r, raw, int64(rd.tables[group])*rd.block+int64(index)*int64(len(raw)))
}

// node returns the metadata of an inode.
func (d *inode) node() (*rootfs.Inode, error) {
	in := &rootfs.Inode{
		Mode: uint32(d.Mode), UID: uint32(d.UIDHigh)<<16 | uint32(d.UID), GID: uint32(d.GIDHigh)<<16 | uint32(d.GID),
		MTime:     rootfs.Time{Sec: int64(int32(d.MTime)) + int64(d.MTimeExtra&3)<<32, Nsec: d.MTimeExtra >> 2},
		Immutable: d.Flags&inodeImmutable != 0,
	}
	if in.MTime.Nsec > 999_999_999 {
		return nil, fmt.Errorf("its time has %d nanoseconds", in.MTime.Nsec)
	}
	return in, nil
}

// target returns the target of a symbolic link.
func (rd *reader) target(d *core) (string, error) {
	n := d.size()
	if n == 0 || n > maxTarget {
		return "", fmt.Errorf("symbolic link of %d bytes, must be 1 to %d", n, maxTarget)
	}
	if d.Flags&inodeExtents == 0 && n < fastSymlink {
		raw := d.rawBlock()
		return string(raw[:n]), nil
	}
	content, err := rd.content(d)
	if err != nil {
		return "", err
	}
	to := make([]byte, n)
	if _, err := content.ReadAt(to, 0); err != nil && err != io.EOF {
		return "", err
	}
	return string(to), nil
}

// rawBlock returns the bytes of i_block.
func (d *inode) rawBlock() (raw [60]byte) {
	for i, w := range d.Block {
		binary.LittleEndian.PutUint32(raw[4*i:], w)
	}
	return raw
}

// device is the reverse of deviceBlocks.
func device(words [15]uint32) uint64 {
	major, minor := uint64(words[0]>>8&0xFF), uint64(words[0]&0xFF)
	if words[0] == 0 {
		major, minor = uint64(words[1]>>8&0xFFF), uint64(words[1]&0xFF|words[1]>>12&0xFFF00)
	}
	return minor&0xFF | major&0xFFF<<8 | minor&^0xFF<<12 | major&^0xFFF<<32
}
