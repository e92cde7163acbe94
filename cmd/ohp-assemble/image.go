package main

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/compress"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/ext4"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/fat"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/xfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// openImage returns the disk in a file of any format that is written here.
func openImage(f *os.File) (rootfs.Blob, string, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, "", err
	}
	if !info.Mode().IsRegular() {
		return nil, "", disk.Unsupported("not a regular file")
	}
	file := io.NewSectionReader(f, 0, info.Size())
	if isTar(file) {
		return openArchive(file)
	}
	if err := packed(file); err != nil {
		return nil, "", err
	}
	return openDisk(file)
}

// errPacked is why there is no looking into a file where it is: a disk is read
// at any offset.
var errPacked = errors.New("is compressed")

// packed returns an error if a file is compressed as a whole.
func packed(file *io.SectionReader) error {
	inside, kind, err := compress.NewReader(io.NewSectionReader(file, 0, file.Size()))
	if err == nil {
		defer inside.Close()
	}
	if kind == compress.None {
		return nil
	}
	head := make([]byte, tarBlock)
	if err == nil && kind == compress.Gzip {
		io.ReadFull(inside, head)
	}
	if isTar(bytes.NewReader(head)) {
		return fmt.Errorf("tar.gz: the disk in it %w: extract it with tar --sparse, and name the disk.raw", errPacked)
	}
	return fmt.Errorf("%w with %s: run decompress on the folder of its build, or %s, and name what that leaves", errPacked, kind, kind.Command())
}

const tarBlock = 512

// isTar reports whether a file is a tar archive, by its first header.
func isTar(file io.ReaderAt) bool {
	magic := make([]byte, 5)
	file.ReadAt(magic, 257)
	return string(magic) == "ustar"
}

// openArchive returns the disk in an OVA, or in an archive of a containerDisk.
func openArchive(file *io.SectionReader) (rootfs.Blob, string, error) {
	var names []string
	for m, err := range members(file) {
		if len(names) < 100 {
			names = append(names, m.name)
		}
		switch {
		case err != nil:
			return nil, "", fmt.Errorf("tar: %w", err)
		case strings.HasSuffix(m.name, ".vmdk"):
			d, _, err := openDisk(m.content)
			return d, "ova", err
		case strings.HasPrefix(m.name, "blobs/") && isTar(m.content):
			for m, err := range members(m.content) {
				if err != nil {
					return nil, "", fmt.Errorf("ociarchive: layer: %w", err)
				}
				if path.Dir(m.name) == "disk" {
					d, _, err := openDisk(m.content)
					return d, "ociarchive", err
				}
			}
		}
	}
	return nil, "", archiveError(names)
}

// A member is a file in a tar archive.
type member struct {
	name    string
	content *io.SectionReader
}

// members yields the files of a tar archive that are there in one piece.
func members(archive *io.SectionReader) iter.Seq2[member, error] {
	return func(yield func(member, error) bool) {
		in := io.NewSectionReader(archive, 0, archive.Size())
		t := tar.NewReader(in)
		for {
			h, err := t.Next()
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(member{}, err)
				return
			}
			at, err := in.Seek(0, io.SeekCurrent) // it reads no further than it has told of
			if err != nil || h.Typeflag == tar.TypeReg && !yield(member{path.Clean(h.Name), io.NewSectionReader(archive, at, h.Size)}, nil) {
				return
			}
		}
	}
}

// identify tells a file system by its superblock.
func identify(r io.ReaderAt) (kind, label, uuid string) {
	head := make([]byte, 2048)
	if n, _ := r.ReadAt(head, 0); n < len(head) {
		return "", "", ""
	}
	text := func(b []byte) string { return strings.TrimRight(strings.TrimRight(string(b), "\x00"), " ") }
	dashed := func(b []byte) string {
		h := hex.EncodeToString(b)
		return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
	}
	serial := func(b []byte) string {
		n := binary.LittleEndian.Uint32(b)
		return fmt.Sprintf("%04X-%04X", n>>16, n&0xffff)
	}
	switch {
	case binary.LittleEndian.Uint16(head[1024+56:]) == 0xef53:
		return "ext4", text(head[1024+120:][:16]), dashed(head[1024+104:][:16])
	case string(head[:4]) == "XFSB":
		return "xfs", text(head[108:][:12]), dashed(head[32:][:16])
	case string(head[54:62]) == "FAT16   ":
		return "fat16", text(head[43:54]), serial(head[39:])
	case string(head[82:90]) == "FAT32   ":
		return "fat32", text(head[71:82]), serial(head[67:])
	}
	if k := fits(volumeKinds, r, 0); k != nil {
		return k.name, "", ""
	}
	return "", "", ""
}

