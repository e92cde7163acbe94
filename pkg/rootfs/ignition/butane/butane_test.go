package butane

import (
	"bytes"
	"compress/gzip"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	v3_0 "github.com/coreos/ignition/v2/config/v3_0/types"
	v3_1 "github.com/coreos/ignition/v2/config/v3_1/types"
	v3_2 "github.com/coreos/ignition/v2/config/v3_2/types"
	v3_3 "github.com/coreos/ignition/v2/config/v3_3/types"
	v3_4 "github.com/coreos/ignition/v2/config/v3_4/types"
	v3_5 "github.com/coreos/ignition/v2/config/v3_5/types"
	v3_6 "github.com/coreos/ignition/v2/config/v3_6_experimental/types"
	"github.com/google/go-cmp/cmp"
	"github.com/vincent-petithory/dataurl"
	"go.yaml.in/yaml/v3"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ignition"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/usage"
)

var update = flag.Bool("update", false, "write the results to testdata")

func options() Options { return Options{FilesDir: "testdata/files"} }

// TestConfigs: there is a file for each version, with the keys that it introduced.
func TestConfigs(t *testing.T) {
	names, err := filepath.Glob("testdata/configs/*.bu")
	if err != nil || len(names) < 10 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		t.Run(filepath.Base(name), func(t *testing.T) {
			text := read(t, name)
			got, warnings, err := Translate(text, options())
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range warnings {
				t.Error(w)
			}
			again, _, err := Translate(text, options())
			if err != nil || !bytes.Equal(got, again) {
				t.Errorf("differs the second time: %v", err)
			}
			golden := strings.TrimSuffix(name, ".bu") + ".ign"
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if d := cmp.Diff(string(read(t, golden)), string(got)); d != "" {
				t.Error(d)
			}
		})
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// translated returns the translation of a config, as parsed by Ignition's library.
func translated(t *testing.T, text string) v3_6.Config {
	t.Helper()
	ign, _, err := Translate([]byte(text), options())
	if err != nil {
		t.Fatal(err)
	}
	c, report, err := ignition.Parse(ign)
	if err != nil || report.IsFatal() {
		t.Fatal(err, report)
	}
	return c
}

// TestKeys: the table of keys agrees with Ignition's types. It has every key of
// every version with its type, and no others.
func TestKeys(t *testing.T) {
	sugar := map[string]int{
		"$.variant string": 0, "$.version string": 0,
		"$.ignition.config.merge[].inline string": 1, "$.ignition.config.merge[].local string": 1,
		"$.ignition.config.replace.inline string": 1, "$.ignition.config.replace.local string": 1,
		"$.ignition.security.tls.certificateAuthorities[].inline string": 1,
		"$.ignition.security.tls.certificateAuthorities[].local string":  1,
		"$.storage.files[].contents.inline string":                       0,
		"$.storage.files[].contents.local string":                        1,
		"$.storage.files[].append[].inline string":                       0,
		"$.storage.files[].append[].local string":                        1,
		"$.storage.luks[].keyFile.inline string":                         2,
		"$.storage.luks[].keyFile.local string":                          2,
		"$.storage.filesystems[].withMountUnit bool":                     1,
		"$.storage.trees[].local string":                                 1,
		"$.storage.trees[].path string":                                  1,
		"$.storage.trees[].fileMode int":                                 7,
		"$.storage.trees[].dirMode int":                                  7,
		"$.storage.trees[].user.id int":                                  7,
		"$.storage.trees[].user.name string":                             7,
		"$.storage.trees[].group.id int":                                 7,
		"$.storage.trees[].group.name string":                            7,
		"$.systemd.units[].contentsLocal string":                         5,
		"$.systemd.units[].dropins[].contentsLocal string":               5,
		"$.passwd.users[].sshAuthorizedKeysLocal[] string":               5,
		"$.bootDevice.layout string":                                     3,
		"$.bootDevice.mirror.devices[] string":                           3,
		"$.bootDevice.luks.tang[].url string":                            3,
		"$.bootDevice.luks.tang[].thumbprint string":                     3,
		"$.bootDevice.luks.tang[].advertisement string":                  5,
		"$.bootDevice.luks.threshold int":                                3,
		"$.bootDevice.luks.tpm2 bool":                                    3,
		"$.bootDevice.luks.discard bool":                                 5,
		"$.bootDevice.luks.device string":                                6,
		"$.bootDevice.luks.cex.enabled bool":                             6,
		"$.grub.users[].name string":                                     5,
		"$.grub.users[].passwordHash string":                             5,
	}
	for minor, c := range []any{v3_0.Config{}, v3_1.Config{}, v3_2.Config{}, v3_2.Config{}, v3_3.Config{}, v3_4.Config{}, v3_5.Config{}, v3_6.Config{}} {
		want := map[string]bool{}
		typeKeys(reflect.TypeOf(c), "$", want)
		delete(want, "$.ignition.version string")
		for key, since := range sugar {
			if since <= minor {
				want[key] = true
			}
		}
		got := map[string]bool{}
		shapeKeys(config1, minor, "$", got)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("1.%d.0: %s", minor, d)
		}
	}
}

