package judges

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const config = `{"ignition":{"version":"3.3.0"},"storage":{"files":[{"path":"/etc/installed","contents":{"source":"data:,yes"}}]}}`

// standIns replace two programs that coreos-installer calls, for machines without udev
// and without partition support in the kernel.
var standIns = map[string]string{
	"udevadm": `#!/bin/sh
[ "$1" != settle ] || partx -u "$DISK" 2>/dev/null
exit 0
`,
	// A line of --pairs has the values of udev, read by blkid.
	"lsblk": `#!/bin/bash
real() { PATH=/usr/bin:/bin lsblk "$@"; }
[[ " $* " == *" --pairs "* ]] || { real "$@"; exit; }
real "$@" | while read -r line; do
	name=$(sed -n 's/.*\bNAME="\([^"]*\)".*/\1/p' <<<"$line")
	[[ $name == /* ]] || name=/dev/$name
	for field in LABEL FSTYPE UUID; do
		key=${field/FSTYPE/TYPE}
		value=$(blkid -p -o value -s "$key" "$name" 2>/dev/null)
		line=$(sed "s|\b$field=\"[^\"]*\"|$field=\"$value\"|" <<<"$line")
	done
	echo "$line"
done
`,
}

// An installer is coreos-installer with the programs and files that it needs.
type installer struct {
	t       *testing.T
	program string
	bin     string // folder of the stand-ins
}

