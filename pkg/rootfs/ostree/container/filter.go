package container

import (
	"errors"
	"io/fs"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/coreos"
)

// A filter decides which entries of a derived layer get into a system, and where.
type filter struct {
	others bool // keep files in directories that are not part of every system
}

// runtimeDirs are filled by the kernel and systemd. They are in a system, a
// container's files in them are not.
var runtimeDirs = map[string]bool{"run": true, "tmp": true, "proc": true, "sys": true, "dev": true}

// place returns the name that an entry has in the system. It is not ok for
// an entry that is dropped; then it returns the dropped directory.
func (f filter) place(name string) (placed string, ok bool) {
	top, rest, _ := strings.Cut(name, "/")
	switch {
	case name == "." || top == "usr" || top == "var":
		return name, true
	case top == "etc":
		return etc(name), true
	case runtimeDirs[top]:
		return top, rest == ""
	}
	if !f.others {
		return top, false
	}
	return name, true
}

// etc returns the name of an entry in the system: files of /etc
// belong to usr/etc, of which every deployment gets its own copy.
func etc(name string) string {
	if name == "etc" || strings.HasPrefix(name, "etc/") {
		return "usr/" + name
	}
	return name
}

// maxPrepareRoot bounds prepare-root.conf, which has a few lines.
const maxPrepareRoot = 1 << 20

// writableRoot reports whether the root of a system is an overlay, so that
// layers may add to any part of it: only then are the mount points of others
// no matter of the base.
func writableRoot(root *rootfs.Inode) (bool, error) {
	for _, name := range []string{"etc/ostree/prepare-root.conf", "usr/lib/ostree/prepare-root.conf"} {
		text, err := root.ReadFile(name, maxPrepareRoot)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, err
		}
		switch coreos.Setting(string(text), "root", "transient") {
		case "true", "1":
			return true, nil
		}
		switch coreos.Setting(string(text), "composefs", "enabled") {
		case "yes", "true", "1", "maybe", "signed", "verity":
			return true, nil
		}
		return false, nil
	}
	return false, nil
}
