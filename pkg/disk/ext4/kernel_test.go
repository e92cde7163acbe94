package ext4

import (
	"os"
	"os/exec"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// mount mounts an image file and returns where. The test must be root's.
func mount(t *testing.T, path, options string) (dir string, unmount func()) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("not root: the kernel mounts nothing for us")
	}
	dir = t.TempDir()
	if out, err := exec.Command("mount", "-t", "ext4", "-o", "loop,"+options, path, dir).CombinedOutput(); err != nil {
		missing(t, "mount: "+err.Error()+"\n"+string(out))
	}
	done := false
	unmount = func() {
		if !done {
			done = true
			runTool(t, "umount", dir)
		}
	}
	t.Cleanup(unmount)
	return dir, unmount
}

func TestKernelReads(t *testing.T) {
	blockSizes(t, func(t *testing.T, block int) {
		for _, c := range treetest.Cases(block) {
			t.Run(c.Name, func(t *testing.T) {
				o := bootOptions()
				o.BlockSize = block
				dir, _ := mount(t, writeSparse(t, mustFormat(t, c.Root, o)), "ro")
				if err := treetest.Compare(dir, c.Root); err != nil {
					t.Fatal(err)
				}
			})
		}
	})
}
