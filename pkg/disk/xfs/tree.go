package xfs

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// A node is an inode on its way to the disk.
type node struct {
	in     *rootfs.Inode
	path   string // the first of its names
	parent *node
	names  []string         // of a directory, in order
	nodes  map[string]*node // of a directory
	links  uint32
	attrs  []attr
	ino    uint64

	data, attr fork
	format     uint8  // of the data fork
	inline     []byte // content of a local data fork
	attrInline []byte // and of a local attribute fork
}

// A tree is all inodes, in the order in which they are numbered: breadth first.
type tree struct {
	nodes []*node
	bytes int64 // that everything takes at most
}

const (
	maxName = 255
	// Times are unsigned nanoseconds since 1901-12-13 20:45:52.
	minTime = -1 << 31
	maxTime = 1<<64/1_000_000_000 - 1<<31 - 1
	maxLink = 1023
	// The disk has 14 bits for the first, of which Linux reads these.
	maxMajor, maxMinor = 1<<9 - 1, 1<<18 - 1
)

// scan finds out what there is, and refuses what has no place.
func scan(root *rootfs.Inode) (*tree, error) {
	if !root.IsDir() {
		return nil, fmt.Errorf("the root is not a directory")
	}
	t := &tree{}
	known := map[*rootfs.Inode]*node{}
	add := func(in *rootfs.Inode, path string, parent *node) (*node, error) {
		n := &node{in: in, path: path, parent: parent}
		known[in] = n
		t.nodes = append(t.nodes, n)
		var err error
		if n.attrs, err = newAttrs(in.Xattrs); err == nil {
			err = n.check()
		}
		if err != nil {
			return nil, n.fail(err)
		}
		t.bytes += inodeSize + n.bound()
		return n, nil
	}
	top, err := add(root, ".", nil)
	if err != nil {
		return nil, err
	}
	top.parent, top.links = top, 2
	for i := 0; i < len(t.nodes); i++ {
		n := t.nodes[i]
		if !n.in.IsDir() {
			continue
		}
		n.names = n.in.Names()
		n.nodes = make(map[string]*node, len(n.names))
		for _, name := range n.names {
			path := strings.TrimPrefix(n.path+"/"+name, "./")
			if !rootfs.ValidName(name) || len(name) > maxName {
				return nil, &rootfs.InodeError{Path: path, Inode: n.in.Children[name], Err: errors.New("no name for a file")}
			}
			in := n.in.Children[name]
			child := known[in]
			if child != nil && in.IsDir() {
				return nil, &rootfs.InodeError{Path: path, Inode: in, Err: fmt.Errorf("is a directory under two names, the other is %s", child.path)}
			}
			if child == nil {
				if child, err = add(in, path, n); err != nil {
					return nil, err
				}
			}
			if in.IsDir() {
				child.links = 2
				n.links++
			} else if child.links++; child.links == 1<<31 {
				return nil, child.fail(errors.New("too many hard links"))
			}
			n.nodes[name] = child
		}
	}
	return t, nil
}

// fail returns an error about the node.
func (n *node) fail(err error) error {
	return &rootfs.InodeError{Path: n.path, Inode: n.in, Err: err}
}

// check refuses an inode that XFS cannot hold.
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
		return fmt.Errorf("mode %#o is of no type", in.Mode)
	}
	return nil
}

// bound is how many bytes of blocks a node takes at most.
func (n *node) bound() int64 {
	blocks := func(bytes, room int64) int64 { return (bytes + room - 1) / room }
	var total int64
	switch n.in.Type() {
	case rootfs.ModeFile:
		total = blocks(n.in.Size(), blockSize)
		total += total / 100_000 // its extents, of at least 4,000 blocks but the last
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
		total += blocks(attrs, 900) + 2 // an entry may be as large as three quarters of a block
	}
	return total * blockSize
}
