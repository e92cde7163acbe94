// Package treetest helps the tests of file systems: with difficult trees, comparisons
// of mounted file systems with their trees, and checks by kernel and tools.
package treetest

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// A Case is a tree with a name.
type Case struct {
	Name string
	Root *rootfs.Inode
}

const miB = 1 << 20

// Cases returns trees with files, names and attributes just below and just above the
// limits of a file system with blocks of the given size.
func Cases(block int) []Case {
	return []Case{
		{"empty", rootfs.Dir(0o755)},
		{"files", files(block)},
		{"names", names()},
		{"deep", deep(60)},
		{"special", special()},
		{"links", links(block)},
		{"xattrs", xattrs(block)},
		{"times", times()},
		{"owners", owners()},
		{"hardlinks", hardLinks()},
		{"dir of 6000", crowd(6000, "name-%d")},
		{"dir of 70000", crowd(70000, "%d")},
		{"dirs of every size", growing(block)},
		{"big file", bigFile()},
	}
}

// A Pattern is content that needs no memory: 64-bit words, computed from their offset
// and a seed.
type Pattern struct {
	Seed   uint64
	Length int64
}

// Size returns the length of the content.
func (p Pattern) Size() int64 { return p.Length }

// ReadAt reads the content.
func (p Pattern) ReadAt(to []byte, off int64) (int, error) {
	if off >= p.Length {
		return 0, io.EOF
	}
	var err error
	if int64(len(to)) > p.Length-off {
		to, err = to[:p.Length-off], io.EOF
	}
	var word [8]byte
	for n := 0; n < len(to); {
		at := off + int64(n)
		value := (uint64(at/8) + p.Seed) * 0x9E3779B97F4A7C15
		if at%8 == 0 && len(to)-n >= 8 {
			binary.LittleEndian.PutUint64(to[n:], value)
			n += 8
			continue
		}
		binary.LittleEndian.PutUint64(word[:], value)
		n += copy(to[n:], word[at%8:])
	}
	return len(to), err
}