func typeKeys(t reflect.Type, path string, keys map[string]bool) {
	switch t.Kind() {
	case reflect.Pointer:
		typeKeys(t.Elem(), path, keys)
	case reflect.Slice:
		typeKeys(t.Elem(), path+"[]", keys)
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			if f.Anonymous {
				typeKeys(f.Type, path, keys)
				continue
			}
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			typeKeys(f.Type, path+"."+name, keys)
		}
	default:
		keys[path+" "+t.Kind().String()] = true
	}
}

func shapeKeys(s *shape, minor int, path string, keys map[string]bool) {
	switch s.kind {
	case list:
		shapeKeys(s.item, minor, path+"[]", keys)
	case mapping:
		for name, k := range s.keys {
			if k.since <= minor {
				shapeKeys(k.shape, minor, path+"."+camel(name), keys)
			}
		}
	default:
		keys[path+" "+[]string{"string", "int", "bool"}[s.kind]] = true
	}
}

const (
	head  = "variant: fcos\nversion: 1.5.0\n"
	head7 = "variant: fcos\nversion: 1.7.0\n"
)

// broken are invalid configs and parts of their errors.
var broken = []struct{ text, want string }{
	// The document.
	{"", "config.bu: config is empty"},
	{"# nothing\n", "config.bu: config is empty"},
	{strings.Repeat("#\n", maxText/2+1), "config.bu: config is larger than 16 MiB"},
	{"variant: [\n", "config.bu:1:1: invalid YAML"},
	{"a: b: c\n", "invalid YAML"},
	{"- a\n", "config.bu:1:1: config is not a mapping"},
	{"text\n", "config.bu:1:1: config is not a mapping"},
	{head + "---\na: b\n", "config.bu:3:1: a second document"},
	{"version: 1.5.0\n", "config.bu:1:1: missing variant"},
	{"variant: fcos\n", "config.bu:1:1: missing version"},
	{"variant: flatcar\nversion: 1.0.0\n", `config.bu:1:10: unsupported variant "flatcar"`},
	{"variant: fcos\nversion: 1.8.0\n", `config.bu:2:10: unsupported version "1.8.0", must be 1.0.0 to 1.7.0`},
	{"variant: fcos\nversion: 1.6.0-experimental\n", "config.bu:2:10: unsupported version"},
	{"variant: fcos\nversion: 1.8.0-experimental\n", `config.bu:2:10: unsupported version "1.8.0-experimental", must be 1.0.0 to 1.7.0`},
	{"variant: fcos\nversion: 1.5\n", "config.bu:2:10: unsupported version"},

	// Keys.
	{head + "storge: {}\n", `config.bu:3:1: unknown key "storge" in config`},
	{head + "storage:\n  files:\n    - path: /a\n      foo: 1\n", `config.bu:6:7: unknown key "foo" in storage.files`},
	{head + "storage:\n  files:\n    - path: /a\n      path: /b\n", `config.bu:6:7: duplicate key "path" in storage.files, first in line 5`},
	{head + "storage: {}\nstorage: {}\n", `config.bu:4:1: duplicate key "storage" in config, first in line 3`},
	{head + "storage:\n  disks:\n    - {device: /dev/vda, wipeTable: true}\n", `unknown key "wipeTable" in storage.disks, is "wipe_table" meant?`},
	{head + "passwd: {users: [{name: a, ssh-authorized-keys: []}]}\n", `is "ssh_authorized_keys" meant?`},
	{head + "storage: {files: [{path: /a, <<: {mode: 0}}]}\n", `merge keys are not supported`},
	{head + "? [a]\n: b\n", "config.bu:3:3: keys of config must be strings"},
	{"variant: fcos\nversion: 1.0.0\nstorage:\n  luks: []\n", `config.bu:4:3: key "luks" in storage needs version 1.2.0, but the config has 1.0.0`},
	{"variant: fcos\nversion: 1.0.0\nstorage:\n  files:\n  - path: /a\n    contents:\n      local: a\n", `config.bu:7:7: key "local" in storage.files.contents needs version 1.1.0`},
	{"variant: fcos\nversion: 1.4.0\ngrub: {}\n", `key "grub" in config needs version 1.5.0`},

	// Types.
	{head + "storage: []\n", "config.bu:3:10: storage: must be a mapping"},
	{head + "storage: {files: {}}\n", "config.bu:3:18: storage.files: must be a list"},
	{head + "storage: {files: [[]]}\n", "storage.files: must be a mapping"},
	{head + "storage: {files: [null]}\n", "config.bu:3:19: storage.files: empty item"},
	{head + "storage: {files: [{path: [a]}]}\n", "storage.files.path: must be a string"},
	{head + "storage: {files: [{path: /a, mode: rw}]}\n", `config.bu:3:36: storage.files.mode: invalid value "rw", must be a whole number`},
	{head + "storage: {files: [{path: /a, mode: 1.0}]}\n", `invalid value "1.0", must be a whole number`},
	{head + "storage: {files: [{path: /a, mode: \"0644\"}]}\n", `invalid value "0644", must be a whole number`},
	{head + "storage: {files: [{path: /a, mode: 99999999999999999999}]}\n", `must be a whole number`},
	{head + "storage: {files: [{path: /a, overwrite: 1}]}\n", `invalid value "1", must be a boolean`},
	{head + "storage: {files: [{path: !!binary gIE=}]}\n", `must be a string`},

	// Sugar.
	{head + "storage: {files: [{path: /a, contents: {inline: a, source: 'data:,'}}]}\n", "config.bu:3:49: source, inline and local are mutually exclusive"},
	{head + "storage: {files: [{path: /a, contents: {local: missing}}]}\n", "config.bu:3:48: missing: no such file"},
	{head + "storage: {files: [{path: /a, contents: {local: tree}}]}\n", "config.bu:3:48: tree: not a regular file"},
	{head + "storage: {files: [{path: /a, contents: {local: ../butane_test.go}}]}\n", "../butane_test.go: path escapes"},
	{head + "storage: {files: [{path: /a, contents: {local: tree/../../configs/v1_0.bu}}]}\n", "path escapes"},
	{head + "storage: {trees: [{local: ..}]}\n", "config.bu:3:19: storage.trees: ..: path escapes"},
	{head + "storage: {trees: [{local: long.txt}]}\n", "storage.trees: long.txt: not a directory"},
	{head + "storage: {trees: [{local: nothing}]}\n", "storage.trees: nothing: no such file"},
	{head + "storage: {trees: [{path: /a}]}\n", "storage.trees: missing local"},
	{head + "storage: {trees: [{local: tree, path: a}]}\n", "config.bu:3:19: $.storage.files.0.path: path not absolute"},
	{head + "storage:\n  trees: [{local: tree}]\n  files: [{path: /run.sh, contents: {inline: a}}]\n", "config.bu:4:11: storage.trees: /run.sh: the config already has contents for this file"},
	{head + "storage:\n  trees: [{local: tree}]\n  directories: [{path: /run.sh}]\n", "storage.trees: /run.sh: the config has a directory with this path"},
	{head + "storage:\n  trees: [{local: tree}]\n  links: [{path: /run.sh, target: a}]\n", "storage.trees: /run.sh: the config has a link with this path"},
	{head + "storage:\n  trees: [{local: tree}]\n  links: [{path: /broken, target: a}]\n", "storage.trees: /broken: the config already has a target for this link"},
	{head + "storage:\n  trees: [{local: tree}]\n  files: [{path: /broken}]\n", "storage.trees: /broken: the config has a file with this path"},
	{head7 + "storage:\n  trees: [{local: tree, dir_mode: 0700}]\n  directories: [{path: /etc}]\n", "config.bu:4:11: storage.trees: /etc: the config has a directory with this path"},
	{head7 + "storage:\n  trees: [{local: tree/etc, path: /a, user: {id: 1}}, {local: tree/etc/deep, path: /a/deep, user: {id: 2}}]\n", "config.bu:4:55: storage.trees: /a/deep: the config has a directory with this path"},
	{head7 + "storage:\n  trees: [{local: tree/etc, path: /a, user: {id: 1}}]\n  files: [{path: /a/deep}]\n", "config.bu:4:11: storage.trees: /a/deep: the config has a file with this path"},
	{head7 + "storage: {trees: [{local: tree, file_mode: 010000}]}\n", "config.bu:3:44: storage.trees.file_mode: invalid mode 4096, must be 0 to 07777"},
	{head7 + "storage: {trees: [{local: tree, dir_mode: -1}]}\n", "config.bu:3:43: storage.trees.dir_mode: invalid mode -1"},
	{head7 + "storage: {trees: [{local: tree, user: {id: 1, name: a}}]}\n", "config.bu:3:39: storage.trees.user: id and name are mutually exclusive"},
	{head7 + "storage: {trees: [{local: tree, group: {id: 0, name: a}}]}\n", "config.bu:3:40: storage.trees.group: id and name are mutually exclusive"},
	{head + "storage:\n  trees:\n  - local: tree\n    user: {id: 1}\n", `config.bu:6:5: key "user" in storage.trees needs version 1.7.0, but the config has 1.5.0`},
	{"variant: fcos\nversion: 1.6.0\nstorage: {trees: [{local: tree, file_mode: 0644}]}\n", `config.bu:3:33: key "file_mode" in storage.trees needs version 1.7.0`},
	{head7 + "boot_device: {mirror: {devices: [/dev/a, /dev/b]}}\n", "config.bu:3:23: boot_device.mirror: missing layout, must be x86_64, aarch64 or ppc64le"},
	{head7 + "ignition: {config: {merge: [{inline: '{\"ignition\": {\"version\": \"3.7.0-experimental\"}}'}]}}\n", "config.bu:3:38: ignition: unsupported config version"},
	{head7 + "storage: {files: [{path: /a, mode: 010000}]}\n", "config.bu:3:36: $.storage.files.0.mode: illegal file mode"},
	{"variant: fcos\nversion: 1.6.0\nstorage: {luks: [{name: a, device: /dev/a, clevis: {custom: {pin: pkcs11, config: x}}}]}\n", "config.bu:3:67: $.storage.luks.0.clevis.custom.pin: unsupported clevis pin"},
	{head + "storage:\n  trees: [{local: tree}, {local: tree}]\n", "config.bu:4:26: storage.trees: /broken: the config already has a target for this link"},
	{head + "storage: {filesystems: [{device: /dev/a, path: /var/a, with_mount_unit: true}]}\n", "config.bu:3:73: storage.filesystems: with_mount_unit needs a format"},
	{head + "storage: {filesystems: [{device: /dev/a, format: ext4, with_mount_unit: true}]}\n", "with_mount_unit needs a path"},
	{"variant: fcos\nversion: 1.3.0\nstorage: {filesystems: [{device: /dev/a, format: swap, with_mount_unit: true}]}\n", "with_mount_unit needs a path"},
	{"variant: fcos\nversion: 1.6.0\nstorage: {filesystems: [{device: /dev/a, path: /srv, format: ext4, with_mount_unit: true}]}\n", "config.bu:3:48: storage.filesystems: /srv: mount points of units must be in /etc or /var"},
	{head + "storage: {filesystems: [{device: \"/dev/a\\nX=y\", path: /var/a, format: ext4, with_mount_unit: true}]}\n", "has a control character"},
	{head + "systemd: {units: [{name: a.service, contents: a, contents_local: hello.service}]}\n", "config.bu:3:66: contents and contents_local are mutually exclusive"},
	{head + "systemd: {units: [{name: a.service, contents_local: binary}]}\n", "binary: not UTF-8"},
	{head + "passwd: {users: [{name: a, ssh_authorized_keys_local: [keys/id.pub, none]}]}\n", "config.bu:3:69: none: no such file"},
	{head + "ignition: {config: {merge: [{inline: '{}'}]}}\n", "config.bu:3:38: ignition: "},
	{head + "ignition: {config: {replace: {local: long.txt}}}\n", "config.bu:3:38: ignition: "},
	{head + "boot_device: {layout: riscv64}\n", `config.bu:3:23: boot_device.layout: unsupported layout "riscv64"`},
	{head + "boot_device: {layout: x86_64, mirror: {devices: [/dev/a]}}\n", "config.bu:3:49: boot_device.mirror: want at least two devices, got one"},
	{head + "boot_device: {luks: {threshold: 1}}\n", "config.bu:3:21: boot_device.luks: want tang or tpm2"},
	{head + "boot_device: {luks: {tpm2: true, threshold: 2}}\n", "config.bu:3:45: boot_device.luks.threshold: 2 is more than the 1 configured"},
	{"variant: fcos\nversion: 1.6.0\nboot_device: {luks: {cex: {enabled: true}}}\n", "boot_device.luks.cex: only for s390x"},
	{"variant: fcos\nversion: 1.6.0\nboot_device: {layout: s390x-virt, luks: {tpm2: true}}\n", `unsupported layout "s390x-virt"`},
	{head + "grub: {users: [{name: a}]}\n", "config.bu:3:16: grub.users: missing password_hash"},
	{head + "grub: {users: [{name: 'a b', password_hash: x}]}\n", `config.bu:3:23: grub.users.name: invalid value "a b"`},

	// Errors of Ignition's library, at the right place.
	{head + "storage:\n  filesystems:\n  - {device: /dev/a, path: /var/a, format: ext4, with_mount_unit: true}\n  - {device: /dev/b, path: /var//a, format: ext4, with_mount_unit: true}\n", "config.bu:6:68: $.systemd.units.1"},
	{head + "boot_device: {luks: {tang: [{thumbprint: a}]}}\n", "config.bu:3:14: $.storage.luks.0.clevis.tang.0.url"},
	{head + "boot_device: {luks: {tang: [{url: 'https://a'}]}}\n", "config.bu:3:14: $.storage.luks.0.clevis.tang.0.thumbprint"},
	{head + "storage:\n  files:\n    - path: a\n", "config.bu:5:13: $.storage.files.0.path: path not absolute"},
	{head + "storage:\n  files:\n    - path: /a\n    - path: /a\n", "config.bu:6:7: $.storage.files.1"},
	{head + "storage:\n  links:\n    - path: /a\n", "config.bu:5:7: $.storage.links.0.target: "},
	{head + "passwd:\n  users:\n    - uid: 5\n", "config.bu:5:7: passwd.users: missing name"},
	{head + "passwd: {groups: [{gid: 5}]}\n", "config.bu:3:19: passwd.groups: missing name"},
	{head + "storage:\n  raid:\n  - name: a\n    level: raid9\n    devices: [/dev/a]\n", "config.bu:6:12: $.storage.raid.0.level"},
	{head + "boot_device:\n  mirror:\n    devices: [vda, vdb]\n", "config.bu:4:3: $.storage.disks.0.device"},
	{head + "storage: {files: [{path: /a, contents: {source: 'ftp://a'}}]}\n", "config.bu:3:49: $.storage.files.0.contents.source"},
	{head + "grub: {users: [{name: a, password_hash: b}]}\nstorage:\n  filesystems: [{device: sda, format: ext4}]\n", "config.bu:5:26: $.storage.filesystems.1.device"},
}