func newInstaller(t *testing.T) *installer {
	in := &installer{t, filepath.Join(judge(t, "coreos-installer"), "coreos-installer"), t.TempDir()}
	for name, text := range standIns {
		if err := os.WriteFile(filepath.Join(in.bin, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return in
}

// on runs the installer with a block device, in a mount namespace that pretends that
// udev is running.
func (in *installer) on(device string, args ...string) string {
	in.t.Helper()
	const script = `mkdir -p /run/udev; mount -t tmpfs tmpfs /run/udev; : >/run/udev/control; exec "$@"`
	return run(in.t, ".", append([]string{"env", "DISK=" + device, "PATH=" + in.bin + ":" + os.Getenv("PATH"),
		"unshare", "--mount", "--propagation", "private", "sh", "-euc", script, "sh", in.program}, args...)...)
}

// loop makes a block device of a new file.
func loop(t *testing.T, sector int, size int64) (device, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	device = strings.TrimSpace(run(t, ".", "losetup", "-P", "-b", fmt.Sprint(sector), "--show", "-f", path))
	t.Cleanup(func() { run(t, ".", "losetup", "-d", device) })
	return device, path
}

// TestInstall writes disks of both sector sizes and in each compression with
// coreos-installer, which changes arguments, consoles, platform and Ignition config.
func TestInstall(t *testing.T) {
	in := newInstaller(t)
	dir := t.TempDir()
	ref := fixture(t, "tiny-base")
	ign := filepath.Join(dir, "config.ign")
	if err := os.WriteFile(ign, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, compression := range []string{"none", "xz", "gzip", "zstd"} {
		images := build(t, filepath.Join(dir, compression), ref, "--platform", "metal,metal4k", "--compress", compression)
		for platform, sector := range map[string]int{"metal": 512, "metal4k": 4096} {
			t.Run(platform+"/"+compression, func(t *testing.T) {
				device, path := loop(t, sector, 3<<30)
				in := *in
				in.t = t
				in.on(device, "install", "--insecure", "--image-file", images[platform], "--ignition-file", ign, "--append-karg", "a=b", "--delete-karg", "rw",
					"--console", "ttyS0,115200n8", "--platform", "qemu", device)
				installed(t, path)
			})
		}
	}
}

// installed inspects an installed disk with this project's own reader.
func installed(t *testing.T, path string) {
	t.Helper()
	var disk struct {
		Entries []struct{ Options string } `json:"boot_entries"`
	}
	out := assemble(t, ".", "inspect", path, "--format", "json")
	if err := json.Unmarshal([]byte(out), &disk); err != nil {
		t.Fatal(err)
	}
	if len(disk.Entries) != 1 {
		t.Fatal(out)
	}
	kargs := strings.Fields(disk.Entries[0].Options)
	for _, want := range []string{"a=b", "console=ttyS0,115200n8", "ignition.platform.id=qemu"} {
		if !slices.Contains(kargs, want) {
			t.Errorf("no %s among %q", want, kargs)
		}
	}
	for _, unwanted := range []string{"rw", "ignition.platform.id=metal"} {
		if slices.Contains(kargs, unwanted) {
			t.Errorf("%s among %q", unwanted, kargs)
		}
	}
	if got := assemble(t, ".", "cat", path, "/boot/ignition/config.ign"); !strings.Contains(got, "/etc/installed") {
		t.Errorf("Ignition config %q", got)
	}
}

// TestStream finds, downloads and installs images of stream metadata with
// coreos-installer.
func TestStream(t *testing.T) {
	in := newInstaller(t)
	dir := t.TempDir()
	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	t.Cleanup(server.Close)
	images := build(t, filepath.Join(dir, "builds"), fixture(t, "tiny-base"), "--platform", "metal,metal4k,qemu", "--compress", "platform")
	if err := os.Mkdir(filepath.Join(dir, "streams"), 0o755); err != nil {
		t.Fatal(err)
	}
	assemble(t, dir, "stream", "make", "builds", "--stream", "stable", "--base-url", server.URL+"/builds", "-o", "streams/stable.json")
	base := []string{"--stream-base-url", server.URL + "/streams/"}
	if list := in.on("", append([]string{"list-stream", "-s", "stable"}, base...)...); !strings.Contains(list, "metal") || !strings.Contains(list, "raw.xz") {
		t.Errorf("list-stream: %s", list)
	}
	in.on("", append([]string{"download", "--insecure", "-s", "stable", "-p", "metal", "-f", "raw.xz", "-C", dir}, base...)...)
	run(t, dir, "cmp", filepath.Base(images["metal"]), images["metal"])
	ign := filepath.Join(dir, "config.ign")
	if err := os.WriteFile(ign, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, sector := range []int{512, 4096} {
		device, path := loop(t, sector, 3<<30)
		in.on(device, append([]string{"install", "--insecure", "-s", "stable", "--ignition-file", ign, "--append-karg", "a=b", "--delete-karg", "rw",
			"--console", "ttyS0,115200n8", "--platform", "qemu", device}, base...)...)
		installed(t, path)
	}
}

// TestOsmet packs a metal disk with coreos-installer into the format of live ISOs, which
// stores the places of its blocks in the files of the root file system, and unpacks it.
func TestOsmet(t *testing.T) {
	in := newInstaller(t)
	dir := t.TempDir()
	images := build(t, dir, fixture(t, "tiny-base"), "--platform", "metal,metal4k")
	for platform, sector := range map[string]int{"metal": 512, "metal4k": 4096} {
		t.Run(platform, func(t *testing.T) {
			in := *in
			in.t = t
			disk := images[platform]
			info, err := os.Stat(disk)
			if err != nil {
				t.Fatal(err)
			}
			device := strings.TrimSpace(run(t, ".", "losetup", "-P", "-r", "-b", fmt.Sprint(sector), "--show", "-f", disk))
			t.Cleanup(func() { run(t, ".", "losetup", "-d", device) })
			run(t, ".", "partx", "-u", device)
			sum, _, _ := strings.Cut(run(t, ".", "sha256sum", disk), " ")
			osmet := filepath.Join(t.TempDir(), "osmet")
			in.on(device, "pack", "osmet", "--fast", "--output", osmet, "--checksum", sum, "--description", platform, device)

			root := t.TempDir()
			run(t, ".", "mount", "-o", "ro,nouuid,norecovery", device+"p4", root)
			t.Cleanup(func() { run(t, ".", "umount", root) })
			again, path := loop(t, sector, info.Size())
			in.on(again, "dev", "extract", "osmet", "--osmet", osmet, filepath.Join(root, "ostree/repo"), again)
			run(t, ".", "cmp", disk, path)
		})
	}
}
