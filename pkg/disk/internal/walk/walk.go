// Package walk reads the tree of a file system, inode by inode, within limits.
//
// A reader of a format implements [Source]: it decodes one inode, and the entries
// of one directory. [Tree] follows the entries, joins hard links, and bounds names,
// depth and memory. [Claims] makes sure that a block of metadata is read once.
package walk

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// An Entry is a name in a directory.
type Entry struct {
	Name string
	Ino  uint64
}

// A Source decodes the inodes of a file system.
type Source interface {
	// Inode returns an inode without its children, and of a directory the
	// entries, without "." and "..". It is called once for each number.
	Inode(ino uint64) (*rootfs.Inode, []Entry, error)
}

// Limits bound a tree.
type Limits struct {
	Names int   // names in all directories
	Path  int   // bytes of a path, which bounds the depth
	Bytes int64 // bytes of names, targets of links and extended attributes
}

// Default are the limits for file systems of every size. They admit 16 million
// names, and paths of twice the length that a system call takes.
var Default = Limits{Names: 1 << 24, Path: 8192, Bytes: 2 << 30}

// Tree returns the tree below the inode root, which must be a directory. Several
// names of an inode that is not a directory yield the same inode. Two names of a
// directory are an error, thus the tree has no cycle.
func Tree(s Source, root uint64, l Limits) (*rootfs.Inode, error) {
	w := walker{Source: s, left: l, limits: l, inodes: map[uint64]*rootfs.Inode{}}
	in, err := w.inode(root, ".")
	if err != nil {
		return nil, err
	}
	if !in.IsDir() {
		return nil, errors.New("the root is not a directory")
	}
	return in, nil
}

type walker struct {
	Source
	limits, left Limits
	inodes       map[uint64]*rootfs.Inode
}

// inode returns the tree below an inode. path is the first of its names.
func (w *walker) inode(ino uint64, path string) (*rootfs.Inode, error) {
	in, entries, err := w.Inode(ino)
	if err == nil {
		err = w.charge(in, entries, path)
	}
	if err != nil {
		return nil, fmt.Errorf("%.200s: %w", path, err)
	}
	w.inodes[ino] = in
	if in.IsDir() {
		err = w.children(in, entries, path)
	}
	return in, err
}

// charge subtracts an inode from the limits.
func (w *walker) charge(in *rootfs.Inode, entries []Entry, path string) error {
	w.left.Names -= len(entries)
	w.left.Bytes -= int64(len(in.Target))
	for _, e := range entries {
		w.left.Bytes -= int64(len(e.Name))
	}
	for name, value := range in.Xattrs {
		w.left.Bytes -= int64(len(name) + len(value))
	}
	switch {
	case len(path) > w.limits.Path:
		return fmt.Errorf("a path of more than %d bytes", w.limits.Path)
	case w.left.Names < 0:
		return fmt.Errorf("more than %d names", w.limits.Names)
	case w.left.Bytes < 0:
		return fmt.Errorf("names, links and attributes of more than %d bytes", w.limits.Bytes)
	}
	return nil
}

// children adds the trees below the entries of a directory.
func (w *walker) children(dir *rootfs.Inode, entries []Entry, path string) error {
	dir.Children = make(map[string]*rootfs.Inode, len(entries))
	for _, e := range entries {
		child, known := w.inodes[e.Ino]
		var err error
		switch {
		case !rootfs.ValidName(e.Name):
			err = fmt.Errorf("invalid entry %q", e.Name)
		case dir.Children[e.Name] != nil:
			err = fmt.Errorf("two entries %q", e.Name)
		case known && child.IsDir():
			err = fmt.Errorf("entry %q is a directory of another name", e.Name)
		}
		if err != nil {
			return fmt.Errorf("%.200s: directory: %w", path, err)
		}
		if !known {
			if child, err = w.inode(e.Ino, strings.TrimPrefix(path+"/"+e.Name, "./")); err != nil {
				return err
			}
		}
		dir.Children[e.Name] = child
	}
	return nil
}

// Claims are the blocks that have an owner. The zero value has none.
type Claims struct {
	words map[uint64]uint64 // 64 blocks each
}

// Claim gives a block an owner. It reports false if the block has one.
func (c *Claims) Claim(block uint64) bool {
	if c.words == nil {
		c.words = map[uint64]uint64{}
	}
	word, bit := block/64, uint64(1)<<(block%64)
	if c.words[word]&bit != 0 {
		return false
	}
	c.words[word] |= bit
	return true
}