func TestErrors(t *testing.T) {
	for _, c := range broken {
		ign, _, err := Translate([]byte(c.text), options())
		switch {
		case err == nil:
			t.Errorf("%s\n: is valid, %s", c.text, ign)
		case !strings.Contains(err.Error(), c.want):
			t.Errorf("%s\n: %v\nwant %s", c.text, err, c.want)
		}
	}
}

func TestAllErrors(t *testing.T) {
	_, _, err := Translate([]byte("variant: fcos\nversion: 1.5.0\na: 1\nstorage: {b: 2}\n"), Options{Name: "x.bu"})
	want := "x.bu:3:1: unknown key \"a\" in config\nx.bu:4:11: unknown key \"b\" in storage"
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	// A config in the config is read once.
	_, _, err = Translate([]byte(head+"ignition: {config: {merge: [{local: missing}]}}\n"), options())
	if want = "config.bu:3:37: missing: no such file or directory"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestManyErrors(t *testing.T) {
	_, _, err := Translate([]byte(head+"storage:\n  files:\n"+strings.Repeat("  - path: a\n", 1000)), Options{})
	if err == nil || strings.Count(err.Error(), "\n") != maxErrors || !strings.HasSuffix(err.Error(), "\nconfig.bu: and 1899 more errors") {
		t.Errorf("%.500v", err)
	}
}

func TestNoFilesDir(t *testing.T) {
	for text, want := range map[string]string{
		"storage: {files: [{path: /a, contents: {local: long.txt}}]}":            "long.txt: local files need FilesDir",
		"storage: {trees: [{local: tree}]}":                                      "storage.trees: local files need FilesDir",
		"passwd: {users: [{name: a, ssh_authorized_keys_local: [keys/id.pub]}]}": "local files need FilesDir",
		"systemd: {units: [{name: a.service, contents_local: hello.service}]}":   "local files need FilesDir",
	} {
		_, _, err := Translate([]byte("variant: fcos\nversion: 1.5.0\n"+text), Options{})
		var avoidable usage.Avoidable
		if err == nil || !strings.Contains(err.Error(), want) || !errors.As(err, &avoidable) || avoidable.Field != "FilesDir" {
			t.Errorf("%s: %v", text, err)
		}
	}
	_, _, err := Translate([]byte("variant: fcos\nversion: 1.5.0\n"), Options{FilesDir: "testdata/none"})
	if wrong := (usage.Error{}); !errors.As(err, &wrong) || wrong.Field != "FilesDir" || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing directory: %v", err)
	}
}

