package ext4

import (
	"encoding/binary"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// Times have 34 bits: 32 signed ones, and two bits of the "epoch". From 2310-04-04
// on e2fsck takes times for mistaken ones before 1970 and offers to "fix" them, so
// later times are an error.
const (
	minTime = -1 << 31
	maxTime = MaxTime
)

// MaxTime is the latest time that a file system can store, in seconds.
const MaxTime = 1<<33 + 1<<31 - 1

// diskTime returns a time as ext4 stores it.
func diskTime(t rootfs.Time) (low, extra uint32) {
	epoch := uint32((t.Sec-int64(int32(t.Sec)))>>32) & 3
	return uint32(t.Sec), t.Nsec<<2 | epoch
}

// Limits of the kernel's dev_t.
const (
	maxMajor = 1<<12 - 1
	maxMinor = 1<<20 - 1
)

// deviceNumber is the reverse of makedev(3).
func deviceNumber(dev uint64) (major, minor uint64) {
	return dev>>8&0xFFF | dev>>32&0xFFFFF000, dev&0xFF | dev>>12&0xFFFFFF00
}

// deviceBlocks returns i_block of a device: its number is in the first word if both
// parts have at most 8 bits, else in the second.
func deviceBlocks(dev uint64) (words [15]uint32) {
	major, minor := deviceNumber(dev)
	if major < 256 && minor < 256 {
		words[0] = uint32(major<<8 | minor)
	} else {
		words[1] = uint32(minor&0xFF | major<<8 | minor&^0xFF<<12)
	}
	return words
}

// setTimes sets all four times of an inode.
func (d *inode) setTimes(t rootfs.Time) {
	low, extra := diskTime(t)
	d.ATime, d.CTime, d.MTime, d.CRTime = low, low, low, low
	d.ATimeExtra, d.CTimeExtra, d.MTimeExtra, d.CRTimeExtra = extra, extra, extra, extra
}

func (d *inode) setSize(n uint64) { d.SizeLo, d.SizeHigh = uint32(n), uint32(n>>32) }

// setBlocks sets the space that an inode takes, which is counted in 512 bytes.
func (d *inode) setBlocks(blocks, block uint64) {
	n := blocks * (block / 512)
	d.BlocksLo, d.BlocksHigh = uint32(n), uint16(n>>32)
}

// encode writes an inode, the attributes behind it and their checksum.
func (d *inode) encode(to, body []byte, seed uint32) {
	d.ExtraISize = extraISize
	put(to, d)
	copy(to[bodyOffset:], body)
	sum := checksum(seed, to[:inodeSize])
	binary.LittleEndian.PutUint16(to[inodeChecksumLo:], uint16(sum))
	binary.LittleEndian.PutUint16(to[inodeChecksumHi:], uint16(sum>>16))
}

// inodeSeed returns the start of the checksums of an inode and its metadata. The
// generation is 0.
func inodeSeed(fs, ino uint32) uint32 {
	var p [8]byte
	binary.LittleEndian.PutUint32(p[:], ino)
	return checksum(fs, p[:])
}

// encodeNode writes the inode of a node and emits its blocks of metadata.
func (p *plan) encodeNode(n *node, to []byte) {
	seed := inodeSeed(p.seed, n.ino)
	d := inode{
		Mode:       uint16(n.in.Mode),
		UID:        uint16(n.in.UID),
		UIDHigh:    uint16(n.in.UID >> 16),
		GID:        uint16(n.in.GID),
		GIDHigh:    uint16(n.in.GID >> 16),
		LinksCount: uint16(n.links),
	}
	d.setTimes(n.in.MTime)
	d.setSize(uint64(n.in.Size()))
	blocks := n.dataBlocks(p.geo.block) + uint64(len(n.tree))
	if n.attrs != nil {
		blocks++
		d.FileACLLo, d.FileACLHigh = uint32(n.attrs.block), uint16(n.attrs.block>>32)
	}
	d.setBlocks(blocks, p.geo.block)
	if n.in.Immutable {
		d.Flags |= inodeImmutable
	}
	switch n.in.Type() {
	case rootfs.ModeFile:
		p.encodeMap(&d, n, seed)
	case rootfs.ModeDir:
		p.encodeMap(&d, n, seed)
		p.encodeDir(&d, n, seed)
	case rootfs.ModeLink:
		if len(n.in.Target) < fastSymlink {
			var raw [60]byte
			copy(raw[:], n.in.Target)
			for i := range d.Block {
				d.Block[i] = binary.LittleEndian.Uint32(raw[4*i:])
			}
		} else {
			p.encodeMap(&d, n, seed)
			p.emit(n.runs[0].start, []byte(n.in.Target))
		}
	case rootfs.ModeChar, rootfs.ModeBlock:
		d.Block = deviceBlocks(n.in.Rdev)
	}
	d.encode(to, n.body, seed)
}

// encodeMap writes the extent tree.
func (p *plan) encodeMap(d *inode, n *node, seed uint32) {
	d.Flags |= inodeExtents
	d.Block = encodeTree(n.runs, n.tree, p.geo.block, seed, p.emit)
}

// encodeDir writes the blocks of a directory.
func (p *plan) encodeDir(d *inode, n *node, seed uint32) {
	d.setSize(uint64(n.dir.blocks) * p.geo.block)
	if n.dir.leaves != nil {
		d.Flags |= inodeIndex
	}
	if n.links > maxLinks {
		d.LinksCount = 1 // dir_nlink: too many to count
	}
	parent := uint32(inoRoot)
	if n.parent != nil {
		parent = n.parent.ino
	}
	data := n.dir.encode(int(p.geo.block), n.ino, parent, seed)
	for _, r := range n.runs {
		size := r.len * p.geo.block
		p.emit(r.start, data[:size])
		data = data[size:]
	}
}
