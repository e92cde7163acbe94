package filetype

import (
	"fmt"
	"strings"
)

// A Compression is a way to compress a whole file. The zero value means that the
// file is not compressed.
type Compression string

// The compressions of files.
const (
	None Compression = ""
	Gzip Compression = "gzip"
	Xz   Compression = "xz"
	Zstd Compression = "zstd"
	Zip  Compression = "zip"
)

// none is the name of [None] in options and results.
const none = "none"

const gzipMagic = "\x1f\x8b"

// compressions is the table of all compressions.
var compressions = []struct {
	compression Compression
	suffix      string // of file names
	magic       string // first bytes of a file
	command     string // program that decompresses a file and keeps it
}{
	{Gzip, ".gz", gzipMagic, "gzip --decompress --keep"},
	{Xz, ".xz", "\xfd7zXZ\x00", "xz --decompress --keep"},
	{Zstd, ".zst", "\x28\xb5\x2f\xfd", "zstd --decompress --keep"},
	{Zip, ".zip", "PK\x03\x04", "unzip"},
}

// Compressions returns all compressions but [None].
func Compressions() (all []Compression) {
	for _, row := range compressions {
		all = append(all, row.compression)
	}
	return all
}

// ParseCompression returns the compression of a name: "none", "gzip", "xz",
// "zstd" or "zip".
func ParseCompression(name string) (Compression, error) {
	known := []string{none}
	for _, row := range compressions {
		known = append(known, string(row.compression))
		if name == string(row.compression) {
			return row.compression, nil
		}
	}
	if name == none {
		return None, nil
	}
	return None, fmt.Errorf("compression %q is unknown, must be one of: %s", name, strings.Join(known, ", "))
}

// String returns the name of the compression, which is "none" for [None].
func (c Compression) String() string {
	if c == None {
		return none
	}
	return string(c)
}

// Suffix returns the suffix of the names of compressed files: ".gz", ".xz",
// ".zst", ".zip", or nothing for [None].
func (c Compression) Suffix() string {
	for _, row := range compressions {
		if row.compression == c {
			return row.suffix
		}
	}
	return ""
}

// Magic returns the first bytes of a compressed file. They are empty for [None].
func (c Compression) Magic() string {
	for _, row := range compressions {
		if row.compression == c {
			return row.magic
		}
	}
	return ""
}

// Command returns a command that decompresses a file and keeps it; the name of
// the file is to be appended. It is empty for [None].
func (c Compression) Command() string {
	for _, row := range compressions {
		if row.compression == c {
			return row.command
		}
	}
	return ""
}

// MagicSize is the number of bytes that [Sniff] needs.
const MagicSize = 6

// Sniff returns the compression of a file that begins with head.
func Sniff(head []byte) Compression {
	for _, row := range compressions {
		if strings.HasPrefix(string(head), row.magic) {
			return row.compression
		}
	}
	return None
}

// compressionOf returns the compression that the last word of a name tells: "gz",
// or the compression's own name, "gzip".
func compressionOf(word string) Compression {
	for _, row := range compressions {
		if word == row.suffix[1:] || word == string(row.compression) {
			return row.compression
		}
	}
	return None
}

// CutCompression cuts the suffix of the outermost compression off a file name:
// "disk.raw.xz" is "disk.raw" and [Xz], "disk.tar.gz" and "disk.tgz" are
// "disk.tar" and [Gzip]. A name without such a suffix is returned as it is.
func CutCompression(name string) (plain string, c Compression) {
	dot := strings.LastIndexByte(name, '.')
	switch {
	case dot <= 0:
		return name, None
	case name[dot:] == ".tgz":
		return name[:dot] + ".tar", Gzip
	}
	if c = compressionOf(name[dot+1:]); c == None {
		return name, None
	}
	return name[:dot], c
}
