package deploy

import (
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/selinux"
)

// labels are the contexts of files outside of the commit. They are those that
// coreos-assembler and bootc give by hand, taken from the policy where it
// knows about ostree, and from similar paths elsewhere.
type labels struct {
	policy *selinux.Policy
	sets   map[string]map[string]string

	root   string // the physical root
	boot   string // the mount point
	usr    string
	ostree string // ostree's files outside of repository and deployments
	repo   string // the repository, but for the files in it
	origin string
}

func newLabels(policy *selinux.Policy) labels {
	l := labels{policy: policy, sets: map[string]map[string]string{}}
	if policy == nil {
		return l
	}
	l.root = l.of("/", rootfs.ModeDir)
	l.boot = l.of("/boot", rootfs.ModeDir)
	l.usr = l.of("/usr", rootfs.ModeDir)
	l.ostree = l.known("/ostree", rootfs.ModeDir, l.usr)
	l.repo = l.known("/ostree/repo/config", rootfs.ModeFile, l.ostree)
	// ostree asks for a file that it deems as secret as an origin.
	l.origin = l.known("/etc/ostree/remotes.d/dummy.conf", rootfs.ModeFile, l.ostree)
	return l
}

// of returns the context of a path, which is its directory's where the policy
// has none.
func (l labels) of(name string, kind uint32) string {
	n := l.policy.Label(&rootfs.Inode{Mode: kind}, name)
	return strings.TrimSuffix(n.Xattrs[selinux.Xattr], "\x00")
}

// known returns the context of a path, unless it is only the one that the
// policy has for anything.
func (l labels) known(name string, kind uint32, otherwise string) string {
	if context := l.of(name, kind); !strings.Contains(context, ":default_t") && context != "" {
		return context
	}
	return otherwise
}

// xattrs returns the extended attributes of a file that has a context and no
// others.
func (l labels) xattrs(context string) map[string]string {
	if context == "" {
		return nil
	}
	if l.sets[context] == nil {
		l.sets[context] = map[string]string{selinux.Xattr: context + "\x00"}
	}
	return l.sets[context]
}