// TestEscapes: links out of the files directory, pipes and devices are rejected.
func TestEscapes(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "files")
	for _, d := range []string{filepath.Join(dir, "tree"), filepath.Join(dir, "fifos"), filepath.Join(top, "out")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{
		"out": "../out/secret", "absolute": filepath.Join(top, "out", "secret"), "outdir": "../out", "in": "tree/../real",
	} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	os.WriteFile(filepath.Join(top, "out", "secret"), []byte("secret"), 0o644)
	os.WriteFile(filepath.Join(dir, "real"), []byte("real"), 0o644)
	os.Symlink("../../out/secret", filepath.Join(dir, "tree", "link"))
	if err := syscall.Mkfifo(filepath.Join(dir, "fifos", "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	for body, want := range map[string]string{
		"files: [{path: /a, contents: {local: out}}]":           "path escapes",
		"files: [{path: /a, contents: {local: absolute}}]":      "path escapes",
		"files: [{path: /a, contents: {local: outdir/secret}}]": "path escapes",
		"files: [{path: /a, contents: {local: fifos/fifo}}]":    "fifos/fifo: not a regular file",
		"trees: [{local: outdir}]":                              "path escapes",
		"trees: [{local: fifos}]":                               "fifos/fifo: not a file, directory or symbolic link",
		"files: [{path: /a, contents: {local: in}}]":            "",
		"trees: [{local: tree}]":                                "", // the link is copied, not followed
	} {
		ign, _, err := Translate([]byte("variant: fcos\nversion: 1.5.0\nstorage: {"+body+"}\n"), Options{FilesDir: dir})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", body, err, want)
		}
		if bytes.Contains(ign, []byte("data:,secret")) {
			t.Errorf("%s: is out", body)
		}
	}
}

