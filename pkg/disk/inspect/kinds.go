package inspect

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/gpt"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/qcow2"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/vhd"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/vhdx"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/vmdk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// A fileKind is a kind of files with a magic number.
type fileKind struct {
	off    int64 // of the magic number; from the end of the file if negative
	magic  string
	name   string
	open   func(*io.SectionReader) (rootfs.Blob, error) // nil if the kind is not read
	advice string
}

const (
	byQEMU    = "convert it to a raw disk first: qemu-img convert -O raw FILE disk.raw"
	byHdiutil = "convert it to a raw disk first, with hdiutil on a Mac"
)

// diskKinds are disk formats, and formats of files that look like a raw disk.
// The first match counts. A file of a kind that is not read is read as a raw
// disk if it has a partition table.
var diskKinds = []fileKind{
	{0, "QFI\xfb\x00\x00\x00\x01", "QCOW disk, version 1", nil, byQEMU},
	{0, "QFI\xfb", "qcow2", func(r *io.SectionReader) (rootfs.Blob, error) { return qcow2.Open(r) }, byQEMU},
	{0, "KDMV", "vmdk", func(r *io.SectionReader) (rootfs.Blob, error) { return vmdk.Open(r, r.Size()) }, byQEMU},
	{0, "# Disk DescriptorFile", "VMDK descriptor of a disk in other files", nil, byQEMU},
	{0, "COWD", "VMDK disk in the COWD form of ESX", nil, byQEMU},
	{0, "\xbe\xba\xfe\xca\x00\x00\x00\x00", "VMDK disk in the seSparse form of ESX", nil, byQEMU},
	{0, "vhdxfile", "vhdx", func(r *io.SectionReader) (rootfs.Blob, error) { return vhdx.Open(r, r.Size()) }, byQEMU},
	{-512, "conectix", "vhd", func(r *io.SectionReader) (rootfs.Blob, error) { return vhd.Open(r, r.Size()) }, byQEMU},
	{0, "conectix", "vhd", func(r *io.SectionReader) (rootfs.Blob, error) { return vhd.Open(r, r.Size()) }, byQEMU}, // cut off at the end
	{64, "\x7f\x10\xda\xbe", "VDI disk of VirtualBox", nil, byQEMU},
	{0, "QED\x00", "QED disk", nil, byQEMU},
	{0, "WithoutFreeSpace", "Parallels disk", nil, byQEMU},
	{0, "WithouFreSpacExt", "Parallels disk", nil, byQEMU},
	{0, "Bochs Virtual HD Image", "Bochs disk", nil, byQEMU},
	{0, "#!/bin/sh\n#V2.0 Format\nmodprobe cloop", "cloop disk", nil, byQEMU},
	{-512, "koly", "Apple disk image (UDIF, .dmg)", nil, byQEMU},
	{0, "sprs", "Apple sparse image (.sparseimage)", nil, byHdiutil},
	{0, "shdw", "Apple sparse image (ASIF)", nil, byHdiutil},
	{0, "LUKS\xba\xbe", "encrypted volume (crypto_LUKS)", nil, ""},
	{32769, "BEA01", "UDF image without a partition table", nil, ""},
}

// volumeKinds are contents of partitions that are not read. See [identify] for
// the file systems that are.
var volumeKinds = []fileKind{
	{off: 0x10040, magic: "_BHRfS_M", name: "btrfs"},
	{off: 1024, magic: "\xe2\xe1\xf5\xe0", name: "erofs"},
	{off: 0, magic: "LUKS\xba\xbe", name: "crypto_LUKS"},
	{off: 512 + 24, magic: "LVM2 001", name: "LVM2_member"},
	{off: 4086, magic: "SWAPSPACE2", name: "swap"},
	{off: 1024, magic: "\x10\x20\xf5\xf2", name: "f2fs"},
	{off: 3, magic: "NTFS    ", name: "ntfs"},
	{off: 3, magic: "EXFAT   ", name: "exfat"},
	{off: 32, magic: "NXSB", name: "apfs"},
	{off: 1024, magic: "H+\x00\x04", name: "hfsplus"},
}

