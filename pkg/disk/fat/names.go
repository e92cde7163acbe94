package fat

import (
	"fmt"
	"path"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// A node is a file or directory with its names and its place.
type node struct {
	inode    *rootfs.Inode
	parent   *node   // nil for the root
	children []*node // in byte order of their names
	short    [11]byte
	long     []uint16 // nil where the short name is the name
	size     int64    // bytes: of the content, or of the entries
	first    uint32   // first cluster, 0 for none
}

// entries returns the number of entries of the node in its parent.
func (n *node) entries() int64 { return 1 + int64(len(n.long)+longChars-1)/longChars }

const (
	maxFile = 1<<32 - 1
	maxDir  = 1 << 16 * entrySize // p. 35
	maxName = 255                 // UTF-16 units
)

// collect names and measures a tree, parents before children.
func collect(root *rootfs.Inode, labelled bool) ([]*node, error) {
	if !root.IsDir() {
		return nil, fmt.Errorf("the root has mode %#o, which is no directory", root.Mode)
	}
	top := &node{inode: root}
	if labelled {
		top.size = entrySize
	}
	return appendTree(nil, top, "")
}

func appendTree(nodes []*node, n *node, name string) ([]*node, error) {
	nodes = append(nodes, n)
	if !n.inode.IsDir() {
		return nodes, nil
	}
	if err := n.fill(name); err != nil {
		return nil, err
	}
	for i, child := range n.inode.Names() {
		var err error
		if nodes, err = appendTree(nodes, n.children[i], path.Join(name, child)); err != nil {
			return nil, err
		}
	}
	return nodes, nil
}

// fill adds the children of a directory.
func (n *node) fill(dir string) error {
	names := n.inode.Names()
	folded := make(map[string]string, len(names))
	for _, name := range names {
		where := path.Join(dir, name)
		in := n.inode.Children[name]
		fail := func(err error) error { return &rootfs.InodeError{Path: where, Inode: in, Err: err} }
		if err := checkName(name); err != nil {
			return fail(err)
		}
		if other, ok := folded[fold(name)]; ok {
			return fail(fmt.Errorf("differs from %s only in case", other))
		}
		folded[fold(name)] = name
		child := &node{inode: in, parent: n}
		if err := child.measure(); err != nil {
			return fail(err)
		}
		n.children = append(n.children, child)
	}
	fail := func(err error) error { return &rootfs.InodeError{Path: path.Join(dir, "."), Inode: n.inode, Err: err} }
	if err := n.shorten(names); err != nil {
		return fail(err)
	}
	for _, child := range n.children {
		n.size += child.entries() * entrySize
	}
	if n.size > maxDir {
		return fail(fmt.Errorf("a directory of %d entries, the limit is %d", n.size/entrySize, maxDir/entrySize))
	}
	return nil
}

// measure sets the size of a node, as far as it does not depend on children.
func (n *node) measure() error {
	switch {
	case n.inode.IsDir():
		n.size = 2 * entrySize // "." and ".."
		return nil
	case !n.inode.IsFile():
		return fmt.Errorf("FAT holds files and directories, not mode %#o", n.inode.Mode)
	case n.inode.Size() > maxFile:
		return fmt.Errorf("file of %s, the limit is %s", rootfs.Bytes(n.inode.Size()), rootfs.Bytes(int64(maxFile)))
	}
	n.size = n.inode.Size()
	return nil
}

// shorten gives every child its short name. Names that are short except for their
// case come first, so that no generated name takes theirs.
func (n *node) shorten(names []string) error {
	taken := make(map[[11]byte]bool, len(names))
	for i, name := range names {
		child := n.children[i]
		base, ext, exact := split(name)
		if !exact {
			continue
		}
		child.short = shortName(base, ext)
		taken[child.short] = true
		if name != strings.ToUpper(name) {
			child.long = utf16.Encode([]rune(name))
		}
	}
	last := map[string]int{} // tail most recently tried, by the start of the name
	for i, name := range names {
		base, ext, exact := split(name)
		if exact {
			continue
		}
		child := n.children[i]
		child.long = utf16.Encode([]rune(name))
		start := base[:min(len(base), 6)] + "." + ext
		for {
			last[start]++
			tail := fmt.Sprintf("~%d", last[start])
			if len(tail) > 7 {
				return fmt.Errorf("no short name is left for %s", name)
			}
			child.short = shortName(base[:min(len(base), 8-len(tail))]+tail, ext)
			if !taken[child.short] {
				break
			}
		}
		taken[child.short] = true
	}
	return nil
}

// checkName returns an error for an invalid long name.
func checkName(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return fmt.Errorf("%q is not a valid name", name)
	case !utf8.ValidString(name):
		return fmt.Errorf("name %q is not UTF-8", name)
	case len(utf16.Encode([]rune(name))) > maxName:
		return fmt.Errorf("name of %d UTF-16 units, the limit is %d", len(utf16.Encode([]rune(name))), maxName)
	case strings.HasSuffix(name, ".") || strings.HasSuffix(name, " "):
		return fmt.Errorf("name %q ends with a dot or a space", name)
	}
	for _, r := range name {
		if r < ' ' || r == 0x7F || strings.ContainsRune(`"*/:<>?\|`, r) {
			return fmt.Errorf("name %q holds %q", name, r)
		}
	}
	return nil
}