func TestWarnings(t *testing.T) {
	const head = "variant: fcos\nversion: 1.6.0\n"
	for _, c := range []struct{ text, want string }{
		{"storage: {files: [{path: /a, mode: 644}]}", "config.bu:3:36: mode 644 is decimal and means 01204, is 0644 meant?"},
		{"storage: {directories: [{path: /a, mode: 755}]}", "is 0755 meant?"},
		{"storage: {directories: [{path: /a, mode: 01777}]}", "config.bu:3:42: $.storage.directories.0.mode: setuid/setgid/sticky bits are not supported"},
		{"storage: {files: [{path: /a, mode: 420}, {path: /b, mode: 0755}, {path: /c, mode: 0o711}, {path: /d, mode: 493}]}", ""},
		{"boot_device: {mirror: {devices: [/dev/a, /dev/b]}}", "config.bu:3:23: boot_device.mirror: missing layout"},
		{"storage: {disks: [{device: /dev/a, partitions: [{label: root, number: 4}, {label: var, number: 5}]}]}", "root cannot grow"},
		{"storage: {disks: [{device: /dev/a, partitions: [{label: root, number: 4, size_mib: 100}]}]}", "config.bu:3:57: storage.disks.partitions: root has 100 MiB"},
		{"storage: {disks: [{device: /dev/a, partitions: [{label: boot, number: 4}]}]}", "boot is partition 3 of the image, not 4"},
		{"storage: {disks: [{device: /dev/a, partitions: [{label: data}]}]}", "without a number"},
		{"storage: {disks: [{device: /dev/a, wipe_table: true, partitions: [{label: data}]}]}", ""},
		{"storage: {disks: [{device: /dev/a, partitions: [{label: root, number: 4, size_mib: 9000}, {label: var, number: 5}]}]}", ""},
		{"boot_device: {layout: x86_64, mirror: {devices: [/dev/a, /dev/b]}}", ""},
		{"systemd: {units: [{name: a.service, enabled: true, contents: \"[Unit]\\n\"}]}", "config.bu:3:62: $.systemd.units.0.contents: unit \"a.service\" is enabled"},
	} {
		_, warnings, err := Translate([]byte(head+c.text+"\n"), Options{})
		got := strings.Join(warnings, "\n")
		if err != nil || !strings.Contains(got, c.want) || (c.want == "") != (got == "") {
			t.Errorf("%s: %q, %v, want %q", c.text, got, err, c.want)
		}
	}
}

