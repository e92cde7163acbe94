package grub

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// several are the files for EFI of a tree with three boot loaders.
var several = map[string]string{
	"grub2/1:2.12-60/EFI/fedora/grubx64.efi":              "grub",
	"grub-cc/1:2.12-60/EFI/fedora/cc/grubx64-cc.efi":      "grub-cc",
	"systemd-boot/258-1/EFI/BOOT/BOOTX64.EFI":             "systemd",
	"systemd-boot/258-1/EFI/systemd/systemd-bootx64.efi":  "systemd",
	"shim/16.1-5/EFI/BOOT/BOOTX64.EFI":                    "shim",
	"shim/16.1-5/EFI/fedora/shimx64.efi":                  "shim",
	"unknown/1/EFI/unknown/unknown.efi":                   "unknown",
	"bcm2711-firmware/1/start4.elf":                       "not for EFI",
	"systemd-boot/257-1/EFI/systemd/systemd-bootx64.efi":  "two versions, which do not matter",
	"systemd-boot/257-1/EFI/systemd/systemd-bootaa64.efi": "",
}

// components returns a tree with files below usr/lib/efi, and with metadata
// about the default.
func components(t *testing.T, names []string, metadata string) *rootfs.Inode {
	t.Helper()
	files := map[string]string{
		static + "/grub-static-efi.cfg": "efi\n",
		updates + "/EFI.json": `{"timestamp":"2026-07-07T00:00:00Z","version":"grub-cc-1:2.12-60,grub2-1:2.12-60,shim-16.1-5,systemd-boot-258-1",` +
			`"versions":[{"name":"grub-cc","rpm_evr":"1:2.12-60"},{"name":"grub2","rpm_evr":"1:2.12-60"},{"name":"shim","rpm_evr":"16.1-5"},{"name":"systemd-boot","rpm_evr":"258-1"}]` + metadata + `}`,
	}
	for name, text := range several {
		if component, _, _ := strings.Cut(name, "/"); slices.Contains(names, component) {
			files[efiByName+"/"+name] = text
		}
	}
	return treetest.Texts(t, files)
}

