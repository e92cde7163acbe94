package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"

	"github.com/diskfs/go-diskfs/partition/gpt"
)

// A disk is an image whose file systems can be read.
type disk struct {
	raw        string // path of the raw image
	scratch    string // mount points and copies
	guid       string
	bootCode   []byte
	partitions []partition
	mounted    []string
	commit     string // checksum of the deployed commit
}

type partition struct {
	name, kind  string
	start, size uint64 // bytes
}

const sector = 512

func openDisk(path string) (*disk, error) {
	scratch, err := os.MkdirTemp("", "compare-")
	if err != nil {
		return nil, err
	}
	d := &disk{raw: path, scratch: scratch}
	if err := d.open(path); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

func (d *disk) open(path string) error {
	head := make([]byte, 440)
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	_, err = f.ReadAt(head, 0)
	f.Close()
	if err != nil {
		return err
	}
	if bytes.HasPrefix(head, []byte("QFI\xfb")) {
		d.raw = filepath.Join(d.scratch, "disk.raw")
		if err := run("qemu-img", "convert", "-O", "raw", path, d.raw); err != nil {
			return err
		}
	}
	if err := d.readTable(); err != nil {
		return err
	}
	for _, p := range d.partitions {
		switch p.name {
		case "boot", "root":
			err = d.mount(p)
		case "EFI-SYSTEM":
			err = d.copyESP(p)
		}
		if err != nil {
			return fmt.Errorf("partition %s: %w", p.name, err)
		}
	}
	return d.findCommit()
}

func (d *disk) readTable() error {
	f, err := os.Open(d.raw)
	if err != nil {
		return err
	}
	defer f.Close()
	d.bootCode = make([]byte, 440)
	if _, err := f.ReadAt(d.bootCode, 0); err != nil {
		return err
	}
	table, err := gpt.Read(f, sector, sector)
	if err != nil {
		return fmt.Errorf("partition table: %w", err)
	}
	d.guid = table.GUID
	for _, p := range table.Partitions {
		if p.Type == gpt.Unused {
			continue
		}
		d.partitions = append(d.partitions, partition{p.Name, string(p.Type), p.Start * sector, (p.End - p.Start + 1) * sector})
	}
	return nil
}

func (d *disk) mount(p partition) error {
	dir := filepath.Join(d.scratch, p.name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	// XFS needs nouuid because both disks have the same UUID.
	options := fmt.Sprintf("ro,loop,offset=%d,sizelimit=%d", p.start, p.size)
	err := run("mount", "-o", options+",nouuid", "-t", "xfs", d.raw, dir)
	if err != nil {
		err = run("mount", "-o", options, d.raw, dir)
	}
	if err == nil {
		d.mounted = append(d.mounted, dir)
	}
	return err
}

// copyESP copies the files of the EFI system partition with mtools, because not every
// kernel can mount FAT.
func (d *disk) copyESP(p partition) error {
	dir := filepath.Join(d.scratch, "esp")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return run("mcopy", "-s", "-n", "-i", fmt.Sprintf("%s@@%d", d.raw, p.start), "::", dir)
}

var deployed = regexp.MustCompile(`/deploy/([0-9a-f]{64})\.0$`)

// findCommit follows the boot link to the deployment.
func (d *disk) findCommit() error {
	links, err := filepath.Glob(filepath.Join(d.scratch, "root/ostree/boot.1.1/*/*/0"))
	if err != nil || len(links) != 1 {
		return fmt.Errorf("%d boot links in ostree/boot.1.1, want one", len(links))
	}
	target, err := os.Readlink(links[0])
	if err != nil {
		return err
	}
	m := deployed.FindStringSubmatch(target)
	if m == nil {
		return fmt.Errorf("boot link leads to %s", target)
	}
	d.commit = m[1]
	return nil
}

func (d *disk) close() {
	for _, dir := range d.mounted {
		if err := run("umount", dir); err != nil {
			fmt.Fprintln(os.Stderr, "compare:", err)
		}
	}
	os.RemoveAll(d.scratch)
}

func run(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	return nil
}
