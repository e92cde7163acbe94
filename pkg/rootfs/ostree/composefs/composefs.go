// Package composefs writes the EROFS image that a composefs deployment boots
// from. The image has every name, owner, mode and label of a commit, and refers
// to the repository for the content of files.
//
//	0      header        composefs
//	1024   superblock    EROFS
//	1152   inodes        breadth first, each with its xattrs and
//	                     directory entries, link target or chunk index
//	       shared xattrs those that more than one inode has
//	       blocks        directories that do not fit behind their inode
//
// The kernel mounts it under overlayfs: a file in the image has the xattrs of
// a file that was copied up without data, and a redirect to the object. The
// bytes are those of libcomposefs for format version 0, so that a digest of
// the image (see [Digest]) means the same here and there.
//
// Trees are those of OSTree: directories, regular files, symbolic links. All
// times are zero, hard links are written as files of their own, and a file
// larger than 8 TiB, xattrs of 32 KiB in one file, or a symbolic link that does
// not fit in a block with its xattrs is refused.
// See https://github.com/composefs/composefs and
// https://erofs.docs.kernel.org/en/latest/core_ondisk.html.
package composefs

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/selinux"
)

// Options hold the facts that a tree lacks.
type Options struct {
	// IDs has the object of every file that is not empty.
	IDs map[*rootfs.Inode]ostree.Checksum

	// Verity has the fs-verity digest of every such object. If it is nil,
	// digests are left out and the kernel checks none.
	Verity map[ostree.Checksum][32]byte
}

// Format returns the image of a commit's tree.
func Format(root *rootfs.Inode, o Options) ([]byte, error) {
	img, err := newImage(root, o)
	if err != nil {
		return nil, fmt.Errorf("composefs: %w", err)
	}
	img.shareXattrs()
	if err := img.place(); err != nil {
		return nil, fmt.Errorf("composefs: %w", err)
	}
	return img.bytes(), nil
}

// An image is a tree on its way to bytes.
type image struct {
	options Options
	nodes   []*node // breadth first
	sets    map[setKey]*xattrSet
	hasACL  bool

	redirects map[ostree.Checksum]int // nodes of an object
	digests   map[[32]byte]int        // nodes of an fs-verity digest

	shared      map[xattr]int // offset in the table
	sharedTable []byte
	inodesEnd   int // where the table is
	blocksStart int // first block after the table
	blocksEnd   int
}

// A node is a file in the image.
type node struct {
	in       *rootfs.Inode // nil for a directory that the tree lacks
	name     string
	mode     uint32
	uid, gid uint32
	nlink    uint32
	size     int64 // of a regular file
	target   string
	object   ostree.Checksum // of a regular file that is not empty
	xattrs   *xattrSet
	form     *xattrForm
	children []*node // by name
	parent   *node   // of the root, itself

	ino     int
	pos     int        // where the inode is
	blocks  [][]dirEnt // of a directory: full blocks
	tail    []dirEnt   // of a directory: behind the inode
	blkAddr int
}

// A dirEnt is a name in a directory: of a child, or "." or "..".
type dirEnt struct {
	name string
	node *node
}

// Extended attributes of overlayfs.
const (
	overlayPrefix = "trusted.overlay."
	overlayEscape = "trusted.overlay.overlay."
	xattrMetacopy = "trusted.overlay.metacopy"
	xattrRedirect = "trusted.overlay.redirect"
	xattrOpaque   = "trusted.overlay.opaque"
)

// rootDirs are made when a commit lacks them: something is mounted on each.
var rootDirs = []string{"boot", "etc", "sysroot", "usr", "var"}

func newImage(root *rootfs.Inode, o Options) (*image, error) {
	if !root.IsDir() {
		return nil, fmt.Errorf("/: not a directory")
	}
	img := &image{options: o, sets: map[setKey]*xattrSet{}}
	top := &node{}
	if err := img.add(top, top, "", root); err != nil {
		return nil, err
	}
	for _, name := range rootDirs {
		if root.Children[name] == nil {
			top.children = append(top.children, &node{name: name, mode: rootfs.ModeDir | 0o755, xattrs: &xattrSet{}, parent: top})
		}
	}
	img.hideObjects(top)
	img.number(top)
	return img, nil
}

