package container

import (
	"bufio"
	"bytes"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/layer"
)

// lint warns of files that are imported as their author saw them, and still
// surprise on a host. Of each kind it names the first of a layer.
func lint(number int, l *layerTree, merged *rootfs.Inode, warns *warnings) {
	users, groups := ids(merged, "passwd"), ids(merged, "group")
	said := map[string]bool{}
	warn := func(kind, name, format string, args ...any) {
		if !said[kind] {
			said[kind] = true
			warns.add(number, name, format, args...)
		}
	}
	for name, n := range l.root.Walk() {
		if strings.HasPrefix(path.Base(name), whiteout) || strings.HasPrefix(name, layer.RepoDir) {
			continue
		}
		switch {
		case strings.HasPrefix(name, "var/") && !n.IsDir():
			warn("var", name, "what is in /var is copied at the first boot, and never updated")
		case name == "usr/etc/machine-id" && n.Size() > 0 && !uninitialized(n):
			warn("id", name, "every machine will have this id; leave it empty")
		case n.IsLink() && strings.HasPrefix(name, "usr/etc/"):
			if end := deadEnd(name, n.Target, merged); end != "" {
				warn(end, name, "a symbolic link to %s, and the system has /etc in usr/etc: it will be a link to %s", quote(n.Target), end)
			}
		case (name == "usr/lib/ostree/prepare-root.conf" || strings.HasPrefix(name, "usr/lib/dracut/") && n.IsFile()) && !hasInitramfs(l.root):
			warn("initramfs", name, "has no effect until the initramfs is made again, which this layer does not do")
		}
		if n.IsDir() {
			continue // many have the owner of a file that is in them
		}
		if n.UID != 0 && users != nil && !users[n.UID] {
			warn("user", name, "belongs to user %d, whom /etc/passwd does not know", n.UID)
		}
		if n.GID != 0 && groups != nil && !groups[n.GID] {
			warn("group", name, "belongs to group %d, which /etc/group does not know", n.GID)
		}
	}
}

// deadEnd returns "itself" or "nothing" for a link of /etc into /usr/etc that leads
// there, and "" for other links. In the container these are two directories.
func deadEnd(name, target string, merged *rootfs.Inode) string {
	if !path.IsAbs(target) {
		target = path.Join("/etc", path.Dir(strings.TrimPrefix(name, "usr/etc/")), target)
	}
	target = strings.TrimPrefix(path.Clean(target), "/")
	switch {
	case !strings.HasPrefix(target, "usr/etc/"):
		return ""
	case target == name:
		return "itself"
	case merged.Resolve(target) == nil:
		return "nothing"
	}
	return ""
}

// setIDs lists the files of a layer that run as their owner or group: that is no fault, but deserves a look.
func setIDs(number int, l *layerTree) string {
	const (
		setUID = 0o4000
		setGID = 0o2000
		most   = 10 // names in a line
	)
	var names []string
	for name, n := range l.root.Walk() {
		if n.IsFile() && n.Mode&(setUID|setGID) != 0 && !strings.HasPrefix(path.Base(name), whiteout) && !strings.HasPrefix(name, layer.RepoDir) {
			names = append(names, fmt.Sprintf("%s (%04o %d:%d)", quote(name), n.Mode&0o7777, n.UID, n.GID))
		}
	}
	if len(names) == 0 {
		return ""
	}
	list := fmt.Sprintf("layer %d: setuid or setgid files: ", number) + strings.Join(names[:min(len(names), most)], ", ")
	if more := len(names) - most; more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	return list
}

// isSystem reports whether the first layer of a plain container is all of an
// operating system. Where tools have spread one over many layers it is not, and
// those that follow are no change of it, until one replaces a file.
func isSystem(tree *rootfs.Inode) bool {
	return hasInitramfs(tree) && tree.Lookup("usr/lib/os-release") != nil
}

func hasInitramfs(tree *rootfs.Inode) bool {
	modules := tree.Lookup("usr/lib/modules")
	if modules == nil {
		return false
	}
	for _, kernel := range modules.Children {
		if kernel.Lookup("initramfs.img") != nil {
			return true
		}
	}
	return false
}

func uninitialized(n *rootfs.Inode) bool {
	text, err := rootfs.ReadAll(n.Content, 64)
	return err == nil && strings.TrimSpace(string(text)) == "uninitialized"
}

// ids returns the numbers that passwd(5) or group(5) know, nil without one.
func ids(tree *rootfs.Inode, name string) map[uint32]bool {
	var known map[uint32]bool
	for _, dir := range []string{"usr/etc", "usr/lib"} {
		text, err := tree.ReadFile(path.Join(dir, name), 1<<20)
		if err != nil {
			continue
		}
		for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
			fields := strings.Split(lines.Text(), ":")
			if len(fields) < 3 {
				continue
			}
			if id, err := strconv.ParseUint(fields[2], 10, 32); err == nil {
				if known == nil {
					known = map[uint32]bool{}
				}
				known[uint32(id)] = true
			}
		}
	}
	return known
}
