package ext4

import (
	"fmt"
	"path"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

const (
	maxLinks     = 65000 // EXT4_LINK_MAX
	fastSymlink  = 60    // shorter targets stand in the inode
	lostFound    = "lost+found"
	lostFoundLen = 16 * kiB // that e2fsck need not allocate when it has something to put there
)

// File types in directories.
const (
	typeFile   = 1
	typeDir    = 2
	typeChar   = 3
	typeBlock  = 4
	typeFIFO   = 5
	typeSocket = 6
	typeLink   = 7
)

var fileTypes = map[uint32]uint8{
	rootfs.ModeFile:   typeFile,
	rootfs.ModeDir:    typeDir,
	rootfs.ModeChar:   typeChar,
	rootfs.ModeBlock:  typeBlock,
	rootfs.ModeFIFO:   typeFIFO,
	rootfs.ModeSocket: typeSocket,
	rootfs.ModeLink:   typeLink,
}

// A node is an inode of the tree with its number, forms and blocks.
type node struct {
	in     *rootfs.Inode
	name   string // its first name, and the directory of it
	parent *node
	ino    uint32
	links  uint32
	body   []byte     // attributes in the inode
	attrs  *attrBlock // attributes in a block
	dir    *dir       // of a directory

	runs []run    // data
	tree []uint64 // blocks of the extent tree
}

// path is the first path of the node, for errors.
func (n *node) path() string {
	if n.parent == nil {
		return "."
	}
	return path.Join(n.parent.path(), n.name)
}

// fail returns an error about the node.
func (n *node) fail(err error) error {
	return &rootfs.InodeError{Path: n.path(), Inode: n.in, Err: err}
}

// dataBlocks returns the number of blocks of the content.
func (n *node) dataBlocks(block uint64) uint64 {
	switch {
	case n.dir != nil:
		return uint64(n.dir.blocks)
	case n.in.IsLink() && len(n.in.Target) < fastSymlink:
		return 0
	}
	return (uint64(n.in.Size()) + block - 1) / block
}

// An attrBlock is a block of extended attributes of one or more inodes.
type attrBlock struct {
	data  []byte
	refs  uint32
	block uint64
}

// A tree holds the inodes and everything else that depends on the size of a block
// but not on the size of the file system.
type tree struct {
	block int
	seed  [16]byte // of hashes
	nodes []*node  // the root, lost+found, then inode 12 and on
	attrs []*attrBlock

	known  map[*rootfs.Inode]*node
	shared map[string]*attrBlock
}

// inodes returns the number of inodes that the tree needs, with the reserved ones.
func (t *tree) inodes() uint64 { return uint64(len(t.nodes)) + inoLostFound - 2 }

// scan numbers the inodes below root in the order of their first paths, and lays
// out directories and attributes.
func scan(root *rootfs.Inode, o Options, block int64) (*tree, error) {
	t := &tree{
		block:  int(block),
		seed:   o.hashSeed(),
		known:  map[*rootfs.Inode]*node{},
		shared: map[string]*attrBlock{},
	}
	if !root.IsDir() {
		return nil, fmt.Errorf(".: mode %o is not that of a directory", root.Mode)
	}
	top := &node{in: root, ino: inoRoot}
	lost := &node{in: root.Children[lostFound], name: lostFound, parent: top, ino: inoLostFound}
	made := lost.in == nil
	if made {
		lost.in = &rootfs.Inode{Mode: rootfs.ModeDir | 0o700, MTime: o.Time}
	}
	if !lost.in.IsDir() {
		return nil, fmt.Errorf("%s: is not a directory, e2fsck needs one", lostFound)
	}
	t.nodes = []*node{top, lost}
	t.known[root], t.known[lost.in] = top, lost
	if len(lost.in.Children) == 0 {
		lost.dir = &dir{blocks: int(lostFoundLen / block)}
		if block == kiB {
			lost.dir.blocks = 12 // like mke2fs: the most that need no indirect block
		}
	}
	if made {
		if err := t.add(lost); err != nil {
			return nil, err
		}
	}
	if err := t.add(top); err != nil {
		return nil, err
	}
	for _, n := range t.nodes {
		if n.dir != nil {
			if err := n.dir.pack(t.block, t.seed); err != nil {
				return nil, n.fail(err)
			}
		}
	}
	return t, nil
}

// add lays out a node that has its number, and all nodes below it.
func (t *tree) add(n *node) error {
	if err := t.check(n); err != nil {
		return n.fail(err)
	}
	if err := t.addAttrs(n); err != nil {
		return n.fail(err)
	}
	if !n.in.IsDir() {
		return nil
	}
	n.links += 2 // its "." and its own name, or the root's ".."
	if n.dir == nil {
		n.dir = &dir{}
	}
	n.dir.entries = make([]entry, 0, len(n.in.Children))
	for _, name := range n.in.Names() {
		if err := t.addChild(n, name); err != nil {
			return err
		}
	}
	if n.ino == inoRoot && n.in.Children[lostFound] == nil {
		n.dir.entries = append(n.dir.entries, entry{name: lostFound, ino: inoLostFound, fileType: typeDir})
		n.links++
	}
	return nil
}

// addChild adds a name to a directory and, for the first name, the inode.
func (t *tree) addChild(parent *node, name string) error {
	in := parent.in.Children[name]
	at := &node{in: in, name: name, parent: parent}
	if !rootfs.ValidName(name) || len(name) > maxName {
		return parent.fail(fmt.Errorf("%q cannot be the name of a file", name))
	}
	if in == nil {
		return at.fail(fmt.Errorf("no inode"))
	}
	child := t.known[in]
	first := child == nil
	if first {
		child = at
		child.ino = uint32(t.inodes()) + 1
		t.nodes = append(t.nodes, child)
		t.known[in] = child
	}
	if in.IsDir() {
		reserved := child.ino == inoLostFound && parent.ino == inoRoot && name == lostFound
		if !first && !reserved {
			return at.fail(fmt.Errorf("directory is %s as well", child.path()))
		}
		first = true
		parent.links++
	} else if child.links++; child.links > maxLinks {
		return at.fail(fmt.Errorf("more than %d hard links", maxLinks))
	}
	parent.dir.entries = append(parent.dir.entries, entry{name: name, ino: child.ino, fileType: fileTypes[in.Type()]})
	if !first {
		return nil
	}
	return t.add(child)
}

// check returns an error for an inode that ext4 cannot hold.
func (t *tree) check(n *node) error {
	in := n.in
	if fileTypes[in.Type()] == 0 || in.Mode&^0o177777 != 0 {
		return fmt.Errorf("mode %o is of no known type", in.Mode)
	}
	if in.MTime.Sec < minTime || in.MTime.Sec > maxTime || in.MTime.Nsec >= 1e9 {
		return fmt.Errorf("time %d.%09d is outside of %d to %d", in.MTime.Sec, in.MTime.Nsec, minTime, maxTime)
	}
	if in.Immutable && !in.IsFile() && !in.IsDir() {
		return fmt.Errorf("immutable, but mode %o is neither that of a file nor of a directory", in.Mode)
	}
	switch in.Type() {
	case rootfs.ModeFile:
		if limit := int64(1<<32-1) * int64(t.block); in.Size() > limit {
			return fmt.Errorf("file of %s, limit is %s", rootfs.Bytes(in.Size()), rootfs.Bytes(limit))
		}
	case rootfs.ModeLink:
		if len(in.Target) == 0 || len(in.Target) >= t.block || strings.Contains(in.Target, "\x00") {
			return fmt.Errorf("link target of %d bytes, limit is %d, without a zero", len(in.Target), t.block-1)
		}
	case rootfs.ModeChar, rootfs.ModeBlock:
		if major, minor := deviceNumber(in.Rdev); major > maxMajor || minor > maxMinor {
			return fmt.Errorf("device %d:%d, limit is %d:%d", major, minor, maxMajor, maxMinor)
		}
	}
	return nil
}

// addAttrs encodes the attributes of a node. Nodes with equal attributes share a
// block.
func (t *tree) addAttrs(n *node) error {
	if len(n.in.Xattrs) == 0 {
		return nil
	}
	body, rest, err := splitAttrs(n.in.Xattrs, t.block)
	if err != nil {
		return err
	}
	n.body = encodeBody(body)
	if len(rest) == 0 {
		return nil
	}
	data := encodeAttrBlock(rest, t.block)
	b := t.shared[string(data)]
	if b == nil || b.refs == maxBlockRefs {
		b = &attrBlock{data: data}
		t.shared[string(data)] = b
		t.attrs = append(t.attrs, b)
	}
	b.refs++
	n.attrs = b
	return nil
}
