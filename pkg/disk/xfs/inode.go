package xfs

import "github.com/ohp-assemble/ohp-assemble/pkg/rootfs"

// minData and minAttr are the bytes that a fork keeps if it may become a btree.
// The kernel gives attributes no more room once there are some: a smaller fork
// breaks with the next attribute that needs a block of its own.
const minData, minAttr = 56, 40

// emptyInode writes a free inode.
func (w *writer) emptyInode(ino uint64) {
	b := w.inodeAt(ino)
	d := dinode{Magic: magicInode, Version: 3, NextUnlinked: null32, Ino: ino, UUID: w.geo.uuid}
	d.encode(b)
	seal(b, inodeCRC)
}

// newInode returns an inode in use, with all its times the same.
func (w *writer) newInode(ino uint64, mode uint32, mtime rootfs.Time) dinode {
	features := w.geo.features
	time := features.time(mtime)
	d := dinode{
		Magic: magicInode, Version: 3, Mode: uint16(mode), Ino: ino, UUID: w.geo.uuid,
		Format: formatExtents, AFormat: formatExtents, NextUnlinked: null32, ChangeCount: 1,
		ATime: time, MTime: time, CTime: time, CrTime: time,
	}
	if features.bigtime() {
		d.Flags2 |= flag2Bigtime
	}
	if features.nrext64() {
		d.Flags2 |= flag2NRExt64
	}
	return d
}

// time returns a time as XFS stores it: seconds and nanoseconds, or with bigtime
// nanoseconds since the first time of the other form. Like the kernel, it
// replaces a later time by the last possible one.
func (f Features) time(t rootfs.Time) uint64 {
	if f.bigtime() {
		return uint64(t.Sec+1<<31)*1e9 + uint64(t.Nsec)
	}
	return uint64(uint32(min(t.Sec, 1<<31-1)))<<32 | uint64(t.Nsec)
}

// attrRoom returns the bytes of the attribute fork in the inode, 0 for none.
func (n *node) attrRoom() int {
	switch {
	case len(n.attrs) == 0:
		return 0
	case n.isSpecial():
		return forkRoom - 8 // the only size that the kernel accepts
	case n.inline:
		return max(minAttr, (len(n.localAttrs)+7)&^7)
	case len(n.attr.maps) <= 5:
		return max(minAttr, len(n.attr.maps)*mapSize)
	}
	return 240 // the root of a btree
}

func (n *node) dataRoom() int { return forkRoom - n.attrRoom() }

// isSpecial reports whether a node is a device, a FIFO or a socket.
func (n *node) isSpecial() bool {
	switch n.in.Type() {
	case rootfs.ModeChar, rootfs.ModeBlock, rootfs.ModeFIFO, rootfs.ModeSocket:
		return true
	}
	return false
}

// plan chooses the forms of the forks of a node and places their blocks, except
// the content of files. Attributes come first; the data fork gets the rest of
// the inode.
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
		n.format = formatLocal
		return nil
	}
	runs, err := w.take(1)
	if err != nil {
		return err
	}
	n.data.add(0, runs)
	w.textBlock(magicLink, runs[0].start, n.ino, 0, 0, target)
	return nil
}

// textBlock writes a block of a symbolic link or of an attribute value.
func (w *writer) textBlock(magic uint32, linear, owner uint64, offset int, lsn uint64, text string) {
	b := make([]byte, blockSize)
	put(b, &textHeader{
		Magic: magic, Offset: uint32(offset), Bytes: uint32(len(text)),
		UUID: w.geo.uuid, Owner: owner, BlkNo: daddr(linear), LSN: lsn,
	})
	copy(b[textHead:], text)
	seal(b, textCRC)
	w.emit(linear, b)
}

// encode writes the inode of a node, and the btrees of its forks.
func (w *writer) encode(n *node) {
	b := w.inodeAt(n.ino)
	d := w.newInode(n.ino, n.in.Mode, n.in.MTime)
	d.UID, d.GID, d.NLink = n.in.UID, n.in.GID, n.links
	d.NBlocks = n.data.blocks() + n.attr.blocks()
	d.setExtents(len(n.data.maps), len(n.attr.maps))
	if n.in.Immutable {
		d.Flags = flagImmut
	}
	room := n.dataRoom()
	d.Format, d.Size = n.format, n.size()
	if n.data.tree != nil {
		d.Format = formatBtree
	}
	w.encodeData(n, b[coreSize:][:room])
	if attr := n.attrRoom(); attr > 0 {
		d.ForkOff, d.AFormat = uint8(room/8), n.attrFormat()
		w.encodeAttrs(n, b[coreSize+room:][:attr])
	}
	d.encode(b)
	seal(b, inodeCRC)
}

// setExtents sets the numbers of extents of both forks.
func (d *dinode) setExtents(data, attr int) {
	if d.Flags2&flag2NRExt64 != 0 {
		d.BigNExtents, d.NExtents = uint64(data), uint32(attr)
	} else {
		d.NExtents, d.ANExtents = uint32(data), uint16(attr)
	}
}

// size returns the size that an inode states.
func (n *node) size() uint64 {
	switch {
	case n.format == formatDev:
		return 0
	case n.format == formatLocal:
		return uint64(len(n.localData()))
	case n.in.IsDir():
		return n.dirSize()
	}
	return uint64(n.in.Size())
}

// localData returns the data fork of a node whose format is local.
func (n *node) localData() string {
	if n.in.IsDir() {
		return n.local
	}
	return n.in.Target
}

// encodeData writes the data fork to its place in the inode.
func (w *writer) encodeData(n *node, to []byte) {
	switch n.format {
	case formatDev:
		major, minor := n.in.Device()
		be.PutUint32(to, uint32(major<<18|minor))
	case formatLocal:
		copy(to, n.localData())
	default:
		w.encodeMap(&n.data, to, n.ino)
	}
}

// attrFormat returns the format of the attribute fork.
func (n *node) attrFormat() uint8 {
	switch {
	case n.inline:
		return formatLocal
	case n.attr.tree != nil:
		return formatBtree
	}
	return formatExtents
}

// encodeAttrs writes the attribute fork to its place in the inode.
func (w *writer) encodeAttrs(n *node, to []byte) {
	if n.inline {
		copy(to, n.localAttrs)
	} else {
		w.encodeMap(n.attr, to, n.ino)
	}
}

// encodeRealtime writes the two inodes of a realtime device, which every file
// system has. They follow the root.
func (w *writer) encodeRealtime() {
	for i := range uint64(2) {
		ino := w.tree.nodes[0].ino + 1 + i
		d := w.newInode(ino, rootfs.ModeFile, rootfs.Time{})
		d.NLink = 1
		if i == 0 {
			d.Flags = flagNewRTBM
		}
		b := w.inodeAt(ino)
		d.encode(b)
		seal(b, inodeCRC)
	}
}