// readTree reads the file system in a partition.
func readTree(content *io.SectionReader) (*rootfs.Inode, error) {
	switch kind, _, _ := identify(content); kind {
	case "ext4":
		return ext4.Read(content)
	case "xfs":
		return xfs.Read(content)
	case "fat16", "fat32":
		return fat.Read(content)
	case "":
		return nil, errors.New("unknown file system")
	default:
		return nil, disk.Unsupported("%s is not read", kind)
	}
}

// An unread tells why there is nothing in a directory that stands for a file
// system which cannot be read.
type unread map[*rootfs.Inode]error

// booted returns the tree that the system on a disk will see when it is
// booted: its deployment is the root, and other file systems stand where it
// mounts them. A disk without a deployment has its root file system for a root.
func booted(d rootfs.Blob) (*rootfs.Inode, unread, error) {
	table, err := readTable(d)
	if err != nil {
		return nil, nil, err
	}
	trees, broken := map[string]*rootfs.Inode{}, unread{}
	for _, e := range table.Partitions {
		content := io.NewSectionReader(d, e.Start, e.Size)
		_, label, _ := identify(content)
		if label == "" { // damage may have taken it, or the file system is not read
			label = e.Name
		}
		if label != "root" && label != "boot" && label != "EFI-SYSTEM" {
			continue
		}
		tree, err := readTree(content)
		if err != nil {
			tree = rootfs.Dir(0o755)
			broken[tree] = fmt.Errorf("partition %d: %w", e.Number, damage(err))
		}
		trees[label] = tree
	}
	mount := func(dir *rootfs.Inode, name string, tree *rootfs.Inode) *rootfs.Inode {
		with := mounted(dir, name, tree)
		if err := broken[dir]; err != nil {
			broken[with] = err
		}
		return with
	}
	root := trees["root"]
	if root == nil {
		return nil, nil, disk.Unsupported("no file system with the label root")
	}
	boot := mount(trees["boot"], "efi", trees["EFI-SYSTEM"])
	stateroot, deployed := firstDeployment(root)
	if deployed == nil {
		return mount(root, "boot", boot), broken, nil
	}
	system := mounted(deployed, "sysroot", root)
	system = mounted(system, "var", stateroot.Children["var"])
	return mounted(system, "boot", boot), broken, nil
}

// why returns the errors, each once.
func (u unread) why() (errs []string) {
	for _, err := range u {
		errs = append(errs, err.Error())
	}
	slices.Sort(errs)
	return slices.Compact(errs)
}

// find returns the inode at a path. A missing file may be on a file system that
// cannot be read: the error then is about that file system, too.
func (u unread) find(root *rootfs.Inode, name string) (*rootfs.Inode, error) {
	if in := root.Resolve(name); in != nil {
		return in, u[in]
	}
	err := errors.New(strings.Join(append([]string{name + ": no such file or directory"}, u.why()...), "; "))
	for _, cause := range u {
		if errors.Is(cause, errProblems) {
			return nil, damaged{err}
		}
	}
	return nil, err
}

// mounted returns dir with another tree in the place of one of its entries.
func mounted(dir *rootfs.Inode, name string, tree *rootfs.Inode) *rootfs.Inode {
	if dir == nil || tree == nil {
		return dir
	}
	with := *dir
	with.Children = maps.Clone(dir.Children)
	with.Children[name] = tree
	return &with
}

// firstDeployment finds the deployment of a new disk, and its stateroot.
func firstDeployment(root *rootfs.Inode) (stateroot, deployed *rootfs.Inode) {
	if stateroots := root.Lookup("ostree/deploy"); stateroots != nil {
		for _, name := range stateroots.Names() {
			stateroot = stateroots.Children[name]
			if dir := stateroot.Children["deploy"]; dir != nil {
				for _, name := range dir.Names() {
					if dir.Children[name].IsDir() {
						return stateroot, dir.Children[name]
					}
				}
			}
		}
	}
	return nil, nil
}

// readLimit bounds what is read of a file in an image.
const readLimit = 1 << 20

// readFile reads a file that must be there.
func readFile(root *rootfs.Inode, name string) ([]byte, error) {
	in := root.Resolve(name)
	if in == nil || !in.IsFile() {
		return nil, fmt.Errorf("%s: no such file", name)
	}
	if in.Content == nil {
		return nil, nil
	}
	return rootfs.ReadAll(in.Content, readLimit)
}
