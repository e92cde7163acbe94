package boot

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/gpt"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// fullConfig creates the objects that the fixture's proof reports: a user, a file in
// /etc and a file in /var.
const fullConfig = `{
  "ignition": {"version": "3.3.0"},
  "passwd": {"users": [{"name": "fixuser", "uid": 1500, "groups": ["users"]}]},
  "storage": {"files": [
    {"path": "/etc/ignition-proof", "mode": 420, "contents": {"source": "data:,written-by-the-embedded-config"}},
    {"path": "/var/ignition-proof", "mode": 420, "contents": {"source": "data:,in-var-as-well"}}
  ]}
}
`

// A life is the sequence of boots of a disk of the full fixture.
type life struct {
	container, platform string
	rootFS              string
	firmware            Firmware
	kargs               []string
	again               bool // boots a second time
	grown               bool // the disk is four times as large before it boots, as clouds make it
}

// TestFull boots the full fixture: systemd, Ignition, ostree-prepare-root with
// composefs, and an SELinux policy. The disk keeps all changes, so that the second boot
// is one of the same machine.
func TestFull(t *testing.T) {
	t.Parallel()
	wanted(t, "full")
	config := filepath.Join(t.TempDir(), "config.ign")
	if err := os.WriteFile(config, []byte(fullConfig), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, l := range []life{
		{"full-base", "qemu", "xfs", BIOS, []string{"rootflags=prjquota"}, true, true},
		// ostree fsck on the booted system takes a while, so one life has it.
		{"full-base", "metal", "ext4", UEFI, []string{"console=ttyS0,115200n8", "fixture.fsck"}, true, true},
		{"full-chunked", "qemu", "xfs", UEFI, nil, false, false},
	} {
		args := []string{"--platform", l.platform, "--root-fs", l.rootFS, "--ignition", config, "--karg", "fixture.poweroff"}
		for _, k := range l.kargs {
			args = append(args, "--karg", k)
		}
		disk := build(t, reference(t, l.container), args...)[l.platform]
		t.Run(strings.Join([]string{l.container, l.platform, string(l.firmware)}, "/"), func(t *testing.T) {
			t.Parallel()
			l.live(t, disk)
		})
	}
}

// live boots the disk once or twice and asserts the proof of each boot.
func (l life) live(t *testing.T, disk string) {
	if l.grown {
		enlarge(t, disk)
	}
	o := Options{Disk: disk, Firmware: l.firmware, Memory: 1536, Keep: true}
	first := boot(t, o)
	l.system(first)
	l.own(first)
	first.argument("ignition.firstboot", true)
	if filepath.Ext(disk) == ".raw" {
		partitionTable(t, disk)
	}
	defer l.judge(t, disk)
	if !l.again || t.Failed() {
		return
	}
	second := boot(t, o)
	l.system(second)
	second.argument("ignition.firstboot", false)
	// Ignition did not run again, and the machine is the same.
	for _, key := range []string{"ignition-result", "fixuser", "core", "disk", "uuid boot", "uuid root", "root-size"} {
		second.is(key, first.Get(key))
	}
}

// system asserts the facts common to both boots.
func (l life) system(m *machine) {
	m.t.Helper()
	m.is("firmware", string(l.firmware))
	m.is("ostree-booted", "yes")
	m.argument("ignition.platform.id="+l.platform, true)
	m.has("ostree-status", "ohpfixture")

	// The root is composefs, and all files of the container are read-only.
	m.has("mount /", "composefs overlay ro,", "/sysroot/ostree/repo/objects")
	m.has("mount /sysroot", l.rootFS+" ro,")
	if slices.Contains(l.kargs, "rootflags=prjquota") {
		m.has("mount /sysroot", ",prjquota")
	}
	for path, want := range map[string]string{"/": "no", "/usr": "no", "/sysroot": "no", "/etc": "yes", "/var": "yes", "/boot": "yes"} {
		m.is("writable "+path, want)
	}

	// Ignition has applied the embedded config, once.
	m.has("fixuser", "uid=1500(fixuser)", "home=/var/home/fixuser", "fixuser 700")
	m.has("core", "(sudo)", "home=/var/home/core")
	m.is("/etc/ignition-proof", "written-by-the-embedded-config")
	m.is("/var/ignition-proof", "in-var-as-well")
	m.is("stamp", "absent")
	m.is("ignition-config", "absent")

	// Incomplete copies of a tree often lack these attributes.
	m.has("capability", "cap_net_raw")
	m.is("setuid", "4755 0 0")
	m.has("selinux", "pid1=init_t")
	m.has("labels", "/etc=etc_t ", "/etc/shadow=shadow_t ", "/etc/ignition-proof=etc_t ", "/usr/bin/bash=shell_exec_t ",
		"/var=var_t ", "/var/log=var_log_t ", "/var/home/core=user_home_dir_t ", "/boot=boot_t")
	if strings.Contains(m.Get("labels"), "unlabeled_t") {
		m.t.Errorf("labels=%q: something is not labelled", m.Get("labels"))
	}
	m.is("failed", "")
	for _, k := range l.kargs {
		if k == "fixture.fsck" {
			m.is("fsck", "clean")
			m.is("unlabeled", "0")
		}
	}
}

// judge checks the file systems of a disk after a system has used it.
func (l life) judge(t *testing.T, disk string) {
	if !treetest.IsRoot(t) {
		return
	}
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole")
	treetest.Run(t, "qemu-img", "convert", "-O", "raw", disk, whole)
	f, err := os.Open(whole)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	table, err := gpt.Read(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]string{"boot": "ext4", "root": l.rootFS}
	for _, p := range table.Partitions {
		kind := kinds[p.Name]
		if kind == "" {
			continue
		}
		path := filepath.Join(dir, p.Name)
		treetest.Run(t, "dd", "if="+whole, "of="+path, "bs=1M", "iflag=skip_bytes,count_bytes", "conv=sparse", "status=none",
			fmt.Sprint("skip=", p.Start), fmt.Sprint("count=", p.Size))
		if err := os.Truncate(path, p.Size); err != nil {
			t.Fatal(err)
		}
		_, unmount := treetest.Mount(t, kind, path) // replays the log
		unmount()
		treetest.Judge(t, kind, path)
	}
}

// enlarge enlarges a disk to four times its size.
func enlarge(t *testing.T, disk string) {
	t.Helper()
	info, err := exec.Command("qemu-img", "info", "--output=json", disk).Output()
	var is struct {
		Size int64 `json:"virtual-size"`
	}
	if err == nil {
		err = json.Unmarshal(info, &is)
	}
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("qemu-img", "resize", "-f", strings.TrimPrefix(filepath.Ext(disk), "."), disk, fmt.Sprint(4*is.Size)).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// own asserts that the first boot gave the disk unique identifiers, and all of its
// space to the root file system.
func (l life) own(m *machine) {
	m.t.Helper()
	for key, fresh := range map[string]string{
		"disk": "00000000-0000-4000-a000-000000000001", "uuid boot": "96d15588-3596-4b3c-adca-a2ff7279ea63", "uuid root": "910678ff-f77e-4a7d-8d53-86f2ac47a823",
	} {
		if got := m.Get(key); len(got) < 36 || strings.HasPrefix(got, fresh) {
			m.t.Errorf("%s=%q after the first boot", key, got)
		}
	}
	var id string
	var disk, root int64
	if _, err := fmt.Sscanf(m.Get("disk")+" "+m.Get("root-size"), "%s %d bytes %d bytes", &id, &disk, &root); err != nil {
		m.t.Errorf("disk=%q root-size=%q: %v", m.Get("disk"), m.Get("root-size"), err)
	}
	// File systems do not count their own metadata.
	if rest := disk - 514<<20; root < rest*9/10 || root > rest {
		m.t.Errorf("the root has %d bytes on a disk of %d", root, disk)
	}
}

// partitionTable checks both copies of the partition table of a booted disk with
// sgdisk.
func partitionTable(t *testing.T, disk string) {
	t.Helper()
	if _, err := exec.LookPath("sgdisk"); err != nil && os.Getenv("OHP_TOOLS") != "required" {
		t.Log("sgdisk not installed: the partition table is not judged")
		return
	}
	out, err := exec.Command("sgdisk", "-v", disk).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "No problems found") {
		t.Errorf("sgdisk -v after the first boot: %v\n%s", err, out)
	}
}
