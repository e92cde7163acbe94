package treetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

const immutableFlag = 0x10 // FS_IMMUTABLE_FL

// Compare reports every difference between a directory, usually a mount point, and a
// tree: names, types, modes, owners, times, sizes, devices, link counts, hard links,
// extended attributes, the immutable flag and content. It ignores a lost+found that
// is only in the directory.
func Compare(dir string, root *rootfs.Inode) error {
	c := comparer{
		links: map[*rootfs.Inode]uint64{},
		inos:  map[*rootfs.Inode]uint64{},
		owner: map[uint64]*rootfs.Inode{},
	}
	c.count(root, root)
	c.walk(dir, ".", root)
	return errors.Join(c.errs...)
}

type comparer struct {
	links map[*rootfs.Inode]uint64 // names in the tree
	inos  map[*rootfs.Inode]uint64 // number on disk
	owner map[uint64]*rootfs.Inode
	errs  []error
	bufs  [2][256 << 10]byte // for content and attributes of all inodes
}

const maxReported = 50

func (c *comparer) failf(format string, args ...any) {
	if len(c.errs) < maxReported {
		c.errs = append(c.errs, fmt.Errorf(format, args...))
	}
}

// count counts the links of each inode of the tree.
func (c *comparer) count(in, root *rootfs.Inode) {
	c.links[in]++
	if !in.IsDir() {
		return
	}
	c.links[in]++
	for _, child := range in.Children {
		if child.IsDir() {
			c.links[in]++
		}
		if c.links[child] == 0 || child.IsDir() {
			c.count(child, root)
		} else {
			c.links[child]++
		}
	}
}

func (c *comparer) walk(base, name string, in *rootfs.Inode) {
	at := filepath.Join(base, name)
	if !c.same(at, name, in) || !in.IsDir() {
		return
	}
	list, err := os.ReadDir(at)
	if err != nil {
		c.failf("%s: %w", name, err)
		return
	}
	want := maps.Clone(in.Children)
	for _, e := range list {
		child := want[e.Name()]
		delete(want, e.Name())
		switch {
		case child != nil:
			if uint32(e.Type().Type()) != uint32(fsType(child.Type())) {
				c.failf("%s/%s: type in the directory is %v", name, e.Name(), e.Type())
			}
			c.walk(base, filepath.Join(name, e.Name()), child)
		case name != "." || e.Name() != "lost+found":
			c.failf("%s/%s: not in the tree", name, e.Name())
		}
	}
	for _, missing := range slices.Sorted(maps.Keys(want)) {
		c.failf("%s/%s: missing", name, missing)
	}
}

func fsType(mode uint32) os.FileMode {
	return map[uint32]os.FileMode{
		rootfs.ModeDir:    os.ModeDir,
		rootfs.ModeLink:   os.ModeSymlink,
		rootfs.ModeChar:   os.ModeDevice | os.ModeCharDevice,
		rootfs.ModeBlock:  os.ModeDevice,
		rootfs.ModeFIFO:   os.ModeNamedPipe,
		rootfs.ModeSocket: os.ModeSocket,
	}[mode]
}

// same compares an inode without its children.
func (c *comparer) same(at, name string, in *rootfs.Inode) bool {
	var st unix.Stat_t
	if err := unix.Lstat(at, &st); err != nil {
		c.failf("%s: %w", name, err)
		return false
	}
	if st.Mode != in.Mode {
		c.failf("%s: mode %o, want %o", name, st.Mode, in.Mode)
	}
	if st.Uid != in.UID || st.Gid != in.GID {
		c.failf("%s: owner %d:%d, want %d:%d", name, st.Uid, st.Gid, in.UID, in.GID)
	}
	if mtime := (rootfs.Time{Sec: st.Mtim.Sec, Nsec: uint32(st.Mtim.Nsec)}); mtime != in.MTime {
		c.failf("%s: time %v, want %v", name, mtime, in.MTime)
	}
	if !in.IsDir() && st.Size != in.Size() {
		c.failf("%s: size %d, want %d", name, st.Size, in.Size())
	}
	if t := in.Type(); (t == rootfs.ModeChar || t == rootfs.ModeBlock) && uint64(st.Rdev) != in.Rdev {
		c.failf("%s: device %#x, want %#x", name, st.Rdev, in.Rdev)
	}
	if first, ok := c.inos[in]; ok {
		if first != st.Ino {
			c.failf("%s: inode %d, its other names are inode %d", name, st.Ino, first)
		}
		return st.Mode&rootfs.ModeType == in.Type()
	}
	if other := c.owner[st.Ino]; other != nil {
		c.failf("%s: inode %d is another file's", name, st.Ino)
	}
	c.inos[in], c.owner[st.Ino] = st.Ino, in
	c.sameLinks(name, in, uint64(st.Nlink))
	c.sameXattrs(at, name, in)
	c.sameFlags(at, name, in)
	c.sameContent(at, name, in)
	return st.Mode&rootfs.ModeType == in.Type()
}