// fold returns a key that is the same for names that differ only in case.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
			least = min(least, next)
		}
		return least
	}, name)
}

// shortSigns are the signs that a short name may hold.
const shortSigns = "$%'-_@~`!(){}^#&"

func isShort(c byte) bool {
	return 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte(shortSigns, c) >= 0
}

// split returns base and extension of the short name of a name. It reports whether
// they are the name itself, except for its case.
func split(name string) (base, ext string, exact bool) {
	dot := strings.LastIndexByte(name, '.')
	if dot <= 0 {
		dot = len(name)
	}
	base, exactBase := squeeze(name[:dot], 8)
	ext, exactExt := squeeze(strings.TrimPrefix(name[dot:], "."), 3)
	if base == "" {
		base = "_" // a name of dots and spaces
	}
	return base, ext, exactBase && exactExt
}

// squeeze makes at most limit characters of a short name from a part of a long
// one: in capitals, without dots and spaces, and with "_" for other signs.
func squeeze(part string, limit int) (short string, exact bool) {
	exact = true
	var b strings.Builder
	for _, r := range part {
		switch {
		case b.Len() == limit:
			return b.String(), false
		case r == '.' || r == ' ':
			exact = false
		case r < utf8.RuneSelf && isShort(upper(byte(r))):
			b.WriteByte(upper(byte(r)))
		default:
			b.WriteByte('_')
			exact = false
		}
	}
	return b.String(), exact
}

func upper(c byte) byte {
	if 'a' <= c && c <= 'z' {
		c -= 'a' - 'A'
	}
	return c
}

func shortName(base, ext string) (name [11]byte) {
	copy(name[:], "           ")
	copy(name[:8], base)
	copy(name[8:], ext)
	return name
}

// dotName returns the short name of "." or "..".
func dotName(dots string) [11]byte { return shortName(dots, "") }

// appendLong appends the entries of a long name, its end first.
func appendLong(b []byte, long []uint16, short [11]byte) []byte {
	count := (len(long) + longChars - 1) / longChars
	for i := count; i > 0; i-- {
		var chars [longChars]uint16
		n := copy(chars[:], long[(i-1)*longChars:])
		for pad := n + 1; pad < longChars; pad++ {
			chars[pad] = 0xFFFF // behind the NUL that ends a name which does not fill its entry
		}
		e := longEntry{Ord: uint8(i), Attr: attrLongName, Chksum: checksum(short)}
		if i == count {
			e.Ord |= lastLong
		}
		copy(e.Name1[:], chars[:5])
		copy(e.Name2[:], chars[5:11])
		copy(e.Name3[:], chars[11:])
		b = appendStruct(b, e)
	}
	return b
}

// checksum returns the checksum of a short name, which its long name repeats,
// p. 28.
func checksum(short [11]byte) (sum uint8) {
	for _, c := range short {
		sum = (sum<<7 | sum>>1) + c
	}
	return sum
}
