package selinux

import (
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// FuzzFileContexts: a policy is taken or refused, and what is taken has an
// answer for every path and a label for every file.
func FuzzFileContexts(f *testing.F) {
	const context = "system_u:object_r:etc_t:s0"
	f.Add("/etc(/.*)?\t"+context+"\n", "/etc /usr/etc\n", "/etc/passwd")
	f.Add("/usr/(.*/)?lib(/.*)?  --  "+context+"\n/usr/lib <<none>>\n", "", "/usr/lib/x")
	f.Add("/dev/tty[0-9]{1,3}\\.x -c "+context+"\n# comment\n", "/a/b /c\n/a /\n", "/dev/tty100.x")
	f.Add("((((a+)+)+)+)+ "+context+"\n", "", "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab")
	f.Add("/(a{1,1000}){1,1000} "+context+"\n", "/ /x", "//a//")
	f.Fuzz(func(t *testing.T, contexts, subs, name string) {
		p, err := Load(tree(t, map[string]string{"file_contexts": contexts, "file_contexts.subs_dist": subs}))
		if err != nil {
			return
		}
		for _, mode := range modes {
			if got, ok := p.Lookup(name, mode); ok != (got != "") {
				t.Errorf("%q: %q, %v", name, got, ok)
			}
		}
		labelled := p.Label(&rootfs.Inode{Mode: rootfs.ModeDir | 0o755, Children: map[string]*rootfs.Inode{"etc": rootfs.Text(0o644, "")}}, "/")
		if labelled.Children["etc"] == nil {
			t.Error("a file is lost")
		}
	})
}