func (c *comparer) sameLinks(name string, in *rootfs.Inode, got uint64) {
	want := c.links[in]
	if name == "." && in.Children["lost+found"] == nil && got == want+1 {
		want++
	}
	if in.IsDir() && (got == 1 || name == ".") && got != want {
		if got != 1 {
			c.failf("%s: %d links, want %d", name, got, want)
		}
		return // too many to count
	}
	if got != want {
		c.failf("%s: %d links, want %d", name, got, want)
	}
}

func (c *comparer) sameXattrs(at, name string, in *rootfs.Inode) {
	got, err := c.readXattrs(at)
	if err != nil {
		c.failf("%s: attributes: %w", name, err)
		return
	}
	if !maps.Equal(got, in.Xattrs) {
		c.failf("%s: attributes %.300q, want %.300q", name, got, in.Xattrs)
	}
}

func (c *comparer) readXattrs(at string) (map[string]string, error) {
	list, value := c.bufs[0][:64<<10], c.bufs[1][:64<<10]
	n, err := unix.Llistxattr(at, list)
	if err != nil || n == 0 {
		return nil, err
	}
	got := map[string]string{}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00") {
		n, err := unix.Lgetxattr(at, name, value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		got[name] = string(value[:n])
	}
	return got, nil
}

// sameFlags compares the immutable flag, which only files and directories have.
func (c *comparer) sameFlags(at, name string, in *rootfs.Inode) {
	if !in.IsDir() && !in.IsFile() {
		return
	}
	f, err := os.Open(at)
	if err != nil {
		c.failf("%s: %w", name, err)
		return
	}
	defer f.Close()
	var flags int64 // 64 bits, as in the definition of the request
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), unix.FS_IOC_GETFLAGS, uintptr(unsafe.Pointer(&flags))); errno != 0 {
		c.failf("%s: flags: %w", name, errno)
		return
	}
	if got := flags&immutableFlag != 0; got != in.Immutable {
		c.failf("%s: immutable is %v, want %v", name, got, in.Immutable)
	}
}

func (c *comparer) sameContent(at, name string, in *rootfs.Inode) {
	switch {
	case in.IsLink():
		if target, err := os.Readlink(at); err != nil || target != in.Target {
			c.failf("%s: links to %q (%v), want %q", name, target, err, in.Target)
		}
	case in.IsFile():
		f, err := os.Open(at)
		if err != nil {
			c.failf("%s: %w", name, err)
			return
		}
		defer f.Close()
		if at, err := c.firstDifference(f, in); err != nil {
			c.failf("%s: %w", name, err)
		} else if at >= 0 {
			c.failf("%s: content differs from byte %d on", name, at)
		}
	}
}

// firstDifference returns the first chunk in which a file and its content in the tree
// differ, or -1.
func (c *comparer) firstDifference(got io.Reader, in *rootfs.Inode) (int64, error) {
	size := in.Size()
	a, b := c.bufs[0][:], c.bufs[1][:]
	for off := int64(0); off < size; {
		n := min(int64(len(a)), size-off)
		if _, err := io.ReadFull(got, a[:n]); err != nil {
			return off, err
		}
		if m, err := in.Content.ReadAt(b[:n], off); int64(m) < n {
			return off, err
		}
		if !bytes.Equal(a[:n], b[:n]) {
			return off, nil
		}
		off += n
	}
	return -1, nil
}
