// Package filetype names the types of image files: a format, such as qcow2,
// and the compression of the whole file, if there is one.
//
// One table holds all that names a format or a compression:
//
//	name        suffix of file names    media type                  magic number
//	qcow2       .qcow2                  application/vnd.diskimage.  QFI\xfb
//	                                        qcow2
//	raw, xz     .raw.xz                 ...raw.xz                   \xfd7zXZ\x00
//	tar.gz      .tar.gz                 ...gce.tgz                  \x1f\x8b
//
// [ParseName], [ParseMediaType] and [Parse] are the inverse of [Type.Suffix],
// [Type.MediaType] and [Type.String]. The parsers accept formats that are
// not in the table: other programs publish more formats than this one writes.
//
// IANA has registered no media type for disk images. The prefix is the one of
// Konflux, Fedora CoreOS and flightctl.
//
// The package imports no other of this module, so that each of them can use it.
package filetype

import (
	"slices"
	"strings"
)

// A Type is the type of a file. It is comparable. The zero value is an unknown
// format without compression.
type Type struct {
	Format      Format
	Compression Compression // of the whole file
}

// A Format is the format of a file before compression.
type Format string

// The formats of image files.
const (
	Raw        Format = "raw"
	QCOW2      Format = "qcow2"
	VMDK       Format = "vmdk"
	VHD        Format = "vhd"
	VHDX       Format = "vhdx"
	TarGz      Format = "tar.gz"     // Google's archive of a raw disk; gzip is part of the format
	OVA        Format = "ova"        // archive of a virtual machine: OVF, VMDK
	OCIArchive Format = "ociarchive" // archive of a container image with a disk in it

	ISO       Format = "iso" // live medium
	Kernel    Format = "kernel"
	Initramfs Format = "initramfs"
	RootFS    Format = "rootfs"
)

// MediaTypePrefix is the prefix of the media types of image files.
const MediaTypePrefix = "application/vnd.diskimage."

// formats is the table of all formats.
var formats = []struct {
	format Format
	suffix string   // of file names
	media  string   // media type, after the prefix
	magic  string   // first bytes of a file, if they are fixed
	names  []string // other names
}{
	{Raw, ".raw", "raw", "", nil},
	{QCOW2, ".qcow2", "qcow2", "QFI\xfb", nil},
	{VMDK, ".vmdk", "vmdk", "KDMV", nil},
	{VHD, ".vhd", "vhd", "", nil}, // the magic number of a fixed VHD is in its last sector
	{VHDX, ".vhdx", "vhdx", "vhdxfile", nil},
	{TarGz, ".tar.gz", "gce.tgz", gzipMagic, []string{"tgz", "tar.gzip"}},
	{OVA, ".ova", "ova", "", nil},
	{OCIArchive, ".ociarchive", "ociarchive", "", nil},
	{ISO, ".iso", "iso", "", nil},
	{Kernel, "", "kernel", "", nil},
	{Initramfs, ".img", "initramfs", "", nil},
	{RootFS, ".img", "rootfs", "", nil},
}

// Suffix returns the suffix of file names: ".qcow2", ".tar.gz". It is empty for
// [Kernel]. The suffix of a format that is not in the table is its name.
func (f Format) Suffix() string {
	for _, row := range formats {
		if row.format == f {
			return row.suffix
		}
	}
	if f == "" {
		return ""
	}
	return "." + string(f)
}

// magic returns the first bytes of a file, which are empty where they are not fixed.
func (f Format) magic() string {
	for _, row := range formats {
		if row.format == f {
			return row.magic
		}
	}
	return ""
}

// Suffix returns the suffix of file names: ".qcow2.xz", ".ova".
func (t Type) Suffix() string { return t.Format.Suffix() + t.Compression.Suffix() }

// String returns the name of the type: "qcow2", "raw.gzip", "tar.gz".
func (t Type) String() string {
	if t.Compression == None {
		return string(t.Format)
	}
	return string(t.Format) + "." + string(t.Compression)
}

// MediaType returns the media type: "application/vnd.diskimage.raw.gzip".
func (t Type) MediaType() string {
	for _, row := range formats {
		if row.format == t.Format {
			t.Format = Format(row.media)
		}
	}
	return MediaTypePrefix + t.String()
}

// Magic returns the first bytes of every file of the type. They are empty if
// the type has no fixed first bytes, as a raw disk.
func (t Type) Magic() string {
	if t.Compression != None {
		return t.Compression.Magic()
	}
	return t.Format.magic()
}

// Is reports whether a file of type t is a file of type want. A want without a
// compression is any compression: a raw.gzip is a raw.
func (t Type) Is(want Type) bool {
	return t == want || want.Compression == None && t.Format == want.Format
}

// Parse returns the type of a name in an option, stream metadata or a media type:
// "qcow2", "raw.gz", "raw.gzip", "tar.gz", "gce.tgz".
func Parse(name string) Type {
	for _, row := range formats {
		if name == string(row.format) || name == row.media || slices.Contains(row.names, name) {
			return Type{Format: row.format}
		}
	}
	if dot := strings.LastIndexByte(name, '.'); dot >= 0 {
		if c := compressionOf(name[dot+1:]); c != None {
			return Type{Format(name[:dot]), c}
		}
	}
	return Type{Format: Format(name)}
}

// ParseMediaType returns the type that a media type names, and whether it is
// the media type of an image file.
func ParseMediaType(mediaType string) (Type, bool) {
	name, ok := strings.CutPrefix(mediaType, MediaTypePrefix)
	if !ok || name == "" {
		return Type{}, false
	}
	return Parse(name), true
}

// ParseName returns the type that the suffixes of a file name tell. The format
// is empty if there is no suffix, or only one of a compression.
func ParseName(name string) Type {
	words := strings.Split(name, ".")[1:]
	n := len(words)
	switch {
	case n == 0:
		return Type{}
	case compressionOf(words[n-1]) == None:
		return Parse(words[n-1])
	case n == 1:
		return Type{Compression: compressionOf(words[0])}
	}
	return Parse(words[n-2] + "." + words[n-1])
}
