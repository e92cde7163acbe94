package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A tree is the content of a file system, by path. The root is ".".
type tree struct {
	entries map[string]*entry
	commit  string
	firsts  map[uint64]*entry // by inode number: the first name in byte order
}

// An entry is the inode of one name. All fields can be compared.
type entry struct {
	mode      uint32
	owner     string
	rdev      uint64
	target    string
	content   string // size and SHA-256 of the content, small text being normalised
	links     string // number of names, and the first name
	xattrs    map[string]string
	immutable bool
	epoch     bool // modified at the epoch
	names     []string
}

func (e *entry) String() string {
	return fmt.Sprintf("%o %s %s%s", e.mode, e.owner, e.target, e.content)
}

// otherXattrs returns the extended attributes except the label, as text.
func (e *entry) otherXattrs() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(e.xattrs)) {
		if name != labelName {
			fmt.Fprintf(&b, "%s=%x ", name, e.xattrs[name])
		}
	}
	return b.String()
}

// tree reads one of the disk's file systems: esp, boot or root.
func (d *disk) tree(name string) (*tree, error) {
	t := &tree{entries: map[string]*entry{}, commit: d.commit, firsts: map[uint64]*entry{}}
	top := filepath.Join(d.scratch, name)
	// Some paths are longer than PATH_MAX.
	if err := os.Chdir(top); err != nil {
		return nil, err
	}
	defer os.Chdir("/")
	if err := t.walk(".", "."); err != nil {
		return nil, err
	}
	for _, e := range t.entries {
		slices.Sort(e.names)
		e.links = fmt.Sprintf("%d names, first %s", len(e.names), e.names[0])
	}
	return t, nil
}

// walk reads an inode. at is its path from the working directory, name its path from
// the root of the file system.
func (t *tree) walk(at, name string) error {
	var st unix.Stat_t
	if err := unix.Lstat(at, &st); err != nil {
		return &fs.PathError{Op: "lstat", Path: name, Err: err}
	}
	shown := t.normalise(name)
	e := t.firsts[st.Ino]
	if e == nil || st.Mode&unix.S_IFMT == unix.S_IFDIR {
		var err error
		if e, err = t.read(at, name, &st); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		t.firsts[st.Ino] = e
	}
	e.names = append(e.names, shown)
	t.entries[shown] = e
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil
	}
	children, err := os.ReadDir(at)
	if err != nil {
		return err
	}
	if err := os.Chdir(at); err != nil {
		return err
	}
	for _, child := range children {
		if err := t.walk(child.Name(), filepath.Join(name, child.Name())); err != nil {
			return err
		}
	}
	if at == "." {
		return nil
	}
	return os.Chdir("..")
}

func (t *tree) read(at, name string, st *unix.Stat_t) (*entry, error) {
	e := &entry{mode: st.Mode, owner: fmt.Sprintf("%d:%d", st.Uid, st.Gid), rdev: st.Rdev, epoch: st.Mtim.Sec == 0}
	var err error
	if e.xattrs, err = xattrs(at); err != nil {
		return nil, err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		e.target, err = os.Readlink(at)
		e.target = t.normalise(e.target)
	case unix.S_IFREG:
		e.content, err = t.content(at, name, st.Size)
		if err == nil {
			e.immutable, err = immutable(at)
		}
	case unix.S_IFDIR:
		e.immutable, err = immutable(at)
	}
	return e, err
}

// normalise replaces the commit's checksum, including the one with a slash in the name
// of an object.
func (t *tree) normalise(s string) string {
	s = strings.ReplaceAll(s, t.commit, "COMMIT")
	return strings.ReplaceAll(s, t.commit[:2]+"/"+t.commit[2:], "CO/MMIT")
}

// smallText is the largest size of a file that is searched for the commit's checksum.
const smallText = 8192

func (t *tree) content(at, name string, size int64) (string, error) {
	f, err := os.Open(at)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if size > smallText {
		if _, err := io.Copy(h, f); err != nil {
			return "", err
		}
	} else {
		data, err := io.ReadAll(f)
		if err != nil {
			return "", err
		}
		io.WriteString(h, sortOptions(t.normalise(string(data))))
		if int64(len(data)) != size {
			return "", fmt.Errorf("%s: %d bytes of %d", name, len(data), size)
		}
	}
	return fmt.Sprintf("%d bytes %s", size, hex.EncodeToString(h.Sum(nil))), nil
}

// sortOptions sorts the kernel arguments of a boot loader entry, because several orders
// are correct.
func sortOptions(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if rest, ok := strings.CutPrefix(line, "options "); ok {
			words := strings.Fields(rest)
			slices.Sort(words)
			lines[i] = "options " + strings.Join(words, " ")
		}
	}
	return strings.Join(lines, "\n")
}

func xattrs(at string) (map[string]string, error) {
	buf := make([]byte, 65536)
	n, err := unix.Llistxattr(at, buf)
	if err != nil {
		return nil, fmt.Errorf("listxattr: %w", err)
	}
	found := map[string]string{}
	value := make([]byte, 65536)
	for name := range strings.SplitSeq(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		n, err := unix.Lgetxattr(at, name, value)
		if err != nil {
			return nil, fmt.Errorf("getxattr %s: %w", name, err)
		}
		found[name] = string(value[:n])
	}
	return found, nil
}

// immutableFlag is FS_IMMUTABLE_FL of linux/fs.h.
const immutableFlag = 0x10

func immutable(at string) (bool, error) {
	f, err := os.Open(at)
	if err != nil {
		return false, err
	}
	defer f.Close()
	flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err == unix.ENOTTY || err == unix.EOPNOTSUPP {
		return false, nil
	}
	return flags&immutableFlag != 0, err
}
