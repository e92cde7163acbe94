package inspect

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/ext4"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/gpt"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/inspect/inspecttest"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/bls"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// openFile opens an image file.
func openFile(t testing.TB, name string) (*Disk, error) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return Open(f, info.Size())
}

func mustOpen(t testing.TB, name string) *Disk {
	t.Helper()
	d, err := openFile(t, name)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// cat returns a file of the booted system.
func cat(t testing.TB, d *Disk, name string) (string, error) {
	t.Helper()
	tree, err := d.Booted()
	if err != nil {
		return "", err
	}
	in, err := tree.Find(name)
	if err != nil {
		return "", err
	}
	b, err := rootfs.ReadAll(in.Content, 1<<20)
	return string(b), err
}

// intact reports whether an error is about a file that is not damaged.
func intact(err error) bool { return err != nil && !errors.Is(err, ErrDamaged) }

// TestKinds: every format that is not read has a name, and is not called
// damaged.
func TestKinds(t *testing.T) {
	const size = 1 << 17
	check := func(off int64, content, says string) {
		t.Helper()
		b := make([]byte, size)
		if off < 0 {
			off += size
		}
		copy(b[off:], content)
		if _, err := Open(bytes.NewReader(b), size); !intact(err) || !strings.Contains(err.Error(), says) {
			t.Errorf("%.20q: %v, want %q", content, err, says)
		}
	}
	for _, table := range [][]fileKind{diskKinds, volumeKinds, otherKinds} {
		for _, k := range table {
			if k.open == nil {
				check(k.off, k.magic, k.name)
			}
		}
	}
	for content, says := range map[string]string{
		"": "begins with zeros",
		"just a text\n" + strings.Repeat("ä\n", size): "this is text, not a disk",
		" {\"a\": 1}" + strings.Repeat(" ", size):     "JSON",
		strings.Repeat("\x80\x01", size):              "the format is not known",
		"\x1f\x8b":                                    "compressed with gzip",
		"\xfd7zXZ\x00":                                "compressed with xz",
		"\x28\xb5\x2f\xfd":                            "compressed with zstd",
		"PK\x03\x04":                                  "compressed with zip",
		strings.Repeat("\x00", 510) + "\x55\xaa":      "MBR, and only GPT",
	} {
		check(0, content, says)
	}
	if _, err := Open(bytes.NewReader(nil), 0); !intact(err) || !strings.Contains(err.Error(), "the file is empty") {
		t.Errorf("an empty file: %v", err)
	}
	protective := make([]byte, size)
	protective[450], protective[510], protective[511] = 0xee, 0x55, 0xaa
	if _, err := Open(bytes.NewReader(protective), size); !errors.Is(err, ErrDamaged) {
		t.Errorf("a disk that lost its table: %v", err)
	}
	if _, err := Open(strings.NewReader("\x1f\x8b"), 2); !errors.Is(err, ErrCompressed) {
		t.Errorf("gzip: %v", err)
	}
	if _, err := Open(strings.NewReader(strings.Repeat("x", 2048)), 2048); !errors.Is(err, gpt.ErrNoTable) {
		t.Errorf("no disk: %v", err)
	}
}

// TestQEMUKinds has the files that qemu-img makes.
func TestQEMUKinds(t *testing.T) {
	for line, says := range map[string]string{
		"vdi":                                  "VDI disk",
		"qed":                                  "QED disk",
		"parallels":                            "Parallels disk",
		"qcow":                                 "QCOW disk, version 1",
		"vmdk -o subformat=monolithicFlat":     "VMDK descriptor",
		"vmdk -o subformat=twoGbMaxExtentFlat": "VMDK descriptor",
		"qcow2 -o extended_l2=on":              "qcow2: header: has subclusters",
		"qcow2 -o data_file=data":              "qcow2: header: needs an external data file",
		"qcow2 -b /dev/null -F raw":            "qcow2: header: needs a backing file",
		"qcow2 --object secret,id=s,data=x -o encrypt.format=aes,encrypt.key-secret=s": "qcow2: header: encrypted", // luks measures the machine's speed
	} {
		t.Chdir(t.TempDir())
		treetest.Run(t, "qemu-img", append(append([]string{"create", "-q", "-f"}, strings.Fields(line)...), "image", "2M")...)
		_, err := openFile(t, "image")
		var format *FormatError
		if !errors.As(err, &format) || format.Advice == "" || !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// TestOtherFileSystem: a partition that is not read is no damage.
func TestOtherFileSystem(t *testing.T) {
	for _, k := range volumeKinds {
		name, at := inspecttest.SmallDisk(t, rootfs.Dir(0o755))
		inspecttest.Overwrite(t, name, at["root"], make([]byte, 4096))
		inspecttest.Overwrite(t, name, at["root"]+k.off, []byte(k.magic))
		d := mustOpen(t, name)
		r := d.Report()
		if len(r.Problems) > 0 || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], k.name) || !r.Partitions[2].Opaque() {
			t.Errorf("%s: %+v", k.name, r)
		}
		if _, err := cat(t, d, "/etc/os-release"); !intact(err) || !strings.Contains(err.Error(), k.name) {
			t.Errorf("%s: cat: %v", k.name, err)
		}
	}
}

// TestOtherSystem: a disk of a system that ostree has not deployed is whole.
func TestOtherSystem(t *testing.T) {
	name, at := inspecttest.SmallDisk(t, rootfs.Dir(0o755))
	for part, tree := range map[string]*rootfs.Inode{"root": rootfs.Dir(0o755), "boot": rootfs.Dir(0o755)} {
		fs, err := ext4.Format(tree, ext4.Options{Size: 8 << 20, Label: part})
		if err != nil {
			t.Fatal(err)
		}
		b, err := rootfs.ReadAll(fs, 8<<20)
		if err != nil {
			t.Fatal(err)
		}
		inspecttest.Overwrite(t, name, at[part], b)
	}
	if r := mustOpen(t, name).Report(); len(r.Problems) > 0 || len(r.Notes) != 2 {
		t.Errorf("%+v", r)
	}
}

// TestDamagedPart: a part that is damaged does not hide the others.
func TestDamagedPart(t *testing.T) {
	name, at := inspecttest.SmallDisk(t, rootfs.Dir(0o755))
	inspecttest.Overwrite(t, name, at["boot"]+1024+40, []byte{0, 0, 0, 0})
	d := mustOpen(t, name)
	if got, err := cat(t, d, "/etc/os-release"); err != nil || got != "ID=small\n" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := cat(t, d, "/boot/loader/entries/1.conf"); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "partition 2: ext4: superblock: ") {
		t.Errorf("%v", err)
	}
	tree, err := d.Booted()
	if err != nil || !errors.Is(tree.Err(), ErrDamaged) {
		t.Errorf("%v, %v", err, tree.Err())
	}
	if r := d.Report(); len(r.Problems) != 1 {
		t.Errorf("%+v", r)
	}
}

