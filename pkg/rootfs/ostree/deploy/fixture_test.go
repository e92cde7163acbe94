package deploy

import (
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/coreos"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/oci"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree/container"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/selinux"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// fixture returns the reference of the tiny operating system.
func fixture(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("../../../../ci/fixture/ref", "--cached", "tiny-base").Output()
	if err != nil {
		treetest.Missing(t, "OHP_FIXTURE", "fixture tiny-base is not built (make fixture): "+err.Error())
	}
	return strings.TrimSpace(string(out))
}

// TestFixture deploys a whole operating system and has the real ostree check
// it.
func TestFixture(t *testing.T) {
	dir := sysroot(t)
	pulled, err := oci.Pull(t.Context(), fixture(t), oci.Options{Cache: t.TempDir()})
	try(t, err)
	defer pulled.Close()
	img := &container.Image{Digest: pulled.Digest.String(), Manifest: pulled.Raw, Config: pulled.Config}
	for _, l := range pulled.Layers {
		img.Layers = append(img.Layers, container.Layer{Digest: l.Digest.String(), DiffID: l.DiffID.String(), Index: l.Index, Blob: l.Blob})
	}
	tree, err := container.Import(img, container.Options{Reference: "docker://localhost/ohp-fixture:fixture"})
	try(t, err)
	try(t, coreos.Preflight(tree.Root, false))
	choices, err := coreos.ReadConfig(tree.Root, runtime.GOARCH)
	try(t, err)
	args := choices.Kargs("qemu", []string{"mine"})
	if !strings.HasPrefix(args.String(), "rw ") || !strings.HasSuffix(args.String(), " mine") {
		t.Errorf("arguments %s", args)
	}
	d, err := New(tree.Repo, Options{Commit: tree.Deployed, Stateroot: choices.Stateroot, Origin: "ostree-unverified-registry:localhost/ohp-fixture:fixture", BLSAppend: choices.BLSAppend})
	try(t, err)
	d.Root.Children["boot"] = d.Policy.Label(boot(t, d, args), "/boot")
	for name, n := range d.Root.Walk() {
		if n.Xattrs[selinux.Xattr] == "" {
			t.Errorf("%s has no context", name)
		}
	}
	write(t, d.Root, dir, map[*rootfs.Inode]string{})
	judge(t, dir, d)
}