// add fills the node of an inode, and adds those of its children.
func (img *image) add(x, parent *node, name string, n *rootfs.Inode) (err error) {
	*x = node{in: n, name: name, mode: n.Mode, uid: n.UID, gid: n.GID, target: n.Target, size: n.Size(), parent: parent}
	if x.xattrs, err = img.xattrSet(n); err != nil {
		return x.fail(err)
	}
	switch {
	case n.IsFile():
		if err := img.redirect(x, n); err != nil {
			return x.fail(err)
		}
	case n.IsLink():
	case !n.IsDir():
		return x.fail(fmt.Errorf("mode %#o is not that of a directory, regular file or symbolic link", n.Mode))
	}
	nodes := make([]node, len(n.Children))
	x.children = make([]*node, 0, len(nodes))
	for name, child := range n.Children {
		c := &nodes[len(x.children)]
		x.children = append(x.children, c)
		if err := img.add(c, x, name, child); err != nil {
			return err
		}
	}
	return nil
}

// fail returns an error about the node.
func (x *node) fail(err error) error {
	return &rootfs.InodeError{Path: x.path(), Inode: x.in, Err: err}
}

// path returns the absolute path of a node.
func (x *node) path() string {
	if x.parent == x {
		return "/"
	}
	return strings.TrimSuffix(x.parent.path(), "/") + "/" + x.name
}

func (x *node) isDir() bool  { return x.mode&rootfs.ModeType == rootfs.ModeDir }
func (x *node) isLink() bool { return x.mode&rootfs.ModeType == rootfs.ModeLink }
func (x *node) isFile() bool { return x.mode&rootfs.ModeType == rootfs.ModeFile }

// hasObject reports whether the content of a node is in the repository.
func (x *node) hasObject() bool { return x.isFile() && x.size > 0 }

// redirect makes overlayfs take the content of a file from the repository.
func (img *image) redirect(x *node, n *rootfs.Inode) error {
	if !x.hasObject() {
		return nil
	}
	id, ok := img.options.IDs[n]
	if !ok {
		return errors.New("object is not known")
	}
	x.object = id
	if _, ok := img.options.Verity[id]; !ok && img.options.Verity != nil {
		return fmt.Errorf("fs-verity digest of %s is not known", id)
	}
	return nil
}

// hideObjects adds whiteouts to the root that hide the directories of objects in
// the file system below.
func (img *image) hideObjects(root *node) {
	label, opaque := &xattrSet{}, &xattrSet{list: slices.Clone(root.xattrs.list)}
	for _, a := range root.xattrs.list {
		if a.name == selinux.Xattr {
			label.list = append(label.list, a)
		}
	}
	opaque.list = append(opaque.list, xattr{xattrOpaque, "y"})
	opaque.sort()
	root.xattrs = opaque
	taken := map[string]bool{}
	for _, c := range root.children {
		taken[c.name] = true
	}
	for i := range 256 {
		if name := fmt.Sprintf("%02x", i); !taken[name] {
			root.children = append(root.children, &node{name: name, mode: rootfs.ModeChar | 0o644, uid: root.uid, gid: root.gid,
				xattrs: label, parent: root})
		}
	}
}

// number puts everything in order: nodes breadth first, children by name.
func (img *image) number(root *node) {
	img.nodes = []*node{root}
	for i := 0; i < len(img.nodes); i++ {
		x := img.nodes[i]
		x.ino = i
		x.nlink = 1
		if x.isDir() {
			x.nlink = 2
		}
		slices.SortFunc(x.children, func(a, b *node) int { return cmp.Compare(a.name, b.name) })
		for _, c := range x.children {
			if c.isDir() {
				x.nlink++
			}
		}
		img.nodes = append(img.nodes, x.children...)
	}
}