// TestVolumes reads files that are one file system: of other programs, and a
// partition of ours.
func TestVolumes(t *testing.T) {
	t.Chdir(t.TempDir())
	treetest.Tool(t, "mcopy")
	if err := os.WriteFile("file", []byte("hello\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for kind, lines := range map[string][]string{
		"iso9660":  {"genisoimage -quiet -R -V LABEL -o image file"},
		"fat12":    {"mkfs.fat -C -F 12 -n LABEL image 1440", "mcopy -i image file ::"},
		"fat16":    {"mkfs.fat -C -F 16 -n LABEL image 20000", "mcopy -i image file ::"},
		"fat32":    {"mkfs.fat -C -F 32 -n LABEL image 70000", "mcopy -i image file ::"},
		"squashfs": {"mksquashfs file image -quiet -no-progress"},
		"ext4":     {"mke2fs -q -t ext4 -L LABEL image 8M", "debugfs -w -R write\x20file\x20file image"},
	} {
		os.Remove("image")
		for _, line := range lines {
			args := strings.Split(line, " ")
			if args[0] == "debugfs" {
				args = []string{"debugfs", "-w", "-R", "write file file", "image"}
			}
			treetest.Run(t, args[0], args[1:]...)
		}
		d := mustOpen(t, "image")
		if d.Volume == nil || d.Volume.Filesystem != kind || (d.Volume.Label != "LABEL" || d.Volume.UUID == "") && kind != "squashfs" {
			t.Fatalf("%s: %+v", kind, d.Volume)
		}
		if got, err := cat(t, d, "/file"); err != nil || got != "hello\n" {
			t.Errorf("%s: %q, %v", kind, got, err)
		}
		if r := d.Report(); len(r.Problems)+len(r.Notes)+len(r.Partitions) > 0 || r.Volume == nil {
			t.Errorf("%s: %+v", kind, r)
		}
		if kind == "squashfs" { // has neither label nor UUID
			continue
		}
		said := treetest.Run(t, "blkid", "-p", "-o", "value", "-s", "UUID", "image")
		if strings.TrimSpace(said) != d.Volume.UUID {
			t.Errorf("%s: UUID %s, blkid says %s", kind, d.Volume.UUID, said)
		}
	}
}

// TestHybrid: an ISO image with a partition table is a disk, too. Its root is
// the root file system if it has one, and the ISO 9660 file system otherwise.
func TestHybrid(t *testing.T) {
	name, _ := inspecttest.SmallDisk(t, rootfs.Dir(0o755))
	inspecttest.Overwrite(t, name, 32769, []byte("CD001"))
	d := mustOpen(t, name)
	if got, err := cat(t, d, "/etc/os-release"); err != nil || got != "ID=small\n" || d.Format != "raw" || len(d.Partitions()) != 3 {
		t.Errorf("%q, %v, %+v", got, err, d)
	}
	t.Chdir(t.TempDir())
	treetest.Run(t, "sh", "-ec", `mkdir tree; echo live >tree/.treeinfo; truncate -s 2M esp; mkfs.fat -n EFI-SYSTEM esp >/dev/null
		xorrisofs -quiet -R -V LIVE -o image -append_partition 2 0xef esp -appended_part_as_gpt -partition_offset 16 tree`)
	d = mustOpen(t, "image")
	if got, err := cat(t, d, "/.treeinfo"); err != nil || got != "live\n" || d.Volume == nil || len(d.Partitions()) == 0 {
		t.Errorf("%q, %v, %+v", got, err, d)
	}
	if r := d.Report(); len(r.Problems) > 0 || r.Volume.Label != "LIVE" {
		t.Errorf("%+v", r)
	}
}

// TestArchives finds a disk in archives of GNU tar: Google's, with a sparse
// file of few ranges and of many, and as a plain file.
func TestArchives(t *testing.T) {
	name, _ := inspecttest.SmallDisk(t, rootfs.Dir(0o755))
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(name)
	if err := os.Rename(name, filepath.Join(dir, "disk.raw")); err != nil {
		t.Fatal(err)
	}
	for _, options := range [][]string{{"--sparse", "--format=oldgnu"}, {"--sparse", "--format=oldgnu", "--hole-detection=raw"}, {"--format=pax"}} {
		archive := filepath.Join(t.TempDir(), "image.tar")
		treetest.Run(t, "tar", append(options, "-C", dir, "-cf", archive, "disk.raw")...)
		d := mustOpen(t, archive)
		got, err := io.ReadAll(io.NewSectionReader(d.Content, 0, d.Content.Size()))
		if err != nil || !bytes.Equal(got, want) || d.Format != "tar" {
			t.Errorf("%q: %s of %d bytes, want %d: %v", options, d.Format, len(got), len(want), err)
		}
		if info, err := os.Stat(archive); err != nil || options[0] == "--sparse" && info.Size() > int64(len(want))/4 {
			t.Errorf("%q: the archive is not sparse", options)
		}
		packed := archive + ".gz"
		treetest.Run(t, "sh", "-ec", `gzip <"$1" >"$2"`, "sh", archive, packed)
		var compressed *CompressedError
		if _, err := openFile(t, packed); !errors.As(err, &compressed) || !compressed.Tar {
			t.Errorf("%q: tar.gz: %v", options, err)
		}
	}
	var empty bytes.Buffer
	w := tar.NewWriter(&empty)
	w.WriteHeader(&tar.Header{Name: "oci-layout", Mode: 0o644, Typeflag: tar.TypeReg})
	w.Close()
	if _, err := Open(bytes.NewReader(empty.Bytes()), int64(empty.Len())); !intact(err) || !strings.Contains(err.Error(), "use oci-archive:FILE") {
		t.Errorf("a container: %v", err)
	}
}

// TestSparseHostile changes the map of a sparse file.
func TestSparseHostile(t *testing.T) {
	head := func(change func(b []byte)) error {
		b := make([]byte, 4*tarBlock)
		copy(b, "disk.raw")
		copy(b[257:], "ustar")
		b[156] = 'S'
		copy(b[realSize:], "00000004000\x00")
		copy(b[sparseInHead:], "00000000000\x0000000001000\x00")
		change(b)
		_, _, err := unwrap(io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b))))
		return err
	}
	if err := head(func([]byte) {}); err != nil {
		t.Error(err)
	}
	for what, change := range map[string]func(b []byte){
		"no number":     func(b []byte) { b[sparseInHead+3] = 'x' },
		"outside":       func(b []byte) { copy(b[sparseInHead:], "00000003777\x0000000001000\x00") },
		"overlap":       func(b []byte) { copy(b[sparseInHead+rangeSize:], b[sparseInHead:][:rangeSize]) },
		"negative size": func(b []byte) { copy(b[realSize:], bytes.Repeat([]byte{0xff}, 12)) },
		"endless": func(b []byte) {
			b[extendedHead] = 1
			for at := tarBlock; at < len(b); at += tarBlock {
				b[at+extendedBlock] = 1
			}
		},
	} {
		if err := head(change); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

// TestCutShort: an image is damaged when its end is missing, at any place.
func TestCutShort(t *testing.T) {
	name, _ := inspecttest.SmallDisk(t, rootfs.Dir(0o755))
	for format, args := range map[string][]string{
		"raw": {"raw"}, "qcow2": {"qcow2"}, "vmdk": {"vmdk", "-o", "subformat=streamOptimized"}, "vmdk, sparse": {"vmdk"}, "vhdx": {"vhdx"}, "vhd": {"vpc", "-o", "force_size=on"},
	} {
		image := filepath.Join(t.TempDir(), "image")
		treetest.Run(t, "qemu-img", append(append([]string{"convert", "-O"}, args...), name, image)...)
		whole := mustOpen(t, image)
		if got, err := cat(t, whole, "/etc/os-release"); err != nil || got != "ID=small\n" || whole.Format != strings.TrimSuffix(format, ", sparse") {
			t.Errorf("%s: %q, %v", format, got, err)
		}
		info, err := os.Stat(image)
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range []int64{info.Size() / 2, 4000, 40} {
			if format == "raw" && size < 1<<20 { // the rest has no header that could be cut
				continue
			}
			if err := os.Truncate(image, size); err != nil {
				t.Fatal(err)
			}
			d, err := openFile(t, image)
			if err == nil {
				_, err = d.Booted()
			}
			if err == nil {
				_, err = cat(t, d, "/etc/os-release")
			}
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("%s of %d bytes: %v", format, size, err)
			}
		}
	}
}