func TestLoaders(t *testing.T) {
	everything := []string{"grub2", "grub-cc", "systemd-boot", "shim", "unknown", "bcm2711-firmware"}
	const common = "EFI/BOOT/BOOTX64.EFI EFI/fedora/grub.cfg "
	const notGRUB = "it does not read grub.cfg"
	tests := []struct {
		name       string
		components []string
		metadata   string
		loader, by string
		ignored    string
		warning    string // part of the only one; empty for none
		files      string
		recorded   string // version in bootupd-state.json
	}{
		{"no default", everything, "", "grub2", "default", "grub-cc 1:2.12-60, systemd-boot 257-1, systemd-boot 258-1", "",
			common + "EFI/fedora/grubx64.efi EFI/fedora/shimx64.efi EFI/unknown/unknown.efi", "grub2-1:2.12-60,shim-16.1-5"},
		{"null", everything, `,"default-bootloader":null`, "grub2", "default", "grub-cc 1:2.12-60, systemd-boot 257-1, systemd-boot 258-1", "",
			common + "EFI/fedora/grubx64.efi EFI/fedora/shimx64.efi EFI/unknown/unknown.efi", "grub2-1:2.12-60,shim-16.1-5"},
		{"GRUB", everything[:4], `,"default-bootloader":"Grub"`, "grub2", "container", "grub-cc 1:2.12-60, systemd-boot 257-1, systemd-boot 258-1", "",
			common + "EFI/fedora/grubx64.efi EFI/fedora/shimx64.efi", "grub2-1:2.12-60,shim-16.1-5"},
		{"GRUB CC", everything[:4], `,"default-bootloader":"GrubCC"`, "grub-cc", "container", "grub2 1:2.12-60, systemd-boot 257-1, systemd-boot 258-1", notGRUB,
			"EFI/BOOT/BOOTX64.EFI EFI/fedora/cc/grubx64-cc.efi EFI/fedora/grub.cfg EFI/fedora/shimx64.efi", "grub-cc-1:2.12-60,shim-16.1-5"},
		{"other spelling", everything[:4], `,"default-bootloader":"grub-cc"`, "grub-cc", "container", "grub2 1:2.12-60, systemd-boot 257-1, systemd-boot 258-1", notGRUB,
			"EFI/BOOT/BOOTX64.EFI EFI/fedora/cc/grubx64-cc.efi EFI/fedora/grub.cfg EFI/fedora/shimx64.efi", "grub-cc-1:2.12-60,shim-16.1-5"},
		{"the default is missing", []string{"grub2", "shim"}, `,"default-bootloader":"Systemd"`, "grub2", "default", "",
			"the default boot loader is systemd-boot, but /usr/lib/efi/systemd-boot/<version>/EFI has no files",
			common + "EFI/fedora/grubx64.efi EFI/fedora/shimx64.efi", ""},
		{"the default is unknown", []string{"grub2", "grub-cc", "shim"}, `,"default-bootloader":"Limine"`, "grub2", "default", "grub-cc 1:2.12-60",
			`EFI.json: default-bootloader "Limine": want Grub, GrubCC or Systemd`,
			common + "EFI/fedora/grubx64.efi EFI/fedora/shimx64.efi", "grub2-1:2.12-60,shim-16.1-5,systemd-boot-258-1"},
		{"the default is no text", []string{"grub2", "shim"}, `,"default-bootloader":["Grub"]`, "grub2", "default", "", `default-bootloader ["Grub"]`,
			common + "EFI/fedora/grubx64.efi EFI/fedora/shimx64.efi", ""},
		{"no GRUB and no default", []string{"grub-cc", "shim"}, "", "grub-cc", "default", "", notGRUB,
			"EFI/BOOT/BOOTX64.EFI EFI/fedora/cc/grubx64-cc.efi EFI/fedora/grub.cfg EFI/fedora/shimx64.efi", ""},
		{"only unknown", []string{"shim", "unknown"}, "", "", "default", "", "", "EFI/BOOT/BOOTX64.EFI EFI/fedora/grub.cfg EFI/fedora/shimx64.efi EFI/unknown/unknown.efi", ""},
		{"only shim", []string{"shim"}, "", "", "default", "", "shim only, without a boot loader", "EFI/BOOT/BOOTX64.EFI EFI/fedora/grub.cfg EFI/fedora/shimx64.efi", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := components(t, tt.components, tt.metadata)
			l := ReadLoaders(root)
			var ignored []string
			for _, c := range l.Ignored {
				ignored = append(ignored, c.String())
			}
			if got := strings.Join(ignored, ", "); l.Name != tt.loader || l.ChosenBy != tt.by || got != tt.ignored {
				t.Errorf("%q chosen by %s, %q ignored; want %q by %s, %q", l.Name, l.ChosenBy, got, tt.loader, tt.by, tt.ignored)
			}
			wantWarnings(t, l, tt.warning)
			esp, vendor, err := ESP(root)
			if err != nil || vendor != "EFI/fedora" {
				t.Fatalf("%q %v", vendor, err)
			}
			if diff := cmp.Diff(strings.Fields(tt.files), files(esp)); diff != "" {
				t.Error(diff)
			}
			b, err := State(root, esp, false)
			if err != nil {
				t.Fatal(err)
			}
			var got state
			if err := json.Unmarshal(b, &got); err != nil {
				t.Fatal(err)
			}
			if tt.recorded == "" {
				tt.recorded = "grub-cc-1:2.12-60,grub2-1:2.12-60,shim-16.1-5,systemd-boot-258-1"
			}
			meta := got.Installed["EFI"].Meta
			var modules []struct {
				Name string `json:"name"`
				EVR  string `json:"rpm_evr"`
			}
			if err := json.Unmarshal(meta.Versions, &modules); err != nil {
				t.Fatal(err)
			}
			var listed []string
			for _, m := range modules {
				listed = append(listed, m.Name+"-"+m.EVR)
			}
			if meta.Version != tt.recorded || strings.Join(listed, ",") != tt.recorded {
				t.Errorf("bootupd-state.json has version %q, versions %q, want %q", meta.Version, listed, tt.recorded)
			}
			if children := got.Installed["EFI"].FileTree.Children; len(children) != len(files(esp))-1 {
				t.Errorf("bootupd-state.json has files %v", children)
			}
		})
	}
}