// Texts returns a tree of files from a map of paths to contents.
func Texts(t testing.TB, files map[string]string) *rootfs.Inode {
	t.Helper()
	root := rootfs.Dir(0o755)
	for name, text := range files {
		if err := root.Place(name, rootfs.Text(0o644, text)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func file(size int64) *rootfs.Inode {
	return rootfs.File(0o644, Pattern{uint64(size) + 1, size})
}

func files(block int) *rootfs.Inode {
	root := rootfs.Dir(0o755)
	b := int64(block)
	for _, size := range []int64{0, 1, 7, b - 1, b, b + 1, 2*b - 1, 2 * b, 12 * b, 13 * b, 100*b + 3, miB, 5*miB + 17} {
		root.Children[fmt.Sprintf("file%d", size)] = file(size)
	}
	root.Children["nil"] = rootfs.File(0o600, nil)
	return root
}

func names() *rootfs.Inode {
	root := rootfs.Dir(0o755)
	for i, name := range []string{
		"a", strings.Repeat("n", 252), strings.Repeat("n", 253), strings.Repeat("n", 254), strings.Repeat("n", 255),
		"with space", "new\nline", "ümläut", "\xff\xfe not utf-8", "-dash", "...", "..hidden", "\x01", "tab\t", "*?[", "日本語",
	} {
		root.Children[name] = rootfs.Text(0o644, fmt.Sprint(i))
	}
	long := rootfs.Dir(0o755)
	for i := range 64 {
		long.Children[fmt.Sprintf("%0255d", i)] = rootfs.Text(0o644, "")
		long.Children[fmt.Sprintf("\xe9%0254d", i)] = rootfs.Text(0o644, "")
	}
	root.Children["long"] = long
	return root
}

func deep(levels int) *rootfs.Inode {
	root := rootfs.Dir(0o755)
	at := root
	for i := range levels {
		next := rootfs.Dir(0o700 | uint32(i)%64)
		at.Children[fmt.Sprintf("level-%d", i)] = next
		at.Children["file"] = rootfs.Text(0o644, fmt.Sprint(i))
		at = next
	}
	return root
}

func makedev(major, minor uint64) uint64 {
	return minor&0xFF | major&0xFFF<<8 | minor&^0xFF<<12 | major&^0xFFF<<32
}

func special() *rootfs.Inode {
	root := rootfs.Dir(0o1777)
	add := func(name string, mode uint32, rdev uint64) {
		root.Children[name] = &rootfs.Inode{Mode: mode, Rdev: rdev}
	}
	add("null", rootfs.ModeChar|0o666, makedev(1, 3))
	add("zero-zero", rootfs.ModeChar|0o600, 0) // a whiteout of overlayfs
	add("char-255-255", rootfs.ModeChar|0o600, makedev(255, 255))
	add("char-256-0", rootfs.ModeChar|0o600, makedev(256, 0))
	add("block-0-256", rootfs.ModeBlock|0o660, makedev(0, 256))
	add("block-max", rootfs.ModeBlock|0o660, makedev(4095, 1<<20-1))
	add("fifo", rootfs.ModeFIFO|0o622, 0)
	add("socket", rootfs.ModeSocket|0o755, 0)
	for _, perm := range []uint32{0, 0o4755, 0o2755, 0o1755, 0o7777, 0o6000} {
		root.Children[fmt.Sprintf("file-%o", perm)] = rootfs.Text(perm, "x")
		root.Children[fmt.Sprintf("dir-%o", perm)] = rootfs.Dir(perm)
	}
	immutable := rootfs.Dir(0o755)
	immutable.Immutable = true
	immutable.Children["inside"] = rootfs.Text(0o644, "not immutable itself")
	root.Children["immutable"] = immutable
	fixed := rootfs.Text(0o644, "fixed")
	fixed.Immutable = true
	root.Children["fixed"] = fixed
	return root
}

func links(block int) *rootfs.Inode {
	root := rootfs.Dir(0o755)
	for _, n := range []int{1, 2, 58, 59, 60, 61, 255, 1019, 1022, 1023, block - 2, block - 1} {
		root.Children[fmt.Sprintf("to%d", n)] = rootfs.Link(strings.Repeat("t", n))
	}
	root.Children["dangling"] = rootfs.Link("../nowhere/at/all")
	root.Children["loop"] = rootfs.Link("loop")
	return root
}

// ACL returns an access control list in the format of the attribute
// system.posix_acl_access. Each entry has tag, permission and ID.
func ACL(entries ...[3]uint32) string {
	out := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range entries {
		out = binary.LittleEndian.AppendUint16(out, uint16(e[0]))
		out = binary.LittleEndian.AppendUint16(out, uint16(e[1]))
		out = binary.LittleEndian.AppendUint32(out, e[2])
	}
	return string(out)
}

const noID = 1<<32 - 1

func xattrs(block int) *rootfs.Inode {
	root := rootfs.Dir(0o755)
	const label = "system_u:object_r:usr_t:s0\x00"
	root.Xattrs = map[string]string{"security.selinux": "system_u:object_r:root_t:s0\x00"}
	with := func(name string, in *rootfs.Inode, attrs map[string]string) {
		in.Xattrs = attrs
		root.Children[name] = in
	}
	for n := 0; n <= 80; n += 4 {
		with(fmt.Sprintf("body%d", n), rootfs.Text(0o644, "x"), map[string]string{"user.a": strings.Repeat("v", n)})
	}
	for _, n := range []int{81, 100, 200, block / 2, block - 32 - 4 - 20 - 3, block - 32 - 4 - 20} {
		with(fmt.Sprintf("block%d", n), rootfs.Text(0o644, "x"), map[string]string{"user.a": strings.Repeat("v", n)})
		with(fmt.Sprintf("both%d", n), rootfs.Text(0o644, "x"), map[string]string{"user.a": strings.Repeat("v", n), "security.selinux": label})
	}
	many := map[string]string{}
	for i := range 12 {
		many[fmt.Sprintf("user.attr%d", i*i)] = strings.Repeat("w", i)
	}
	for i := range 3 {
		with(fmt.Sprintf("many%d", i), rootfs.Text(0o644, "x"), many) // the file system may share the attributes
	}
	with("high", rootfs.Text(0o644, "x"), map[string]string{"user.\xc3\xbcml\xc3\xa4ut": strings.Repeat("\xff", 100), "user.b": "\x80"})
	with("capability", rootfs.Text(0o755, "x"), map[string]string{
		"security.selinux":    label,
		"security.capability": "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
	})
	with("overlay", rootfs.Dir(0o755), map[string]string{"trusted.overlay.opaque": "y", "security.selinux": label})
	with("link", rootfs.Link("target"), map[string]string{"security.selinux": label})
	with("long-link", rootfs.Link(strings.Repeat("l", 100)), map[string]string{"security.selinux": label, "trusted.t": strings.Repeat("t", 100)})
	with("fifo", &rootfs.Inode{Mode: rootfs.ModeFIFO | 0o600}, map[string]string{"security.selinux": label})
	acl := ACL([3]uint32{1, 6, noID}, [3]uint32{2, 7, 1000}, [3]uint32{4, 4, noID}, [3]uint32{8, 5, 70000}, [3]uint32{0x10, 7, noID}, [3]uint32{0x20, 4, noID})
	with("acl", rootfs.Text(0o674, "x"), map[string]string{"system.posix_acl_access": acl, "security.selinux": label})
	with("acl-dir", rootfs.Dir(0o2775), map[string]string{
		"system.posix_acl_access":  ACL([3]uint32{1, 7, noID}, [3]uint32{4, 5, noID}, [3]uint32{8, 7, 4}, [3]uint32{0x10, 7, noID}, [3]uint32{0x20, 5, noID}),
		"system.posix_acl_default": ACL([3]uint32{1, 7, noID}, [3]uint32{4, 5, noID}, [3]uint32{8, 7, 4}, [3]uint32{0x10, 7, noID}, [3]uint32{0x20, 5, noID}),
		"security.selinux":         label,
	})
	return root
}

func times() *rootfs.Inode {
	root := rootfs.Dir(0o755)
	root.MTime = rootfs.Time{Sec: 1659397331, Nsec: 1}
	for _, sec := range []int64{-1 << 31, -1, 0, 1, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 4102444800, 1<<33 + 5, 1<<33 + 1<<31 - 1} {
		for _, nsec := range []uint32{0, 1, 999999999} {
			in := rootfs.Text(0o644, "")
			in.MTime = rootfs.Time{Sec: sec, Nsec: nsec}
			root.Children[fmt.Sprintf("t%d.%d", sec, nsec)] = in
		}
	}
	return root
}

func owners() *rootfs.Inode {
	root := rootfs.Dir(0o755)
	root.UID, root.GID = 1000, 1001
	for _, id := range []uint32{0, 1, 65534, 65535, 65536, 100000, 1<<31 + 3, 1<<32 - 2} {
		in := rootfs.Text(0o644, "")
		in.UID, in.GID = id, id/2+1
		root.Children[fmt.Sprint(id)] = in
	}
	return root
}

func hardLinks() *rootfs.Inode {
	root := rootfs.Dir(0o755)
	in := file(5000)
	fifo := &rootfs.Inode{Mode: rootfs.ModeFIFO | 0o600}
	link := rootfs.Link("somewhere")
	for i := range 30 {
		dir := rootfs.Dir(0o755)
		dir.Children["file"], dir.Children["again"] = in, in
		dir.Children["fifo"], dir.Children["link"] = fifo, link
		root.Children[fmt.Sprintf("dir%d", i)] = dir
	}
	return root
}

func crowd(n int, format string) *rootfs.Inode {
	root := rootfs.Dir(0o755)
	dir := rootfs.Dir(0o755)
	same := rootfs.Text(0o644, "")
	for i := range n {
		if i%30000 == 0 {
			same = rootfs.Text(0o644, fmt.Sprint(i))
		}
		dir.Children[fmt.Sprintf(format, i)] = same
	}
	root.Children["crowd"] = dir
	return root
}

// growing returns directories around the sizes at which a block overflows.
func growing(block int) *rootfs.Inode {
	root := rootfs.Dir(0o755)
	in := rootfs.Text(0o644, "one of many")
	per := (block - 24 - 12) / 24
	for n := per - 2; n < per+3; n++ {
		dir := rootfs.Dir(0o755)
		for i := range n {
			dir.Children[fmt.Sprintf("%016d", i)] = in
		}
		root.Children[fmt.Sprint(n)] = dir
	}
	sub := rootfs.Dir(0o755)
	for i := range 500 {
		sub.Children[fmt.Sprintf("sub-%d", i)] = rootfs.Dir(0o755)
	}
	root.Children["subdirs"] = sub
	return root
}

func bigFile() *rootfs.Inode {
	root := rootfs.Dir(0o755)
	root.Children["33MiB"] = file(33*miB + 5)
	root.Children["150MiB"] = file(150*miB + 1)
	root.Children["after"] = file(1)
	return root
}

// Random returns a random tree of a few hundred inodes. It depends on the seed only.
func Random(seed uint64) *rootfs.Inode {
	r := rand.New(rand.NewPCG(seed, 1))
	root := rootfs.Dir(0o755)
	dirs := []*rootfs.Inode{root}
	var others []*rootfs.Inode
	for i := range 100 + r.IntN(500) {
		dir := dirs[r.IntN(len(dirs))]
		name := fmt.Sprintf("%d%s", i, strings.Repeat("x", r.IntN(r.IntN(250)+1)))
		if len(others) > 0 && r.IntN(10) == 0 {
			dir.Children[name] = others[r.IntN(len(others))]
			continue
		}
		in := randomInode(r)
		dir.Children[name] = in
		if in.IsDir() {
			dirs = append(dirs, in)
		} else {
			others = append(others, in)
		}
	}
	return root
}

func randomInode(r *rand.Rand) *rootfs.Inode {
	in := &rootfs.Inode{
		UID:   r.Uint32N(1 << r.Uint32N(31)),
		GID:   r.Uint32N(1 << r.Uint32N(31)),
		MTime: rootfs.Time{Sec: r.Int64N(5<<31) - 1<<31, Nsec: r.Uint32N(1e9)},
	}
	perm := r.Uint32N(0o10000)
	switch r.IntN(10) {
	case 0, 1:
		in.Mode, in.Children = rootfs.ModeDir|perm, map[string]*rootfs.Inode{}
	case 2:
		in.Mode, in.Target = rootfs.ModeLink|0o777, strings.Repeat("l", 1+r.IntN(1+r.IntN(900)))
	case 3:
		in.Mode, in.Rdev = rootfs.ModeChar|perm, makedev(r.Uint64N(4096), r.Uint64N(1<<20))
	case 4:
		in.Mode = []uint32{rootfs.ModeFIFO, rootfs.ModeSocket}[r.IntN(2)] | perm
	default:
		in.Mode = rootfs.ModeFile | perm
		in.Content = Pattern{r.Uint64(), r.Int64N(1 << r.IntN(20))}
	}
	switch r.IntN(4) {
	case 0:
	case 1:
		in.Xattrs = map[string]string{"trusted.long": strings.Repeat("z", r.IntN(600)), "security.selinux": "a:b:c:s0\x00"}
	default:
		in.Xattrs = map[string]string{"security.selinux": "system_u:object_r:lib_t:s0\x00"}
	}
	return in
}