// TestBootEntry: every line of a boot entry is shown.
func TestBootEntry(t *testing.T) {
	e, err := bls.Parse("title T\r\noptions a b\noptions a\nlinux /vmlinuz\ninitrd /one\ninitrd /two\nversion 1\nx-options-source-tuned nohz\nextra /1\nlinux /other\n")
	if err != nil {
		t.Fatal(err)
	}
	want := BootEntry{
		File: "x", Title: "T", Linux: "/vmlinuz", Initrd: []string{"/one", "/two"}, Options: "a b a",
		Other: []bls.Field{{Key: "version", Value: "1"}, {Key: "x-options-source-tuned", Value: "nohz"}, {Key: "extra", Value: "/1"}, {Key: "linux", Value: "/other"}},
	}
	if got := NewBootEntry("x", e); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
}

func TestModeString(t *testing.T) {
	for mode, want := range map[uint32]string{
		0o100644: "-rw-r--r--", 0o104755: "-rwsr-xr-x", 0o041777: "drwxrwxrwt", 0o041776: "drwxrwxrwT", 0o102644: "-rw-r-Sr--",
		0o120777: "lrwxrwxrwx", 0o020600: "crw-------", 0o060000: "b---------", 0o010000: "p---------", 0o140000: "s---------",
	} {
		if got := ModeString(mode); got != want {
			t.Errorf("%#o: %s, want %s", mode, got, want)
		}
	}
}

