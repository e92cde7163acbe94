package fat

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest/golden"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

const mib = 1 << 20

func TestStructSizes(t *testing.T) {
	for _, c := range []struct {
		v    any
		want int
	}{{bpb{}, 36}, {bpb32{}, 28}, {extBoot{}, 26}, {fsInfo{}, 512}, {dirEntry{}, 32}, {longEntry{}, 32}} {
		if got := binary.Size(c.v); got != c.want {
			t.Errorf("%T has %d bytes, want %d", c.v, got, c.want)
		}
	}
}

// content returns a file of n bytes that no other size has.
func content(n int) *rootfs.Inode {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%d of %d\n", i, n)
	}
	return rootfs.Text(0o644, b.String()[:n])
}

// place builds a tree in which a name that ends in a slash is a directory and
// any other a file of size bytes.
func place(t testing.TB, size int, names ...string) *rootfs.Inode {
	t.Helper()
	root := rootfs.Dir(0o755)
	for _, name := range names {
		child := content(size)
		if strings.HasSuffix(name, "/") {
			child = rootfs.Dir(0o755)
		}
		if err := root.Place(name, child); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// beyondTools is a tree with names that FAT holds and mtools cannot copy to
// Linux: 255 units of UTF-16 that are more than 255 bytes of UTF-8, and pairs of
// surrogates.
const beyondTools = "beyond-tools"

// trees are the trees that the tools must accept.
func trees(t testing.TB) map[string]*rootfs.Inode {
	efi := place(t, 70001,
		"EFI/BOOT/BOOTX64.EFI", "EFI/BOOT/fbx64.efi", "EFI/fedora/BOOTX64.CSV", "EFI/fedora/grub.cfg",
		"EFI/fedora/grubx64.efi", "EFI/fedora/mmx64.efi", "EFI/fedora/shim.efi", "EFI/fedora/shimx64.efi")
	efi.Lookup("EFI/fedora/grub.cfg").MTime = rootfs.Time{Sec: 1785542401, Nsec: 990_000_000}

	names := place(t, 3,
		"a/ΑΒΓ αβγ 日本語 файл.txt", "a/(one) [two] {three}.tar.gz", "a/.hidden", "a/.a.b", "a/...x", "a/a b.c d",
		"a/+,;=[].+=;", "a/LONGFI~1.TXT", "a/longfilename.txt", "a/longfilenames.txt", "a/longfi~2.txt", "a/_", "a/é", "a/è",
		"a/"+strings.Repeat("n", 255), "a/"+strings.Repeat("ü", 127), "a/"+strings.Repeat("m", 12), "a/"+strings.Repeat("m", 13), "a/"+strings.Repeat("m", 14), "a/"+strings.Repeat("m", 26),
		"NUL.TXT", "no.ext.at.all", "UPPER.TXT", "Mixed.Txt", "lower.txt", "12345678.123", "123456789.123", "12345678.1234", "a&b#c.{}~", "%'-@^!$.`")

	collisions := rootfs.Dir(0o755)
	big := rootfs.Dir(0o755)
	for i := range 300 {
		collisions.Children[fmt.Sprintf("collision number %d.text", i)] = content(i)
	}
	for i := range 6000 {
		big.Children[fmt.Sprintf("one of many files %04d.data", i)] = content(i % 3)
	}
	sizes := rootfs.Dir(0o755)
	for _, cluster := range []int{512, 2048, 4096, 16384} {
		for d := -1; d <= 1; d++ {
			sizes.Children[fmt.Sprintf("f%d", cluster+d)] = content(cluster + d)
			sizes.Children[fmt.Sprintf("f%d", 2*cluster+d)] = content(2*cluster + d)
		}
	}
	sizes.Children["f0"], sizes.Children["f1"], sizes.Children["nil"] = content(0), content(1), rootfs.File(0o644, nil)
	exactDir := rootfs.Dir(0o755) // fills clusters of 512 and 2048 bytes to the last entry
	for i := range 62 {
		exactDir.Children[fmt.Sprintf("F%d", i)] = content(1)
	}
	return map[string]*rootfs.Inode{
		"empty":      rootfs.Dir(0o755),
		"efi":        efi,
		"names":      names,
		"collisions": {Mode: rootfs.ModeDir, Children: map[string]*rootfs.Inode{"c": collisions}},
		"big":        {Mode: rootfs.ModeDir, Children: map[string]*rootfs.Inode{"big": big, "other": content(5)}},
		"sizes":      {Mode: rootfs.ModeDir, Children: map[string]*rootfs.Inode{"sizes": sizes, "exact": exactDir}},
		beyondTools:  place(t, 4, strings.Repeat("ü", 255), strings.Repeat("日", 254), strings.Repeat("🎉", 127), "emoji 🎉.txt"),
		"nested":     place(t, 9, strings.Repeat("d/", 40)+"leaf", strings.Repeat("x/", 20), "empty dir/"),
	}
}

// shapes are the kinds of file system.
var shapes = map[string]Options{
	"fat16":         {Size: 127 * mib},
	"fat16-small":   {Size: 9 * mib},
	"fat16-16k":     {Size: 511 * mib},
	"fat16-4k":      {Size: 127 * mib, SectorSize: 4096},
	"fat32":         {Size: 512 * mib},
	"fat32-64m":     {Size: 64 * mib, Bits: 32},
	"fat32-2g":      {Size: 2048 * mib},
	"fat32-4k":      {Size: 1024 * mib, SectorSize: 4096},
	"fat32-4k-300m": {Size: 300 * mib, SectorSize: 4096, Bits: 32},
}

func mustFormat(t testing.TB, root *rootfs.Inode, o Options) *disk.Image {
	t.Helper()
	img, err := Format(root, o)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func labelled(o Options) Options {
	o.Label, o.VolumeID, o.Time = "EFI-SYSTEM", 0x7B7795E7, rootfs.Time{Sec: 1659397331}
	return o
}

func TestSameBytes(t *testing.T) {
	for name, root := range trees(t) {
		for shape, o := range shapes {
			first := golden.Image(t, mustFormat(t, root, labelled(o)))
			procs := runtime.GOMAXPROCS(1)
			second := golden.Image(t, mustFormat(t, trees(t)[name], labelled(o)))
			runtime.GOMAXPROCS(procs)
			if first != second {
				t.Errorf("%s as %s differs", name, shape)
			}
		}
	}
}

func TestShortNames(t *testing.T) {
	root := place(t, 0, "Abc.txt", "long file name.html", "long file name 2.html", "LONGFI~1.HTM", ".profile", "a+b", "x.y.z", "über", "README")
	nodes, err := collect(root, false)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"Abc.txt":               "ABC     TXT",
		"LONGFI~1.HTM":          "LONGFI~1HTM",
		"README":                "README     ",
		"long file name 2.html": "LONGFI~2HTM",
		"long file name.html":   "LONGFI~3HTM",
		".profile":              "PROFIL~1   ",
		"a+b":                   "A_B~1      ",
		"x.y.z":                 "XY~1    Z  ",
		"über":                  "_BER~1     ",
	}
	for i, name := range root.Names() {
		n := nodes[0].children[i]
		if got := string(n.short[:]); got != want[name] {
			t.Errorf("%s becomes %q, want %q", name, got, want[name])
		}
		if isLong := n.long != nil; isLong == (name == "README" || name == "LONGFI~1.HTM") {
			t.Errorf("%s: long name %v", name, isLong)
		}
	}
}

// The specification's own way to say it: rotate right, then add.
func TestChecksum(t *testing.T) {
	var want uint8
	for _, c := range []byte("FILENAMETXT") {
		carry := want & 1
		want >>= 1
		if carry == 1 {
			want |= 0x80
		}
		want += c
	}
	if got := checksum(shortName("FILENAME", "TXT")); got != want {
		t.Errorf("%#x, want %#x", got, want)
	}
}

func TestLongNames(t *testing.T) {
	short := shortName("SHORT~1", "TXT")
	for _, name := range []string{"a", "twelve chars", "thirteen char", "fourteen chars", "emoji 🎉 in the midst of a name", strings.Repeat("ü", 255)} {
		b := appendLong(nil, utf16.Encode([]rune(name)), short)
		count := len(b) / entrySize
		var units []uint16
		for i := count; i > 0; i-- {
			e := b[(i-1)*entrySize:][:entrySize]
			if last := e[0]&lastLong != 0; last != (i == 1) || int(e[0]&^lastLong) != count-i+1 {
				t.Errorf("%s: entry %d of %d has number %#x", name, i, count, e[0])
			}
			if e[11] != attrLongName || e[12] != 0 || e[13] != checksum(short) || e[26] != 0 || e[27] != 0 {
				t.Errorf("%s: entry % x", name, e)
			}
			for _, part := range [][]byte{e[1:11], e[14:26], e[28:32]} {
				for ; len(part) > 0; part = part[2:] {
					units = append(units, order.Uint16(part))
				}
			}
		}
		padding := ""
		if n := len(units) - len(utf16.Encode([]rune(name))); n > 0 {
			padding = "\x00" + strings.Repeat("\uFFFF", n-1)
		}
		if got := string(utf16.Decode(units)); got != name+padding {
			t.Errorf("%q reads %q", name, got)
		}
	}
}

func TestDOSTime(t *testing.T) {
	for _, c := range []struct {
		t           rootfs.Time
		date, clock uint16
		tenths      uint8
	}{
		{rootfs.Time{}, 0x0021, 0, 0},
		{rootfs.Time{Sec: -5}, 0x0021, 0, 0},
		{rootfs.Time{Sec: unix1980}, 0x0021, 0, 0},
		{rootfs.Time{Sec: 1659397331, Nsec: 5e8}, 42<<9 | 8<<5 | 1, 23<<11 | 42<<5 | 5, 150},
		{rootfs.Time{Sec: unix2108}, 127<<9 | 12<<5 | 31, 23<<11 | 59<<5 | 29, 100},
	} {
		date, clock, tenths := dosTime(c.t)
		if date != c.date || clock != c.clock || tenths != c.tenths {
			t.Errorf("%v: %#x %#x %d, want %#x %#x %d", c.t, date, clock, tenths, c.date, c.clock, c.tenths)
		}
	}
}

// hollow is content of some size, whose bytes do not matter.
type hollow int64

func (h hollow) Size() int64                       { return int64(h) }
func (h hollow) ReadAt([]byte, int64) (int, error) { panic("a planner reads no content") }

func one(name string, child *rootfs.Inode) *rootfs.Inode {
	root, dir := rootfs.Dir(0o755), rootfs.Dir(0o755)
	root.Children["dir"] = dir
	dir.Children[name] = child
	return root
}

func TestRefused(t *testing.T) {
	empty := rootfs.Dir(0o755)
	file := rootfs.Text(0o644, "x")
	cased := one("Name", file)
	cased.Lookup("dir").Children["nAME"] = file
	sharp := one("\u212Aelvin", file)
	sharp.Lookup("dir").Children["kelvin"] = file
	crowded := rootfs.Dir(0o755)
	for i := range 512 {
		crowded.Children[fmt.Sprint("F", i)] = file
	}
	huge := rootfs.Dir(0o755)
	for i := range 22000 {
		huge.Children[fmt.Sprintf("a long name %d", i)] = file
	}
	o := labelled(Options{Size: 127 * mib})
	for _, c := range []struct {
		name string
		root *rootfs.Inode
		o    Options
		want string
	}{
		{"link", one("l", rootfs.Link("x")), o, "dir/l: FAT holds files and directories, not mode 0120777"},
		{"device", one("d", &rootfs.Inode{Mode: rootfs.ModeBlock | 0o600}), o, "dir/d: FAT holds"},
		{"case", cased, o, "dir/nAME: differs from Name only in case"},
		{"case beyond ASCII", sharp, o, "only in case"},
		{"colon", one("a:b", file), o, `dir/a:b: name "a:b" holds ':'`},
		{"control", one("a\x01b", file), o, "holds"},
		{"dot", one("a.", file), o, "ends with a dot"},
		{"dots", one("..", file), o, "is not a valid name"},
		{"UTF-8", one("a\xff", file), o, "is not UTF-8"},
		{"long", one(strings.Repeat("🎉", 128), file), o, "256 UTF-16 units"},
		{"4 GiB", one("f", rootfs.File(0o644, hollow(1<<32))), o, "dir/f: file of 4 GiB (4294967296 bytes), the limit is "},
		{"full", one("f", rootfs.File(0o644, hollow(200*mib))), o, "tree needs 102401 clusters of 2048 bytes, an image of 127 MiB (133169152 bytes) holds 64887: 201 MiB (210763776 bytes) are needed"},
		{"never", &rootfs.Inode{Mode: rootfs.ModeDir, Children: map[string]*rootfs.Inode{
			"1": rootfs.File(0o644, hollow(maxFile)), "2": rootfs.File(0o644, hollow(maxFile)), "3": rootfs.File(0o644, hollow(maxFile)),
			"4": rootfs.File(0o644, hollow(maxFile)), "5": rootfs.File(0o644, hollow(maxFile)), "6": rootfs.File(0o644, hollow(maxFile)),
			"7": rootfs.File(0o644, hollow(maxFile)), "8": rootfs.File(0o644, hollow(maxFile))}}, o, "no size would do"},
		{"root full", crowded, o, "the root directory needs 513 entries, FAT16 has 512"},
		{"directory full", &rootfs.Inode{Mode: rootfs.ModeDir, Children: map[string]*rootfs.Inode{"huge": huge}}, labelled(Options{Size: 512 * mib}), "huge: a directory of"},
		{"no directory", file, o, "the root has mode"},
		{"size", empty, Options{Size: 1000}, "not a positive multiple of the sector size 512"},
		{"no size", empty, Options{}, "not a positive multiple"},
		{"too large", empty, Options{Size: 64 << 30}, "is more than"},
		{"small", empty, Options{Size: 8 * mib}, "4087 to 65524 are allowed"},
		{"tiny", empty, Options{Size: 512}, "4087 to 65524 are allowed"},
		{"small 32", empty, Options{Size: 32 * mib, Bits: 32}, "at least 65525 are needed"},
		{"small 4k", empty, Options{Size: 63 * mib, SectorSize: 4096}, "4087 to 65524 are allowed"},
		{"FAT16 too large", empty, Options{Size: 2200 * mib, Bits: 16}, "4087 to 65524 are allowed"},
		{"bits", empty, Options{Size: 64 * mib, Bits: 12}, "neither FAT16 nor FAT32"},
		{"sectors", empty, Options{Size: 64 * mib, SectorSize: 1024}, "neither 512 nor 4096"},
		{"label", empty, Options{Size: 64 * mib, Label: "EFI-SYSTEM-2"}, "longer than 11"},
		{"small label", empty, Options{Size: 64 * mib, Label: "efi"}, "'e' is not a capital"},
		{"space label", empty, Options{Size: 64 * mib, Label: " A"}, "begins with a space"},
	} {
		_, err := Format(c.root, c.o)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "fat: ") {
			t.Errorf("%s: %v, want ...%s", c.name, err, c.want)
		}
	}
}

// The size of sizeHint must be large enough.
func TestSizeHint(t *testing.T) {
	root := one("f", rootfs.File(0o644, hollow(200*mib)))
	mustFormat(t, root, Options{Size: 201 * mib})
	if _, err := Format(root, Options{Size: 200 * mib}); err == nil {
		t.Error("a smaller size does too")
	}
}