// wantWarnings checks for one warning with a text, or for none.
func wantWarnings(t *testing.T, l *Loaders, want string) {
	t.Helper()
	switch {
	case want == "" && len(l.Warnings) > 0:
		t.Errorf("warnings %q, want none", l.Warnings)
	case want != "" && (len(l.Warnings) != 1 || !strings.Contains(l.Warnings[0], want)):
		t.Errorf("warnings %q, want one with %q", l.Warnings, want)
	}
}

// Entries that are no component must not be lost silently.
func TestLoadersLost(t *testing.T) {
	file, dangling, dir := rootfs.Text(0o644, "x"), rootfs.Link("/nowhere"), rootfs.Dir(0o755)
	const nothing = ": not a directory, so nothing of it is installed"
	tests := []struct {
		name    string
		place   *rootfs.Inode
		warning string
	}{
		{"README", file, "/usr/lib/efi/README" + nothing},
		{"extra", dangling, "/usr/lib/efi/extra" + nothing},
		{"extra", dir, ""},
		{"extra/1", file, "/usr/lib/efi/extra/1" + nothing},
		{"extra/1", dangling, "/usr/lib/efi/extra/1" + nothing},
		{"extra/1/EFI", file, "/usr/lib/efi/extra/1/EFI" + nothing},
		{"extra/1/EFI", dangling, "/usr/lib/efi/extra/1/EFI" + nothing},
		{"extra/1/EFI", dir, "/usr/lib/efi/extra/1/EFI: empty"},
		{"grub2/0/EFI/fedora", dir, "/usr/lib/efi/grub2/0/EFI: empty"},
		{"grub2/0/README", file, ""},
		{"systemd-boot/258-1/grubx64.efi", file, ""}, // where Fedora had it first
	}
	for i, tt := range tests {
		t.Run(fmt.Sprint(i, tt.name), func(t *testing.T) {
			root := components(t, []string{"grub2", "shim"}, "")
			if err := root.Place(efiByName+"/"+tt.name, tt.place); err != nil {
				t.Fatal(err)
			}
			wantWarnings(t, ReadLoaders(root), tt.warning)
			if esp, _, err := ESP(root); err != nil || len(files(esp)) != 4 {
				t.Errorf("%v", err)
			}
		})
	}
	root := components(t, []string{"shim"}, "")
	if err := root.Place(efiByName+"/grub2/1", dir); err != nil {
		t.Fatal(err)
	}
	if l := ReadLoaders(root); len(l.Warnings) != 2 || !strings.Contains(l.Warnings[0], "/usr/lib/efi/grub2: no <version>/EFI with files") {
		t.Errorf("%q", l.Warnings)
	}
	for _, n := range []*rootfs.Inode{file, dangling} { // usr/lib/efi itself
		root := fedora(t)
		if err := root.Place(efiByName, n); err != nil {
			t.Fatal(err)
		}
		l := ReadLoaders(root)
		wantWarnings(t, l, "/usr/lib/efi"+nothing)
		if _, _, err := ESP(root); err != nil || l.Name != "grub2" {
			t.Errorf("%q %v", l.Name, err)
		}
	}
}

func TestLoadersOlder(t *testing.T) {
	if l := ReadLoaders(fedora(t)); l.Name != "grub2" || l.ChosenBy != "default" || l.Installed != nil || l.Warnings != nil {
		t.Errorf("%+v", l)
	}
	if l := ReadLoaders(rootfs.Dir(0o755)); l != nil {
		t.Errorf("%+v", l)
	}
}

func TestStateFilterRefused(t *testing.T) {
	root := components(t, []string{"grub2", "grub-cc", "shim"}, "")
	esp, _, err := ESP(root)
	if err != nil {
		t.Fatal(err)
	}
	for versions, want := range map[string]string{`{"a":1}`: "versions", `[1]`: "versions", `null`: "", `[]`: ""} {
		root.Lookup(updates).Children["EFI.json"] = rootfs.Text(0o644, `{"timestamp":"2026","version":"grub-cc-1,grub2-1","versions":`+versions+`}`)
		b, err := State(root, esp, false)
		if want != "" {
			wantErrors(t, err, "/usr/lib/bootupd/updates/EFI.json: "+want)
		} else if err != nil || !strings.Contains(string(b), `"version":"grub2-1","versions":`+versions) {
			t.Errorf("%s: %s %v", versions, b, err)
		}
	}
}
