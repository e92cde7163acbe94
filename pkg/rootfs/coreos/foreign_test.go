package coreos

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// TestForeignKeys has keys of which an image makes nothing.
func TestForeignKeys(t *testing.T) {
	const (
		install = "usr/lib/bootc/install/1.toml"
		kargs   = "usr/lib/bootc/kargs.d/1.toml"
		iso     = "usr/lib/image-builder/bootc/iso.yaml"
	)
	unknown := func(key string) string { return "unknown key " + key + ", which has no effect on an image" }
	byLabel := func(key, what string) string {
		return "key " + key + " has no effect on an image: CoreOS finds its " + what + " by label"
	}
	for _, tc := range []struct {
		file, text string
		want       []string // without the file
	}{
		{install, "[install]\nenforce-container-sigpolicy = true\nblock = [\"direct\"]\n[install.bootupd]\nskip-boot-uuid = 7\n", nil},
		{install, "[install]\nroot-mount-spec = \"\"\nboot-mount-spec = \"\"\nbootloader = \"grub\"\ndiscoverable-partitions = false\n", nil},
		{install, "[install]\nroot-mount-spec = \"LABEL=x\"\nboot-mount-spec = 1\ndiscoverable-partitions = true\n", []string{
			byLabel("install.boot-mount-spec", "boot file system"), byLabel("install.discoverable-partitions", "file systems"), byLabel("install.root-mount-spec", "root file system"),
		}},
		{install, "[install]\nblock = [\"tpm2-luks\"]\n", []string{"key install.block has no effect on an image: a disk is encrypted at its first boot, if the Ignition config says so"}},
		{install, "[install]\nbootloader = \"grub-cc\"\n", []string{"key install.bootloader has no effect on an image: the boot loader is GRUB"}},
		{install, "x = 1\n[install]\n'a.b' = 1\nbootupd.skip-boot-uuid.x = 1\n[install.ostree.new]\ny = 1\n[install.filesystem.root]\nsize = 1\n[[install.list]]\na = 1\n", []string{
			unknown(`install."a.b"`), unknown("install.filesystem.root.size"), unknown("install.list"), unknown("install.ostree.new"), unknown("x"),
		}},
		{install, "[install]\nmatch-architectures = [\"s390x\"]\nnew = 1\n", nil}, // for other machines
		{kargs, "kargs = []\nmatch-architectures = [\"x86_64\"]\nreason = \"x\"\n", []string{unknown("reason")}},
		{kargs, "Kargs = []\nmatch_architectures = [\"x86_64\"]\n", []string{"unknown key Kargs, is kargs meant?", "unknown key match_architectures, is match-architectures meant?"}},
		{kargs, "kargs = []\nmatch-architectures = [\"amd64\", \"s390x\"]\n", []string{
			`match-architectures: bootc has no architecture amd64, want "aarch64", "loongarch64", "powerpc64", "riscv64", "s390x" or "x86_64"`,
		}},
		{install, "[install.Ostree]\nx = 1\n[install.filesystem.root]\nType = \"xfs\"\n", []string{"unknown key install.Ostree, is ostree meant?", "unknown key install.filesystem.root.Type, is type meant?"}},
		{imageFile, `{"compressor": 1, "live-rootfs-fstype": {}, "ignition-network-kcmdline": [], "rootfs-args": "", "bootfs": "ext4"}`, nil},
		{imageFile, `{"ignition-network-kcmdline": ["ip=auto"], "rootfs-args": "-m x", "new": null}`, []string{
			"key ignition-network-kcmdline has no effect on an image: the first boot has no kernel arguments of its own",
			"key rootfs-args has no effect on an image: no mkfs runs", unknown("new"),
		}},
		{platformsFile, `{"qemu": {"new": 1}, "of.my-own": {"grub_commands": [], "new": 1}}`, []string{unknown(`"of.my-own".new`), unknown("qemu.new")}},
		{platformsFile, `{"$schema": "s", "metal": null, "version": 1, "x": [{}], "qemu": {}}`, []string{
			`unknown key "$schema", which is no platform and has no effect on an image`, "unknown key version, which is no platform and has no effect on an image", "unknown key x, which is no platform and has no effect on an image",
		}},
		{platformsFile, `{"_comment": "c", "new64": {"qemu": {}}, "aarch64": 1, "x86_64": {"qemu": {"new": 1}}}`, []string{
			"unknown key _comment beside those of architectures, which has no effect on an image", "unknown key new64 beside those of architectures, which has no effect on an image", unknown("qemu.new"),
		}},
		{iso, "label: x\nkernel_args: 1\ngrub2: {default: 1, timeout: 1, entries: [{name: a}, {linux: b, initrd: c}]}\n", nil},
		{iso, "grub2: {entries: [{chain: a}, {chain: b}]}\n1: x\n", []string{unknown("1"), unknown("grub2.entries.chain")}},
		{iso, "\t", []string{"yaml: found character that cannot start any token; only live media need the file"}},
	} {
		c, err := ReadConfig(treetest.Texts(t, map[string]string{tc.file: tc.text}), "amd64")
		if err != nil {
			t.Errorf("%s: %v", tc.text, err)
			continue
		}
		var want []string
		for _, w := range tc.want {
			want = append(want, tc.file+": "+w)
		}
		if diff := cmp.Diff(want, c.Warnings); diff != "" {
			t.Errorf("%s: %s", tc.text, diff)
		}
	}
}

