package boot

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/raw"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/xfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// scrub is a script that runs xfs_scrub on the root and on more disks, and changes some
// of the disks. It prints a proof line, without progress, counts and remarks about
// the kernel's own choices: quotas that are only in the first superblock, and
// attributes that were added one by one.
const scrub = `
check() { # NAME WHEN
	local said status
	said=$(xfs_scrub -n /run/scrub 2>&1)
	status=$?
	said=$(grep -v -e '^EXPERIMENTAL' -e '^Phase' -e '^$' -e '^Info: .*Optimization' -e 'data used;' -e 'data found;' <<<"$said" | tr '\n' ' ')
	echo "<1>PROOF: scrub $1 $2=$status ${said:0:700}" >/dev/kmsg
}
echo on >/proc/sys/kernel/printk_devkmsg
mkdir /run/scrub
mount -t xfs /dev/disk/by-label/root /run/scrub
check root fresh
umount /run/scrub
for disk in /dev/disk/by-id/virtio-xfs-*; do
	name=${disk##*-}
	mount -t xfs -o nouuid,prjquota "$disk" /run/scrub
	echo "<1>PROOF: quota $name=$(findmnt -n -o OPTIONS /run/scrub)" >/dev/kmsg
	check "$name" fresh
	cp -a /usr/lib/systemd /run/scrub/copy
	rm -rf /run/scrub/copy/system /run/scrub/crowd/1*
	setfattr -n user.more -v "$(printf '%03000d' 1)" /run/scrub/*
	check "$name" used
	umount /run/scrub
done
`

const scrubUnit = `[Unit]
Before=ohp-proof.service
After=local-fs.target boot.mount
[Service]
Type=oneshot
ExecStart=/bin/bash /etc/scrub
[Install]
WantedBy=multi-user.target
`

// TestScrub checks the root file system of a booted system, and file systems with
// features of every generation, with xfs_scrub. It is the strictest check of XFS and
// needs a running kernel.
func TestScrub(t *testing.T) {
	t.Parallel()
	wanted(t, "full")
	config, err := json.Marshal(map[string]any{
		"ignition": map[string]any{"version": "3.3.0"},
		"systemd":  map[string]any{"units": []any{map[string]any{"name": "scrub.service", "enabled": true, "contents": scrubUnit}}},
		"storage": map[string]any{"files": []any{map[string]any{
			"path": "/etc/scrub", "mode": 0o755,
			"contents": map[string]any{"source": "data:;base64," + base64.StdEncoding.EncodeToString([]byte(scrub))},
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "config.ign")
	if err := os.WriteFile(file, config, 0o644); err != nil {
		t.Fatal(err)
	}
	disk := build(t, reference(t, "full-base"), "--platform", "qemu", "--root-fs", "xfs", "--ignition", file, "--karg", "fixture.poweroff")["qemu"]
	o := Options{Disk: disk, Memory: 1536, Keep: true}
	more := map[string]xfs.Options{
		"old":    {Features: xfs.LTS4_19, Groups: 5},
		"usual":  {Features: xfs.LTS6_1, SectorSize: 4096},
		"newest": {Features: xfs.LTS6_6},
	}
	for name, options := range more {
		path := filepath.Join(dir, name)
		writeTrees(t, path, options)
		sector := max(options.SectorSize, 512)
		o.Args = append(o.Args, "-drive", fmt.Sprintf("if=none,id=%s,file=%s,format=raw,cache=unsafe", name, path),
			"-device", fmt.Sprintf("virtio-blk-pci,drive=%[1]s,serial=xfs-%[1]s,logical_block_size=%[2]d,physical_block_size=%[2]d", name, sector))
	}
	m := boot(t, o)
	m.is("scrub root fresh", "0")
	for name := range more {
		m.has("quota "+name, "prjquota")
		for _, when := range []string{"fresh", "used"} {
			m.is("scrub "+name+" "+when, "0")
		}
		treetest.Judge(t, "xfs", filepath.Join(dir, name))
	}
}

// writeTrees writes a file system with the difficult trees of treetest.
func writeTrees(t *testing.T, path string, o xfs.Options) {
	t.Helper()
	root := rootfs.Dir(0o755)
	for seed := range uint64(3) {
		root.Children[fmt.Sprint("random-", seed)] = treetest.Random(seed)
	}
	crowd, one := rootfs.Dir(0o755), rootfs.Text(0o644, "one of many")
	for i := range 6000 {
		crowd.Children[fmt.Sprintf("%d-%s", i, strings.Repeat("x", i%100))] = one
	}
	root.Children["crowd"] = crowd
	many := rootfs.Text(0o644, "many attributes")
	many.Xattrs = map[string]string{"user.large": strings.Repeat("v", 60_000)}
	for i := range 200 {
		many.Xattrs[fmt.Sprint("user.", i)] = strings.Repeat("v", 3*i)
	}
	root.Children["many"] = many
	for _, in := range root.Walk() {
		for name, child := range in.Children {
			// Device numbers of XFS are smaller than those of ext4.
			if major, minor := child.Device(); major > 511 || minor >= 1<<18 {
				delete(in.Children, name)
			}
		}
	}
	o.Size, o.Label = 1<<30, filepath.Base(path)
	img, err := xfs.Format(root, o)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := raw.WriteFile(f, img, nil); err != nil {
		t.Fatal(err)
	}
}
