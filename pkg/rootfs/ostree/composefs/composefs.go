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
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/bits"
	"slices"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree"
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
	nodes  []*node // breadth first
	hasACL bool

	shared      map[xattr]int // offset in the table
	sharedTable []byte
	inodesEnd   int // where the table is
	blocksStart int // first block after the table
	blocksEnd   int
}

// A node is a file in the image.
type node struct {
	in       *rootfs.Inode // nil for a directory that the tree lacks
	path     string
	name     string
	mode     uint32
	uid, gid uint32
	nlink    uint32
	size     int64 // of a regular file
	target   string
	xattrs   []xattr // by name
	children []*node // by name
	parent   *node

	ino     int
	pos     int         // where the inode is
	blocks  [][]*dirEnt // of a directory: full blocks
	tail    []*dirEnt   // of a directory: behind the inode
	blkAddr int
}

// A dirEnt is a name in a directory: of a child, or "." or "..".
type dirEnt struct {
	name string
	node *node
}

// An xattr is an extended attribute under its full name.
type xattr struct{ name, value string }

// Extended attributes of overlayfs.
const (
	overlayPrefix = "trusted.overlay."
	overlayEscape = "trusted.overlay.overlay."
	xattrMetacopy = "trusted.overlay.metacopy"
	xattrRedirect = "trusted.overlay.redirect"
	xattrOpaque   = "trusted.overlay.opaque"
	xattrSELinux  = "security.selinux"
)

// rootDirs are made when a commit lacks them: something is mounted on each.
var rootDirs = []string{"boot", "etc", "sysroot", "usr", "var"}

func newImage(root *rootfs.Inode, o Options) (*image, error) {
	if !root.IsDir() {
		return nil, fmt.Errorf("/: not a directory")
	}
	top, err := newNode("/", "", root, o)
	if err != nil {
		return nil, err
	}
	for _, name := range rootDirs {
		if root.Children[name] == nil {
			top.add(&node{path: "/" + name, name: name, mode: rootfs.ModeDir | 0o755})
		}
	}
	top.hideObjects()
	top.parent = top
	img := &image{}
	img.number(top)
	return img, nil
}

func newNode(path, name string, n *rootfs.Inode, o Options) (*node, error) {
	x := &node{in: n, path: path, name: name, mode: n.Mode, uid: n.UID, gid: n.GID, target: n.Target, size: n.Size()}
	total := binary.Size(xattrHeader{})
	for name, value := range n.Xattrs {
		total += len(name) + len(value) + xattrOverhead
		if rest, ok := strings.CutPrefix(name, overlayPrefix); ok {
			name = overlayEscape + rest
		}
		x.xattrs = append(x.xattrs, xattr{name, value})
	}
	if total > maxXattrs {
		return nil, x.fail(fmt.Errorf("xattrs of %d bytes, limit is %d", total, maxXattrs))
	}
	switch {
	case n.IsFile():
		return x, x.redirect(n, o)
	case n.IsLink():
		return x, nil
	case !n.IsDir():
		return nil, x.fail(fmt.Errorf("mode %#o is not that of a directory, regular file or symbolic link", n.Mode))
	}
	for name, child := range n.Children {
		c, err := newNode(strings.TrimSuffix(path, "/")+"/"+name, name, child, o)
		if err != nil {
			return nil, err
		}
		x.add(c)
	}
	return x, nil
}

// fail returns an error about the node.
func (x *node) fail(err error) error {
	return &rootfs.InodeError{Path: x.path, Inode: x.in, Err: err}
}

func (x *node) isDir() bool  { return x.mode&rootfs.ModeType == rootfs.ModeDir }
func (x *node) isLink() bool { return x.mode&rootfs.ModeType == rootfs.ModeLink }
func (x *node) isFile() bool { return x.mode&rootfs.ModeType == rootfs.ModeFile }

func (x *node) add(child *node) {
	child.parent = x
	x.children = append(x.children, child)
}

// redirect makes overlayfs take the content of a file from the repository.
func (x *node) redirect(n *rootfs.Inode, o Options) error {
	if x.size == 0 {
		return nil
	}
	id, ok := o.IDs[n]
	if !ok {
		return x.fail(errors.New("object is not known"))
	}
	metacopy := ""
	if o.Verity != nil {
		digest, ok := o.Verity[id]
		if !ok {
			return x.fail(fmt.Errorf("fs-verity digest of %s is not known", id))
		}
		// struct ovl_metacopy: version 0, 36 bytes, no flags, SHA-256.
		metacopy = "\x00\x24\x00\x01" + string(digest[:])
	}
	x.xattrs = append(x.xattrs, xattr{xattrMetacopy, metacopy},
		xattr{xattrRedirect, "/" + ostree.ObjectPath(id, ostree.FileObject)})
	return nil
}