// place gives every inode its position and every full block its number.
func (img *image) place() error {
	pos := firstSlot
	blocks := 0
	for _, x := range img.nodes {
		if err := x.check(); err != nil {
			return x.fail(err)
		}
		x.fill()
		size := x.inodeSize() + x.form.size
		tail := x.tailSize()
		if x.isLink() && size+tail >= blockSize {
			return x.fail(fmt.Errorf("target of %d bytes does not fit in a block with its inode", tail))
		}
		x.pos = fit(x, (pos+slotSize-1)&^(slotSize-1), size, tail)
		pos = x.pos + size + tail
		x.blkAddr = blocks
		blocks += len(x.blocks)
	}
	img.inodesEnd = (pos + slotSize - 1) &^ (slotSize - 1)
	img.blocksStart = (img.inodesEnd + len(img.sharedTable) + blockSize - 1) &^ (blockSize - 1)
	img.blocksEnd = img.blocksStart + blocks*blockSize
	if img.blocksEnd > math.MaxInt32 {
		return fmt.Errorf("image of %s, limit is %s", rootfs.Bytes(img.blocksEnd), rootfs.Bytes(math.MaxInt32))
	}
	return nil
}

// fit moves an inode so that the tail behind it does not cross a block.
func fit(x *node, pos, size, tail int) int {
	if x.isLink() { // target and inode are in one block
		if pos/blockSize != (pos+size+tail-1)/blockSize {
			pos = (pos + blockSize - 1) &^ (blockSize - 1)
		}
		return pos
	}
	if room := blockSize - (pos+size)%blockSize; room < tail {
		pos += (room + slotSize - 1) &^ (slotSize - 1)
	}
	return pos
}

const (
	maxName = 255
	maxSize = 1 << chunkBits // of a file of one chunk
)

func (x *node) check() error {
	switch {
	case len(x.name) > maxName:
		return fmt.Errorf("name of %d bytes, limit is %d", len(x.name), maxName)
	case x.mode > math.MaxUint16:
		return fmt.Errorf("mode %#o", x.mode)
	case x.size > maxSize:
		return fmt.Errorf("file of %s, limit is %s", rootfs.Bytes(x.size), rootfs.Bytes(int64(maxSize)))
	case x.isLink() && x.target == "":
		return fmt.Errorf("symbolic link without target")
	}
	return nil
}

// fill distributes the names in a directory over blocks. A small rest goes
// behind the inode.
func (x *node) fill() {
	if !x.isDir() {
		return
	}
	ents := append(make([]dirEnt, 0, 2+len(x.children)), dirEnt{".", x}, dirEnt{"..", x.parent})
	for _, c := range x.children {
		ents = append(ents, dirEnt{c.name, c})
	}
	slices.SortFunc(ents, func(a, b dirEnt) int { return cmp.Compare(a.name, b.name) })
	used, start := 0, 0
	for i, e := range ents {
		if used+direntSize+len(e.name) > blockSize {
			x.blocks = append(x.blocks, ents[start:i])
			used, start = 0, i
		}
		used += direntSize + len(e.name)
	}
	if used > blockSize/2 {
		x.blocks = append(x.blocks, ents[start:])
		return
	}
	x.tail = ents[start:]
}

// tailSize is the size of the data that follows the inode and its xattrs.
func (x *node) tailSize() int {
	switch {
	case x.isLink():
		return len(x.target)
	case x.isFile() && x.size > 0:
		return 4 // index of one chunk
	}
	n := 0
	for _, e := range x.tail {
		n += direntSize + len(e.name)
	}
	return n
}

// fileSize is the size that stat(2) tells.
func (x *node) fileSize() int64 {
	switch {
	case x.isDir():
		return int64(len(x.blocks)*blockSize + x.tailSize())
	case x.isLink():
		return int64(len(x.target))
	}
	return x.size
}

func (x *node) extended() bool {
	return x.nlink > math.MaxUint16 || x.uid > math.MaxUint16 || x.gid > math.MaxUint16 || x.fileSize() > math.MaxUint32
}

