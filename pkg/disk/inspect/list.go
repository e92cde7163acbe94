package inspect

import (
	"time"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// A File is the metadata of an inode under one of its names, as ls(1) shows it.
type File struct {
	Name   string            `json:"name"`
	Mode   string            `json:"mode"` // type and permissions: -rw-r--r--
	UID    uint32            `json:"uid"`
	GID    uint32            `json:"gid"`
	Size   int64             `json:"size"` // bytes
	MTime  time.Time         `json:"mtime"`
	Target string            `json:"target,omitempty"` // of a symbolic link
	Xattrs map[string]string `json:"xattrs,omitempty"`
}

// NewFile returns the metadata of an inode.
func NewFile(name string, in *rootfs.Inode) File {
	return File{name, ModeString(in.Mode), in.UID, in.GID, in.Size(), time.Unix(in.MTime.Sec, int64(in.MTime.Nsec)).UTC(), in.Target, in.Xattrs}
}

// List returns the files in a directory in byte order, or any other inode
// itself under the given name.
func List(name string, in *rootfs.Inode) Listing {
	if !in.IsDir() {
		return Listing{NewFile(name, in)}
	}
	l := Listing{}
	for _, name := range in.Names() {
		l = append(l, NewFile(name, in.Children[name]))
	}
	return l
}

// typeLetters are the letters that ls(1) has for file types.
var typeLetters = map[uint32]byte{
	rootfs.ModeFile: '-', rootfs.ModeDir: 'd', rootfs.ModeLink: 'l', rootfs.ModeChar: 'c',
	rootfs.ModeBlock: 'b', rootfs.ModeFIFO: 'p', rootfs.ModeSocket: 's',
}

// ModeString returns a st_mode in the form of ls(1).
func ModeString(mode uint32) string {
	b := []byte("?rwxrwxrwx")
	if letter, ok := typeLetters[mode&rootfs.ModeType]; ok {
		b[0] = letter
	}
	for i := range 9 {
		if mode&(1<<(8-i)) == 0 {
			b[1+i] = '-'
		}
	}
	for i, letter := range []byte("sst") { // setuid, setgid, sticky
		at := 3 + 3*i
		if mode&(0o4000>>i) == 0 {
			continue
		}
		if b[at] == '-' {
			letter -= 'a' - 'A'
		}
		b[at] = letter
	}
	return string(b)
}