// hideObjects adds whiteouts to a root that hide the directories of objects in
// the file system below.
func (x *node) hideObjects() {
	var label []xattr
	taken := map[string]bool{}
	for _, a := range x.xattrs {
		if a.name == xattrSELinux {
			label = append(label, a)
		}
	}
	for _, c := range x.children {
		taken[c.name] = true
	}
	for i := range 256 {
		if name := fmt.Sprintf("%02x", i); !taken[name] {
			x.add(&node{path: "/" + name, name: name, mode: rootfs.ModeChar | 0o644, uid: x.uid, gid: x.gid,
				xattrs: slices.Clone(label)})
		}
	}
	x.xattrs = append(x.xattrs, xattr{xattrOpaque, "y"})
}

// number puts everything in order: nodes breadth first, children and xattrs
// by name.
func (img *image) number(root *node) {
	img.nodes = []*node{root}
	for i := 0; i < len(img.nodes); i++ {
		x := img.nodes[i]
		x.ino = i
		x.nlink = 1
		if x.isDir() {
			x.nlink = 2
		}
		slices.SortFunc(x.xattrs, func(a, b xattr) int { return cmp.Compare(a.name, b.name) })
		slices.SortFunc(x.children, func(a, b *node) int { return cmp.Compare(a.name, b.name) })
		for _, c := range x.children {
			if c.isDir() {
				x.nlink++
			}
		}
		img.nodes = append(img.nodes, x.children...)
	}
}

// shareXattrs makes the table of xattrs that are in more than one place.
func (img *image) shareXattrs() {
	count := map[xattr]int{}
	for _, x := range img.nodes {
		for _, a := range x.xattrs {
			count[a]++
			img.hasACL = img.hasACL || a.isACL()
		}
	}
	maps.DeleteFunc(count, func(_ xattr, n int) bool { return n == 1 })
	img.shared = make(map[xattr]int, len(count))
	for _, a := range slices.SortedFunc(maps.Keys(count), descending) {
		img.shared[a] = len(img.sharedTable)
		img.sharedTable = a.append(img.sharedTable)
	}
}

func descending(a, b xattr) int {
	return -cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(len(a.value), len(b.value)), cmp.Compare(a.value, b.value))
}

// split divides the xattrs of a node into shared ones and its own.
func (img *image) split(x *node) (shared, own []xattr) {
	for _, a := range x.xattrs {
		if _, ok := img.shared[a]; ok && len(shared) < maxShared {
			shared = append(shared, a)
		} else {
			own = append(own, a)
		}
	}
	return shared, own
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
		size := x.inodeSize() + img.xattrSize(x)
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

	// The limit that libcomposefs sets to all xattrs of a file together,
	// counting an entry and the worst padding for each.
	maxXattrs     = math.MaxInt16
	xattrOverhead = 4 + 3
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
	for _, a := range x.xattrs {
		if _, suffix := a.prefix(); len(suffix) > maxName {
			return fmt.Errorf("xattr %q: name of %d bytes, limit is %d", a.name, len(suffix), maxName)
		}
	}
	return nil
}

// fill distributes the names in a directory over blocks. A small rest goes
// behind the inode.
func (x *node) fill() {
	if !x.isDir() {
		return
	}
	ents := []*dirEnt{{".", x}, {"..", x.parent}}
	for _, c := range x.children {
		ents = append(ents, &dirEnt{c.name, c})
	}
	slices.SortFunc(ents, func(a, b *dirEnt) int { return cmp.Compare(a.name, b.name) })
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
		pos += copy(b[pos:], img.xattrBody(x))
		switch {
		case x.isLink():
			copy(b[pos:], x.target)
		case x.isFile() && x.size > 0:
			copy(b[pos:], "\xff\xff\xff\xff") // a hole
		case x.isDir():
			copy(b[pos:], dirBlock(x.tail))
		}
		for i, block := range x.blocks {
			copy(b[img.blocksStart+(x.blkAddr+i)*blockSize:], dirBlock(block))
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
	if n := img.xattrSize(x); n > 0 {
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

// dirBlock writes entries and then their names.
func dirBlock(ents []*dirEnt) []byte {
	var b bytes.Buffer
	off := len(ents) * direntSize
	for _, e := range ents {
		d := dirent{Nid: e.node.nid(), NameOff: uint16(off), Type: e.node.direntType()}
		b.Write(encode(&d))
		off += len(e.name)
	}
	for _, e := range ents {
		b.WriteString(e.name)
	}
	return b.Bytes()
}

func encode(v any) []byte {
	b := make([]byte, binary.Size(v))
	put(b, 0, v)
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