// TestModes17: version 1.7.0 allows the special bits of modes.
func TestModes17(t *testing.T) {
	for text, want := range map[string]string{
		"directories: [{path: /a, mode: 01777}]":         "",
		"files: [{path: /a, mode: 04755}]":               "",
		"files: [{path: /a, mode: 1777}]":                "config.bu:3:36: mode 1777 is decimal and means 03361, is 01777 meant?",
		"trees: [{local: tree, dir_mode: 755}]":          "config.bu:3:43: dir_mode 755 is decimal and means 01363, is 0755 meant?",
		"trees: [{local: tree, file_mode: 640}]":         "config.bu:3:44: file_mode 640 is decimal and means 01200, is 0640 meant?",
		"trees: [{local: tree, file_mode: 0640}]":        "",
		"trees: [{local: tree/etc, user: {name: core}}]": "",
	} {
		_, warnings, _ := Translate([]byte(head7+"storage: {"+text+"}\n"), options())
		if got := strings.Join(warnings, "\n"); got != want && !(want != "" && strings.HasPrefix(got, want)) {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// TestTreeOwner: the owner of a tree applies to all of its nodes.
func TestTreeOwner(t *testing.T) {
	c := translated(t, head7+"storage: {trees: [{local: tree, path: /a, user: {name: core}, group: {id: 0}, file_mode: 0640}]}\n")
	var got []string
	add := func(n v3_6.Node, mode *int) {
		s := fmt.Sprintf("%s %s:%d", n.Path, *n.User.Name, *n.Group.ID)
		if mode != nil {
			s += fmt.Sprintf(" %04o", *mode)
		}
		got = append(got, s)
	}
	for _, d := range c.Storage.Directories {
		add(d.Node, d.Mode)
	}
	for _, f := range c.Storage.Files {
		add(f.Node, f.Mode)
	}
	for _, l := range c.Storage.Links {
		add(l.Node, nil)
	}
	want := []string{
		"/a core:0 0755", "/a/etc core:0 0755", "/a/etc/deep core:0 0755",
		"/a/etc/deep/file core:0 0640", "/a/etc/plain core:0 0640", "/a/override core:0 0640", "/a/run.sh core:0 0640",
		"/a/broken core:0", "/a/etc/link core:0",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	// Without an owner or a mode for directories, Ignition creates them.
	if c := translated(t, head7+"storage: {trees: [{local: tree, file_mode: 0640}]}\n"); len(c.Storage.Directories) != 0 {
		t.Errorf("%+v", c.Storage.Directories)
	}
}

// TestNewerChild: a config of 1.6.0 may merge one of Ignition 3.6.0.
func TestNewerChild(t *testing.T) {
	ign, warnings, err := Translate([]byte("variant: fcos\nversion: 1.6.0\nignition: {config: {merge: [{local: child36.ign}]}}\n"), options())
	if err != nil || len(warnings) != 0 || ignition.Newest(ign).String() != "3.6.0" {
		t.Errorf("%s, %q, %v", ign, warnings, err)
	}
}

// TestTooLarge: contents that make a config too large are rejected.
func TestTooLarge(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "a")
	if err := os.WriteFile(name, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, maxLocal); err != nil {
		t.Fatal(err)
	}
	_, _, err := Translate([]byte(head7+"systemd:\n  units:\n  - {name: a.service, contents_local: a}\n  - {name: b.service, contents_local: a}\n"), Options{FilesDir: dir})
	if want := "config.bu:6:39: this makes the config larger than 100 MiB"; err == nil || err.Error() != want {
		t.Errorf("%.300v", err)
	}

	// The walk of a tree stops at the limit.
	files, err := os.OpenRoot("testdata/files")
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	tr := translation{name: "a.bu", files: files, at: places{}, size: ignition.MaxSize}
	tr.trees = []tree{{from: &yaml.Node{Line: 1, Column: 2}, Local: "tree", Path: "/"}}
	var c v3_6.Config
	tr.plant(&c)
	if want := "a.bu:1:2: this makes the config larger than 100 MiB"; len(tr.errs) != 1 || tr.errs[0] != want || len(c.Storage.Files) != 1 {
		t.Errorf("%q, %d files", tr.errs, len(c.Storage.Files))
	}
}

// TestMountUnits compares the text of units.
func TestMountUnits(t *testing.T) {
	c := translated(t, `
variant: fcos
version: 1.4.0
storage:
  luks:
    - {name: net, device: /dev/vdc, clevis: {tang: [{url: "https://t", thumbprint: x}]}}
  filesystems:
    - {device: /dev/disk/by-label/a-b, path: "/var/lib/a b-c%", format: xfs, mount_options: [ro, "x%y"], with_mount_unit: true}
    - {device: /dev/mapper/net, path: /, format: ext4, with_mount_unit: true}
    - {device: /dev/disk/by-id/dm-name-net, format: swap, with_mount_unit: true}
`)
	want := map[string]string{
		`var-lib-a\x20b\x2dc\x25.mount`: `# Generated by ohp-assemble
[Unit]
Requires=systemd-fsck@dev-disk-by\x2dlabel-a\x2db.service
After=systemd-fsck@dev-disk-by\x2dlabel-a\x2db.service

[Mount]
Where=/var/lib/a b-c%%
What=/dev/disk/by-label/a-b
Type=xfs
Options=ro,x%%y

[Install]
RequiredBy=local-fs.target
`,
		`-.mount`: `# Generated by ohp-assemble
[Unit]
Requires=systemd-fsck@dev-mapper-net.service
After=systemd-fsck@dev-mapper-net.service

[Mount]
Where=/
What=/dev/mapper/net
Type=ext4
Options=_netdev

[Install]
RequiredBy=remote-fs.target
`,
		`dev-disk-by\x2did-dm\x2dname\x2dnet.swap`: `# Generated by ohp-assemble
[Swap]
What=/dev/disk/by-id/dm-name-net
Options=_netdev

[Install]
RequiredBy=swap.target
`,
	}
	got := map[string]string{}
	for _, u := range c.Systemd.Units {
		got[u.Name] = *u.Contents
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestUnitName compares the names of units with those of systemd-escape.
func TestUnitName(t *testing.T) {
	paths := []string{"/", "//", "/a", "/a//b/", "/.a", "/a/.b", "/a-b", "/ä", "/a b", `/a\b`, "/a:b_c.d", "/%", "/\x01"}
	for _, p := range paths {
		if n := unitName(p); strings.ContainsAny(n, "/ %") {
			t.Errorf("%s: %s", p, n)
		}
	}
	treetest.Tool(t, "systemd-escape")
	for _, p := range paths {
		out, err := exec.Command("systemd-escape", "--path", p).Output()
		if want := strings.TrimSuffix(string(out), "\n"); err != nil || unitName(p) != want {
			t.Errorf("%q: %s, want %s, %v", p, unitName(p), want, err)
		}
	}
}

// TestContents decodes embedded contents.
func TestContents(t *testing.T) {
	for _, name := range []string{"long.txt", "binary", "tree/etc/plain"} {
		c := translated(t, "variant: fcos\nversion: 1.6.0\nstorage: {files: [{path: /a, contents: {local: "+name+"}}]}\n")
		r := c.Storage.Files[0].Contents
		u, err := dataurl.DecodeString(*r.Source)
		if err != nil {
			t.Fatal(err)
		}
		want := read(t, "testdata/files/"+name)
		got := u.Data
		if *r.Compression == "gzip" {
			got = unzip(t, got)
		}
		if !bytes.Equal(got, want) || (*r.Compression == "gzip") != (name == "long.txt") {
			t.Errorf("%s: %s %q", name, *r.Compression, got)
		}
		if len(*r.Source) > 4*len(want)/3+30 {
			t.Errorf("%s: %d bytes for %d", name, len(*r.Source), len(want))
		}
	}
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	if u, err := dataurl.DecodeString("data:," + escape(all)); err != nil || !bytes.Equal(u.Data, all) {
		t.Error("escaping does not come back", err)
	}
}

func TestGrub(t *testing.T) {
	c := translated(t, string(read(t, "testdata/configs/v1_5.bu")))
	f := c.Storage.Files[0]
	u, err := dataurl.DecodeString(*f.Append[0].Source)
	if err != nil {
		t.Fatal(err)
	}
	got := u.Data
	if *f.Append[0].Compression == "gzip" {
		got = unzip(t, got)
	}
	want := `# Generated by ohp-assemble

set superusers="root admin"
password_pbkdf2 root grub.pbkdf2.sha512.10000.874A958E526409.C0FF
password_pbkdf2 admin grub.pbkdf2.sha512.10000.0123.ABCD
`
	if f.Path != "/boot/grub2/user.cfg" || string(got) != want {
		t.Errorf("%s: %s", f.Path, got)
	}
	if fs := c.Storage.Filesystems[0]; fs.Device != "/dev/disk/by-label/boot" || *fs.Path != "/boot" || *fs.Format != "ext4" {
		t.Errorf("%+v", fs)
	}
}

// TestMirror compares the partitions of each layout on each disk.
func TestMirror(t *testing.T) {
	for layout, want := range map[string]string{
		"x86_64":  "bios-2 1 21686148, esp-2 127 C12A7328, boot-2 384, root-2 0",
		"aarch64": "reserved-2 1 8DA63339, esp-2 127 C12A7328, boot-2 384, root-2 0",
		"ppc64le": "prep-2 4 9E1A2D38, reserved-2 1 8DA63339, boot-2 384, root-2 0",
	} {
		c := translated(t, "variant: fcos\nversion: 1.3.0\nboot_device: {layout: "+layout+", mirror: {devices: [/dev/a, /dev/b]}}\n")
		var parts []string
		for _, p := range c.Storage.Disks[1].Partitions {
			s, size := *p.Label, 0
			if p.SizeMiB != nil {
				size = *p.SizeMiB
			}
			s += fmt.Sprintf(" %d", size)
			if p.TypeGUID != nil {
				s += " " + (*p.TypeGUID)[:8]
			}
			parts = append(parts, s)
		}
		if got := strings.Join(parts, ", "); got != want || !*c.Storage.Disks[1].WipeTable {
			t.Errorf("%s: %s, want %s", layout, got, want)
		}
		var fs []string
		for _, f := range c.Storage.Filesystems {
			fs = append(fs, f.Device+" "+*f.Format+" "+*f.Label)
		}
		wantFS := "/dev/disk/by-partlabel/esp-1 vfat esp-1, /dev/disk/by-partlabel/esp-2 vfat esp-2, /dev/md/md-boot ext4 boot, /dev/md/md-root xfs root"
		if layout == "ppc64le" {
			wantFS = wantFS[strings.Index(wantFS, "/dev/md/md-boot"):]
		}
		if got := strings.Join(fs, ", "); got != wantFS {
			t.Errorf("%s: %s", layout, got)
		}
	}
}

// TestBomb: a text whose aliases expand to 10^9 values is rejected.
func TestBomb(t *testing.T) {
	var b strings.Builder
	b.WriteString("variant: fcos\nversion: 1.5.0\nstorage:\n  files:\n")
	b.WriteString("  - &f {path: /a, append: [&r {source: 'data:,', http_headers: [&h {name: a}" + strings.Repeat(", *h", 1000) + "]}" + strings.Repeat(", *r", 1000) + "]}\n")
	b.WriteString(strings.Repeat("  - *f\n", 1000))
	_, _, err := Translate([]byte(b.String()), Options{})
	if err == nil || !strings.Contains(err.Error(), "more than 262144 values") {
		t.Errorf("%.200v", err)
	}
}

func FuzzTranslate(f *testing.F) {
	names, _ := filepath.Glob("testdata/configs/*.bu")
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	for _, c := range broken {
		f.Add([]byte(c.text))
	}
	f.Add([]byte("variant: fcos\nversion: 1.6.0\nstorage: {files: [&a {path: /a}, *a]}\n"))
	f.Add([]byte("variant: fcos\nversion: 1.6.0\nstorage: &s {files: *s}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		ign, _, err := Translate(text, options())
		if err != nil {
			if ign != nil || !strings.HasPrefix(err.Error(), "config.bu:") {
				t.Errorf("%q, %v", ign, err)
			}
			return
		}
		if _, report, err := ignition.Parse(ign); err != nil || report.IsFatal() {
			t.Errorf("%s: %v, %v", ign, err, report)
		}
		if again, _, _ := Translate(text, options()); !bytes.Equal(ign, again) {
			t.Errorf("differs the second time: %s and %s", ign, again)
		}
	})
}

func unzip(t *testing.T, packed []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
