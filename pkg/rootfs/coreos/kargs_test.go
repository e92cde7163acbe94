package coreos

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

func TestCheckArg(t *testing.T) {
	const shared = "with it the first boot keeps the file systems' UUIDs, which all machines then share"
	for arg, want := range map[string][]string{
		"quiet": nil, "a=b c=d": nil, "rootflags=x": nil, "ostree.x=1": nil, "x=ostree=1": nil, "ignition.firstboot.x": nil,
		"root=LABEL=root": {shared}, "a boot=x": {shared},
		"x=$y": {"GRUB replaces $NAME by its own variable of that name"},
	} {
		if warnings, err := CheckArg(arg); err != nil || cmp.Diff(want, warnings) != "" {
			t.Errorf("%s: %q, %v", arg, warnings, err)
		}
	}
	for _, arg := range []string{
		"", " ", "a\nb", "a\x00", "ostree=/x", "ostree", "a ostree=x", "ignition.platform.id=qemu", "a\tignition.firstboot",
		"ignition.firstboot=1", "$ignition_firstboot", "${ignition_firstboot}", `x="a ostree=b"`, `"ostree=/x"`,
		`"ignition.firstboot"`, `x="a ostree"`, `"ignition.platform.id"=qemu`,
	} {
		if _, err := CheckArg(arg); err == nil {
			t.Errorf("%q is accepted", arg)
		}
	}
}

// TestOwnArgs: the container does not double arguments that every image has.
func TestOwnArgs(t *testing.T) {
	const (
		install = "usr/lib/bootc/install/1.toml"
		kargs   = "usr/lib/bootc/kargs.d/1.toml"
		own     = "$ignition_firstboot ignition.platform.id=metal"
	)
	dropped := func(file, word, name string) string {
		return file + `: kernel argument "` + word + `" was dropped: ` + name + ` is set by the image itself`
	}
	for _, tc := range []struct {
		file, text, want string
		warnings         []string
	}{
		{install, `install.kargs = ["rw", "a", "ostree=/x b", "$ignition_firstboot"]`, "rw a b " + own, []string{
			dropped(install, "ostree=/x", "ostree="), dropped(install, "$ignition_firstboot", "$ignition_firstboot"),
		}},
		{install, `install.kargs = ['x="a ostree=b" c', "d"]`, "rw d " + own, []string{dropped(install, `x=\"a ostree=b\" c`, "ostree=")}},
		{install, `install.karg-deletes = ["ostree", "rw"]`, own, []string{install + ": kernel argument ostree= is set by the image itself and is not deleted"}},
		{kargs, `kargs = ["ignition.platform.id=qemu", "a"]`, "rw a " + own, []string{dropped(kargs, "ignition.platform.id=qemu", "ignition.platform.id=")}},
		{kargs, `kargs = ["a", "rw"]`, "a rw " + own, nil},
		{kargs, `kargs = ["rw a"]`, "rw a " + own, nil},
		{kargs, `kargs = ["root=LABEL=x"]`, "rw root=LABEL=x " + own, []string{
			kargs + `: kernel argument "root=LABEL=x": with it the first boot keeps the file systems' UUIDs, which all machines then share`,
		}},
		{imageFile, `{"extra-kargs": ["ignition.firstboot", "console=a", "console=a"]}`, "rw $ignition_firstboot console=a console=a ignition.platform.id=metal", []string{
			dropped(imageFile, "ignition.firstboot", "ignition.firstboot"),
		}},
		{platformsFile, `{"metal": {"kernel_arguments": ["x", "ignition.platform.id=y"]}}`, "rw " + own + " x", []string{
			dropped(platformsFile+": metal", "ignition.platform.id=y", "ignition.platform.id="),
		}},
	} {
		c, err := ReadConfig(treetest.Texts(t, map[string]string{tc.file: tc.text}), "amd64")
		if err != nil {
			t.Errorf("%s: %v", tc.text, err)
			continue
		}
		if diff := cmp.Diff(tc.warnings, c.Warnings); diff != "" {
			t.Errorf("%s: %s", tc.text, diff)
		}
		args := c.Kargs("metal", nil)
		if got := strings.ReplaceAll(args.String(), " mitigations=auto,nosmt", ""); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.text, got, tc.want)
		}
	}
	for file, text := range map[string]string{imageFile: `{"extra-kargs": ["a\nb"]}`, platformsFile: `{"x": {"kernel_arguments": ["a\nb"]}}`, kargs: `kargs = ["a\u0000b"]`} {
		if _, err := ReadConfig(treetest.Texts(t, map[string]string{file: text}), "amd64"); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", file, err)
		}
	}
}