func (x *node) inodeSize() int {
	if x.extended() {
		return 64
	}
	return 32
}

// format returns the format field of an inode.
func (x *node) format() uint16 {
	f := uint16(layoutPlain)
	switch {
	case x.isFile() && x.size > 0:
		f = layoutChunked
	case x.tailSize() > 0:
		f = layoutInline
	}
	if x.extended() {
		f |= formatExtended
	}
	return f
}

// bytes writes the nodes to their places.
func (img *image) bytes() []byte {
	b := make([]byte, img.blocksEnd)
	put(b, 0, img.header())
	put(b, superOffset, img.superBlock())
	for _, x := range img.nodes {
		pos := x.pos + put(b, x.pos, img.inode(x))
		pos += len(img.appendXattrs(b[pos:pos], x))
		switch {
		case x.isLink():
			copy(b[pos:], x.target)
		case x.isFile() && x.size > 0:
			copy(b[pos:], "\xff\xff\xff\xff") // a hole
		case x.isDir():
			appendDir(b[pos:pos], x.tail)
		}
		for i, block := range x.blocks {
			at := img.blocksStart + (x.blkAddr+i)*blockSize
			appendDir(b[at:at], block)
		}
	}
	copy(b[img.inodesEnd:], img.sharedTable)
	return b
}

// put encodes a structure into b and returns its size.
func put(b []byte, off int, v any) int {
	n, err := binary.Encode(b[off:], binary.LittleEndian, v)
	if err != nil {
		panic(err) // all structures have fixed size, and b has room
	}
	return n
}

func (img *image) header() *header {
	h := &header{Magic: headerMagic, Version: headerVersion}
	if img.hasACL {
		h.Flags = flagHasACL
	}
	return h
}

func (img *image) superBlock() *superBlock {
	return &superBlock{
		Magic:         superMagic,
		FeatureCompat: compatMTime | compatXattrFilter,
		BlkSzBits:     blockBits,
		RootNid:       uint16(img.nodes[0].nid()),
		Inos:          uint64(len(img.nodes)),
		Blocks:        uint32(img.blocksEnd / blockSize),
		XattrBlkAddr:  uint32(img.inodesEnd / blockSize),
	}
}

func (x *node) nid() uint64 { return uint64(x.pos / slotSize) }

func (img *image) inode(x *node) any {
	count := uint16(0)
	if n := x.form.size; n > 0 {
		count = uint16((n-binary.Size(xattrHeader{}))/4 + 1)
	}
	u := uint32(0)
	switch {
	case len(x.blocks) > 0:
		u = uint32(img.blocksStart/blockSize + x.blkAddr)
	case x.isFile() && x.size > 0:
		u = uint32(max(bits.Len64(uint64(x.size-1)), blockBits) - blockBits)
	}
	if x.extended() {
		return &inodeExtended{Format: x.format(), XattrICount: count, Mode: uint16(x.mode), Size: uint64(x.fileSize()),
			U: u, Ino: uint32(x.ino), UID: x.uid, GID: x.gid, Nlink: x.nlink}
	}
	return &inodeCompact{Format: x.format(), XattrICount: count, Mode: uint16(x.mode), Nlink: uint16(x.nlink),
		Size: uint32(x.fileSize()), U: u, Ino: uint32(x.ino), UID: uint16(x.uid), GID: uint16(x.gid)}
}

// appendDir appends entries and then their names.
func appendDir(b []byte, ents []dirEnt) []byte {
	off := len(ents) * direntSize
	for _, e := range ents {
		b = dirent{Nid: e.node.nid(), NameOff: uint16(off), Type: e.node.direntType()}.append(b)
		off += len(e.name)
	}
	for _, e := range ents {
		b = append(b, e.name...)
	}
	return b
}

func (x *node) direntType() uint8 {
	switch {
	case x.isDir():
		return direntDir
	case x.isLink():
		return direntLink
	case x.isFile():
		return direntFile
	}
	return direntChar
}
