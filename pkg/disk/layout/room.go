package layout

import (
	"fmt"
	"path"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/ext4"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/coreos"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/usage"
)

// formatBoot lays out the boot file system. If there is no room, the error
// names the files that take most of it.
func (b *Base) formatBoot(boot *rootfs.Inode, v Variant) (*disk.Image, error) {
	size := b.sizes.boot
	o := ext4.Options{Size: size.Bytes, BlockSize: b.firmware.bootBlock, Label: "boot", UUID: bootUUID, Time: b.options.Time}
	img, err := ext4.Format(boot, o)
	if err == nil {
		return img, nil
	}
	need, sizeErr := ext4.Size(boot, o)
	if sizeErr != nil || need <= size.Bytes {
		return nil, fmt.Errorf("partition boot: %w", err)
	}
	modules := path.Join("usr/lib/modules", b.deployment.Kernel)
	var files []string
	for _, name := range []string{"vmlinuz", "initramfs.img", "devicetree", "dtb"} {
		if n := b.deployment.System.Resolve(path.Join(modules, name)); n != nil {
			files = append(files, fmt.Sprintf("%s (%s)", path.Join(modules, name), people(fileBytes(n))))
		}
	}
	if len(v.Ignition) >= mib {
		files = append(files, fmt.Sprintf("the Ignition config (%s)", people(int64(len(v.Ignition)))))
	}
	return nil, usage.Avoidable{Field: "Boot", Err: fmt.Errorf("partition boot of %s, chosen by %s, is too small for %s: want at least %d MiB",
		size, size.By, strings.Join(files, ", "), roundUp(need)/mib)}
}

// warnings returns warnings about room that the disk lacks.
func (b *Base) warnings(boot *rootfs.Inode, bootFS *disk.Image) []string {
	var all []string
	// An update puts its kernel beside that of the running system.
	kernel := fileBytes(boot.Lookup("ostree"))
	free, err := ext4.Free(bootFS)
	if err != nil {
		panic(err) // it was made here
	}
	if need, room := 2*kernel+2*kernel/10, free+kernel; need > room {
		all = append(all, fmt.Sprintf("/boot has %d MiB for kernels, and the kernels and initramfs of two deployments, with 10 %% to spare, need %d MiB (2 x %d MiB): updates may fail for lack of room; %s is chosen by %s",
			room/mib, roundUp(need)/mib, roundUp(kernel)/mib, b.sizes.boot, b.sizes.boot.By))
	}
	if root := b.sizes.root; b.rootFS.Size() < root.Bytes {
		all = append(all, fmt.Sprintf("%s: root of %s does not fit on the disk, root has %s", root.Place(), root, people(b.rootFS.Size())))
	}
	return all
}

// fileBytes is how many bytes the files below n have.
func fileBytes(n *rootfs.Inode) int64 {
	var sum int64
	for _, in := range n.Walk() {
		if in.IsFile() {
			sum += in.Size()
		}
	}
	return sum
}

// people writes a number of bytes for people.
func people(n int64) string { return coreos.Size{Bytes: n}.String() }