// TestDeployments orders deployments, and leaves out everything else.
func TestDeployments(t *testing.T) {
	root := treetest.Texts(t, map[string]string{
		"ostree/deploy/b/deploy/22.0/etc/x": "", "ostree/deploy/b/deploy/22.0.origin": "[origin]\ncontainer-image-reference=ref\n",
		"ostree/deploy/a/deploy/11.1/etc/x": "", "ostree/deploy/a/var/x": "", "ostree/deploy/none/var/x": "", "ostree/deploy/README": "",
	})
	var got []string
	for _, d := range Deployments(root) {
		origin, err := d.origin()
		got = append(got, fmt.Sprint(d.Stateroot, " ", d.Commit, " ", d.Var != nil, " ", origin, " ", err != nil))
	}
	if want := []string{"a 11 true  true", "b 22 false ref false"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// FuzzOpen must not panic or loop.
func FuzzOpen(f *testing.F) {
	for _, table := range [][]fileKind{diskKinds, volumeKinds} {
		for _, k := range table {
			b := make([]byte, max(k.off, 0)+4096)
			copy(b[max(k.off, 0):], k.magic)
			f.Add(b)
		}
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	w.Write(make([]byte, 4096))
	w.Close()
	f.Add(packed.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		d.Report()
		d.Booted()
	})
}
