package xfs

import "github.com/ohp-assemble/ohp-assemble/pkg/rootfs"

// Formats of a fork.
const (
	formatDev     = 0
	formatLocal   = 1
	formatExtents = 2
	formatBtree   = 3
)

const (
	inodeCRC     = 100
	flagImmut    = 8
	flagNewRTBM  = 4
	flag2Bigtime = 8
	flag2NRExt64 = 0x10

	// minData and minAttr are the room that a fork keeps which may become a
	// btree. The kernel gives attributes no more once there are some, so that one
	// with less is broken by the next attribute that needs a block of its own.
	minData, minAttr = 56, 40
)

// emptyInode writes an inode that is free.
func (w *writer) emptyInode(group, slot uint64) {
	ino := w.inodeNumber(group, slot)
	b := w.groups[group].inodes[slot*inodeSize:][:inodeSize]
	copy(b, "IN")
	b[4] = 3
	be.PutUint32(b[96:], null32)
	be.PutUint64(b[152:], ino)
	copy(b[160:], w.geo.uuid[:])
	seal(b, inodeCRC)
}

// attrRoom says how large a node's attribute fork is in the inode: 0 for none.
func (n *node) attrRoom() int {
	switch {
	case len(n.attrs) == 0:
		return 0
	case n.isSpecial():
		return forkRoom - 8 // as the kernel insists
	case n.attrInline != nil:
		return max(minAttr, (len(n.attrInline)+7)&^7)
	case len(n.attr.maps) <= 5:
		return max(minAttr, len(n.attr.maps)*mapSize)
	}
	return 240 // a root of a btree
}

func (n *node) dataRoom() int { return forkRoom - n.attrRoom() }

func (n *node) isSpecial() bool {
	switch n.in.Type() {
	case rootfs.ModeChar, rootfs.ModeBlock, rootfs.ModeFIFO, rootfs.ModeSocket:
		return true
	}
	return false
}

// plan decides on the forms of a node's forks and places all but the content of
// files. Attributes come first, data has the room that they leave.
func (w *writer) plan(n *node) error {
	if err := w.planAttrs(n); err != nil {
		return err
	}
	n.format = formatExtents
	switch {
	case n.isSpecial():
		n.format = formatDev
	case n.in.IsDir():
		return w.planDir(n)
	case n.in.IsLink():
		return w.planLink(n)
	}
	return nil
}

// planLink places the target of a symbolic link in the inode, or in a block.
func (w *writer) planLink(n *node) error {
	target := n.in.Target
	if len(target) <= n.dataRoom() {
		n.format, n.inline = formatLocal, []byte(target)
		return nil
	}
	runs, err := w.take(1)
	if err != nil {
		return err
	}
	n.data.add(0, runs)
	b := make([]byte, blockSize)
	copy(b, "XSLM")
	be.PutUint32(b[8:], uint32(len(target)))
	copy(b[16:], w.geo.uuid[:])
	be.PutUint64(b[32:], n.ino)
	be.PutUint64(b[40:], daddr(runs[0].start))
	copy(b[56:], target)
	seal(b, 12)
	w.emit(runs[0].start, b)
	return nil
}

// time is a time as XFS keeps it: seconds and nanoseconds, and since Linux 5.10
// nanoseconds from the first that it could keep before. What does not fit is
// taken for the last that does, as the kernel has it.
func (f Features) time(t rootfs.Time) uint64 {
	if f.bigtime() {
		return uint64(t.Sec+1<<31)*1e9 + uint64(t.Nsec)
	}
	return uint64(uint32(min(t.Sec, 1<<31-1)))<<32 | uint64(t.Nsec)
}

func (f Features) inodeFlags() (flags uint64) {
	if f.bigtime() {
		flags |= flag2Bigtime
	}
	if f.nrext64() {
		flags |= flag2NRExt64
	}
	return flags
}

// encode writes the inode of a node, and the btrees of its forks.
func (w *writer) encode(n *node) {
	b := w.inodeAt(n.ino)
	features := w.geo.features
	time := features.time(n.in.MTime)
	be.PutUint16(b[2:], uint16(n.in.Mode))
	b[5] = n.format
	be.PutUint32(b[8:], n.in.UID)
	be.PutUint32(b[12:], n.in.GID)
	be.PutUint32(b[16:], n.links)
	for _, at := range []int{32, 40, 48, 144} { // access, modification, change, creation
		be.PutUint64(b[at:], time)
	}
	be.PutUint64(b[64:], n.data.blocks()+n.attr.blocks())
	if features.nrext64() {
		be.PutUint64(b[24:], uint64(len(n.data.maps)))
		be.PutUint32(b[76:], uint32(len(n.attr.maps)))
	} else {
		be.PutUint32(b[76:], uint32(len(n.data.maps)))
		be.PutUint16(b[80:], uint16(len(n.attr.maps)))
	}
	b[83] = formatExtents
	if n.in.Immutable {
		be.PutUint16(b[90:], flagImmut)
	}
	be.PutUint64(b[104:], 1)
	be.PutUint64(b[120:], features.inodeFlags())

	room := n.dataRoom()
	data := b[coreSize:][:room]
	size := uint64(n.in.Size())
	switch n.format {
	case formatDev:
		major, minor := n.in.Device()
		be.PutUint32(data, uint32(major<<18|minor))
		size = 0
	case formatLocal:
		copy(data, n.inline)
		size = uint64(len(n.inline))
	default:
		if n.in.IsDir() {
			size = n.dirSize()
		}
		if n.data.tree != nil {
			b[5] = formatBtree
		}
		w.encodeMap(&n.data, data, n.ino)
	}
	be.PutUint64(b[56:], size)
	if attr := n.attrRoom(); attr > 0 {
		b[82] = uint8(room / 8)
		to := b[coreSize+room:][:attr]
		switch {
		case n.attrInline != nil:
			b[83] = formatLocal
			copy(to, n.attrInline)
		default:
			if n.attr.tree != nil {
				b[83] = formatBtree
			}
			w.encodeMap(&n.attr, to, n.ino)
		}
	}
	seal(b, inodeCRC)
}

// encodeRealtime writes the two inodes behind the root.
func (w *writer) encodeRealtime() {
	for i := range uint64(2) {
		b := w.inodeAt(w.tree.nodes[0].ino + 1 + i)
		be.PutUint16(b[2:], rootfs.ModeFile)
		b[5] = formatExtents
		be.PutUint32(b[16:], 1)
		for _, at := range []int{32, 40, 48, 144} {
			be.PutUint64(b[at:], w.geo.features.time(rootfs.Time{}))
		}
		b[83] = formatExtents
		if i == 0 {
			be.PutUint16(b[90:], flagNewRTBM)
		}
		be.PutUint64(b[104:], 1)
		be.PutUint64(b[120:], w.geo.features.inodeFlags())
		seal(b, inodeCRC)
	}
}