// otherKinds are kinds of files without a disk in them.
var otherKinds = []fileKind{
	{off: 0, magic: "BZh", name: "file compressed with bzip2"},
	{off: 0, magic: "\x04\x22\x4d\x18", name: "file compressed with lz4"},
	{off: 0, magic: "\x5d\x00\x00", name: "file compressed with lzma"},
	{off: 0, magic: "LZIP", name: "file compressed with lzip"},
	{off: 0, magic: "\x89LZO", name: "file compressed with lzop"},
	{off: 0, magic: "\x1f\x9d", name: "file compressed with compress"},
	{off: 0, magic: "7z\xbc\xaf\x27\x1c", name: "7-Zip archive"},
	{off: 0, magic: "070701", name: "cpio archive (an initramfs?)"},
	{off: 0, magic: "\xed\xab\xee\xdb", name: "RPM package"},
	{off: 0, magic: "!<arch>\n", name: "ar archive"},
	{off: 0, magic: "MSWIM\x00\x00\x00", name: "WIM archive of Windows"},
	{off: 0, magic: "\x7fELF", name: "program (ELF)"},
	{off: 0, magic: "MZ", name: "program (PE), such as a kernel"},
	{off: 0, magic: "OSTv", name: "static delta of ostree"},
}

// match returns the first kind of a table whose magic number a file has, or nil.
func match(table []fileKind, r io.ReaderAt, size int64) *fileKind {
	for i, k := range table {
		off := k.off
		if off < 0 {
			off += size
		}
		b := make([]byte, len(k.magic))
		if off >= 0 && rootfs.ReadFull(r, b, off) == nil && string(b) == k.magic {
			return &table[i]
		}
	}
	return nil
}

// openDisk returns the disk in a file that has nothing else in it, and the name
// of its format.
func openDisk(r *io.SectionReader) (rootfs.Blob, string, error) {
	if r.Size() == 0 {
		return nil, "", disk.Unsupported("the file is empty")
	}
	kind := match(diskKinds, r, r.Size())
	if kind == nil {
		return r, "raw", nil
	}
	if kind.open == nil {
		if _, err := gpt.Read(r, r.Size()); err == nil {
			return r, "raw", nil
		}
		return nil, "", &FormatError{disk.Unsupported("%s: not supported", kind.name), kind.advice}
	}
	d, err := kind.open(r)
	if errors.Is(err, errors.ErrUnsupported) {
		err = &FormatError{err, kind.advice}
	}
	return d, kind.name, err
}

// readTable reads the partition table of a disk. If there is none, the error
// describes the file.
func readTable(d rootfs.Blob) (*gpt.Table, error) {
	table, err := gpt.Read(d, d.Size())
	if errors.Is(err, gpt.ErrNoTable) {
		head := make([]byte, 512)
		if rootfs.ReadFull(d, head, 0) == nil && hasMBR(head) && head[446+4] == 0xee {
			return nil, errors.New("gpt: no table, but the protective MBR of one")
		}
		err = fmt.Errorf("%w: %s", err, describe(d))
	}
	return table, err
}

// describe describes a file without a partition table.
func describe(d rootfs.Blob) string {
	const no = ", not a disk"
	if v := identify(d); v.Filesystem != "" {
		return "this is the file system " + v.Filesystem + no
	}
	if kind := match(otherKinds, d, d.Size()); kind != nil {
		return "this is a " + kind.name + no
	}
	head := make([]byte, min(d.Size(), 4096))
	if rootfs.ReadFull(d, head, 0) != nil {
		return "it cannot be read"
	}
	trimmed := bytes.TrimSpace(head)
	switch {
	case len(bytes.Trim(head, "\x00")) == 0:
		return "this begins with zeros, as an empty disk does"
	case isText(head) && len(trimmed) > 0 && strings.ContainsRune("{[", rune(trimmed[0])):
		return "this is text that looks like JSON" + no
	case isText(head):
		return "this is text" + no
	case hasMBR(head):
		return "this has an MBR, and only GPT is read"
	}
	return "the format is not known"
}

func hasMBR(head []byte) bool { return len(head) >= 512 && head[510] == 0x55 && head[511] == 0xaa }

// isText reports whether the beginning of a file is text.
func isText(head []byte) bool {
	for len(head) > 0 {
		r, n := utf8.DecodeRune(head)
		if r == utf8.RuneError && n == 1 {
			return len(head) < utf8.UTFMax // a character cut in half at the end
		}
		if unicode.IsControl(r) && !unicode.IsSpace(r) {
			return false
		}
		head = head[n:]
	}
	return true
}

// Opaque reports whether a volume has no file system, or one that is not read,
// so that only its bytes can be compared.
func (v Volume) Opaque() bool {
	return v.Filesystem == "" || slices.ContainsFunc(volumeKinds, func(k fileKind) bool { return k.name == v.Filesystem })
}