// TestManyKeys: the number and the length of warnings are bounded.
func TestManyKeys(t *testing.T) {
	var b strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&b, "k%04d = 1\n", i)
	}
	files := map[string]string{
		"usr/lib/bootc/install/1.toml": b.String(),
		"usr/lib/bootc/install/2.toml": strings.Repeat("a", 50000) + " = 1\n",
	}
	c, err := ReadConfig(treetest.Texts(t, files), "amd64")
	if err != nil || len(c.Warnings) != maxKeys+2 || !strings.Contains(c.Warnings[maxKeys], "1.toml: 980 more keys") {
		t.Fatalf("%q, %v", c.Warnings, err)
	}
	if w := c.Warnings[maxKeys+1]; len(w) > 300 {
		t.Errorf("%d bytes: %.300s", len(w), w)
	}
	files = map[string]string{imageFile: `{"extra-kargs": ["` + strings.Repeat("ostree=x ", 1000) + `"]}`}
	if c, err = ReadConfig(treetest.Texts(t, files), "amd64"); err != nil || len(c.Warnings) != maxWarnings || !strings.HasPrefix(c.Warnings[maxWarnings-1], "there are more") {
		t.Errorf("%d warnings, %v", len(c.Warnings), err)
	}
}

// TestForeignTables: a key that is not used has a reason.
func TestForeignTables(t *testing.T) {
	for name, keys := range map[string]foreignKeys{"install": installKeys, "kargs": kargsKeys, "image": imageKeys, "platforms": platformKeys, "iso": isoKeys} {
		for key, k := range keys {
			if (k.use == used) == (k.reason != "") {
				t.Errorf("%s: %s: %+v", name, key, k)
			}
			if i := strings.LastIndex(key, "."); i > 0 && keys[key[:i]].use != used {
				t.Errorf("%s: %s is below a key that is not used", name, key)
			}
		}
	}
}

// TestMatchArchitectures: bootc has Rust's names of architectures. ppc64le has two.
func TestMatchArchitectures(t *testing.T) {
	for _, name := range []string{"powerpc64", "ppc64le"} {
		text := "match-architectures = [\"" + name + "\"]\n"
		files := map[string]string{"usr/lib/bootc/kargs.d/1.toml": "kargs = [\"k\"]\n" + text, "usr/lib/bootc/install/1.toml": "[install]\nkargs = [\"i\"]\n" + text}
		for arch, want := range map[string]string{"ppc64le": "rw i k ", "x86_64": "rw $ignition_firstboot"} {
			c, err := ReadConfig(treetest.Texts(t, files), arch)
			if err != nil || !strings.HasPrefix(c.Kargs("metal", nil).String(), want) {
				t.Errorf("%s on %s: %v, %v", name, arch, c, err)
			} else if said := len(c.Warnings); (said == 0) != (name == "powerpc64") {
				t.Errorf("%s on %s: %q", name, arch, c.Warnings)
			}
		}
	}
}

// TestFedora: such a container makes images of all architectures, and nobody is
// warned of anything. It has platforms.json in either form.
func TestFedora(t *testing.T) {
	const other = `{"qemu": {"kernel_arguments": ["console=other"]}}`
	for _, arch := range []string{"x86_64", "aarch64", "riscv64", "ppc64le"} {
		files := treetest.Fedora(arch)
		flat := files[platformsFile]
		for form, text := range map[string]string{"flat": flat, "nested": fmt.Sprintf(`{"s390x": %s, %q: %s}`, other, arch, flat)} {
			files[platformsFile] = text
			c, err := ReadConfig(treetest.Texts(t, files), arch)
			if err != nil || len(c.Warnings) > 0 {
				t.Errorf("%s, %s: %v, %q", arch, form, err, c.Warnings)
				continue
			}
			args := c.Kargs("qemu", nil)
			if want := "rw $ignition_firstboot mitigations=auto,nosmt ignition.platform.id=qemu console=" + arch; args.String() != want {
				t.Errorf("%s, %s: %s", arch, form, args)
			}
			if string(c.PlatformsJSON) != flat || c.RootFS != "xfs" || c.Size != 12<<30 || len(c.Disk.Partitions) != 4 {
				t.Errorf("%s, %s: %s, %+v", arch, form, c.PlatformsJSON, c)
			}
		}
	}
}

func TestPlatformsOfOthers(t *testing.T) {
	for text, want := range map[string]string{`{"s390x": {"qemu": {"new": 1}}}`: "{}\n", `{"x86_64": null}`: "{}\n", "null": "{}\n", "{}": "{}"} {
		c, err := ReadConfig(treetest.Texts(t, map[string]string{platformsFile: text}), "x86_64")
		if err != nil || string(c.PlatformsJSON) != want || len(c.Warnings) > 0 {
			t.Errorf("%s: %q, %v", text, c.PlatformsJSON, err)
		}
		if args := c.Kargs("qemu", nil); slices.Contains(args, "console=tty0") {
			t.Errorf("%s: %s", text, args)
		}
	}
}
