package xfs

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// A node is an inode with its number and its forks.
type node struct {
	in     *rootfs.Inode
	name   string // its first name, "" for the root
	parent *node  // the directory of that name; the root is its own
	ino    uint64
	links  uint32
	format uint8 // of the data fork
	inline bool  // the attribute fork is local
	*attrSet
	*entries // of a directory

	data fork
	attr *fork
}

// Entries are those of a directory.
type entries struct {
	names []string // in order
	kids  []*node  // in the order of names
	local string   // the directory in the form of an inode, if it fits
}

// noFork is an attribute fork without blocks.
var noFork = &fork{}

// A tree has all inodes in the order of their numbers: breadth first.
type tree struct {
	nodes []*node
	bytes int64 // upper bound of the space it takes
}

const (
	maxName = 255
	// Times are unsigned nanoseconds since 1901-12-13 20:45:52.
	minTime = -1 << 31
	maxTime = 1<<64/1_000_000_000 - 1<<31 - 1
	maxLink = 1023
	// The major number has 14 bits on disk. Linux reads 9 of them.
	maxMajor, maxMinor = 1<<9 - 1, 1<<18 - 1
)

// scan collects the inodes below root, and rejects those that XFS cannot hold.
func scan(root *rootfs.Inode) (*tree, error) {
	if !root.IsDir() {
		return nil, fmt.Errorf("the root is not a directory")
	}
	t := &tree{}
	known := map[*rootfs.Inode]*node{}
	sets := attrSets{}
	add := func(in *rootfs.Inode, name string, parent *node) (*node, error) {
		n := &node{in: in, name: name, parent: parent, attr: noFork}
		known[in] = n
		t.nodes = append(t.nodes, n)
		var err error
		if n.attrSet, err = sets.of(in); err == nil {
			err = n.check()
		}
		if err != nil {
			return nil, n.fail(err)
		}
		t.bytes += inodeSize + n.bound()
		return n, nil
	}
	top, err := add(root, "", nil)
	if err != nil {
		return nil, err
	}
	top.parent, top.links = top, 2
	for i := 0; i < len(t.nodes); i++ {
		n := t.nodes[i]
		if !n.in.IsDir() {
			continue
		}
		names := n.in.Names()
		n.entries = &entries{names: names, kids: make([]*node, len(names))}
		for i, name := range n.names {
			if !rootfs.ValidName(name) || len(name) > maxName {
				return nil, &rootfs.InodeError{Path: n.path(name), Inode: n.in.Children[name], Err: errors.New("invalid file name")}
			}
			in := n.in.Children[name]
			child := known[in]
			if child != nil && in.IsDir() {
				return nil, &rootfs.InodeError{Path: n.path(name), Inode: in, Err: fmt.Errorf("is a directory under two names, the other is %s", child.first())}
			}
			if child == nil {
				if child, err = add(in, name, n); err != nil {
					return nil, err
				}
			}
			if in.IsDir() {
				child.links = 2
				n.links++
			} else if child.links++; child.links == 1<<31 {
				return nil, child.fail(errors.New("too many hard links"))
			}
			n.kids[i] = child
		}
	}
	return t, nil
}

// fail returns an error about the node.
func (n *node) fail(err error) error {
	return &rootfs.InodeError{Path: n.first(), Inode: n.in, Err: err}
}

// first returns the first path of a node, "." for the root.
func (n *node) first() string {
	if n.name == "" {
		return "."
	}
	return n.parent.path(n.name)
}

// path returns the path of a name in a directory.
func (n *node) path(name string) string {
	if n.name == "" {
		return name
	}
	return n.first() + "/" + name
}

// check returns an error for an inode that XFS cannot hold.
func (n *node) check() error {
	in := n.in
	if t := in.MTime; t.Sec < minTime || t.Sec > maxTime || t.Nsec >= 1e9 {
		return fmt.Errorf("time %d.%09d is outside of %d to %d", t.Sec, t.Nsec, minTime, uint64(maxTime))
	}
	if in.Mode > 0o177777 {
		return fmt.Errorf("mode %#o", in.Mode)
	}
	switch in.Type() {
	case rootfs.ModeDir, rootfs.ModeFile, rootfs.ModeFIFO, rootfs.ModeSocket:
	case rootfs.ModeLink:
		if len(in.Target) == 0 || len(in.Target) > maxLink || strings.Contains(in.Target, "\x00") {
			return fmt.Errorf("symbolic link to %d bytes, limit is %d", len(in.Target), maxLink)
		}
	case rootfs.ModeChar, rootfs.ModeBlock:
		if major, minor := in.Device(); major > maxMajor || minor > maxMinor {
			return fmt.Errorf("device %d:%d, limit is %d:%d", major, minor, maxMajor, maxMinor)
		}
	default:
		return fmt.Errorf("mode %#o has no file type", in.Mode)
	}
	return nil
}

// bound returns an upper bound of the bytes that the blocks of a node take.
func (n *node) bound() int64 {
	blocks := func(bytes, room int64) int64 { return (bytes + room - 1) / room }
	var total int64
	switch n.in.Type() {
	case rootfs.ModeFile:
		total = blocks(n.in.Size(), blockSize)
		total += total / 100_000 // its extents have at least 4,000 blocks, except the last
	case rootfs.ModeLink:
		if len(n.in.Target) > 200 {
			total = 1
		}
	case rootfs.ModeDir:
		var data int64
		for name := range n.in.Children {
			data += int64(entrySize(len(name)))
		}
		count := int64(len(n.in.Children))
		if total = blocks(data, 3700); total > 0 {
			total += blocks(count, 250) + 3
		}
	}
	var attrs int64
	for _, a := range n.attrs {
		if a.remote() {
			total += blocks(int64(len(a.value)), remoteRoom)
		} else {
			attrs += int64(len(a.value))
		}
		attrs += int64(len(a.name)) + 20
	}
	if attrs > 200 {
		total += blocks(attrs, 900) + 2 // an entry takes up to three quarters of a block
	}
	return total * blockSize
}
