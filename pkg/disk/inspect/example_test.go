package inspect_test

import (
	"fmt"
	"log"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/ext4"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/gpt"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/inspect"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// Open takes any reader of a disk and the size. This example makes a disk in memory
// in place of a file.
func Example() {
	root := rootfs.Dir(0o755)
	if err := root.Place("etc/os-release", rootfs.Text(0o644, "ID=example\n")); err != nil {
		log.Fatal(err)
	}
	const mib = 1 << 20
	fs, err := ext4.Format(root, ext4.Options{Size: 16 * mib, Label: "root"})
	if err != nil {
		log.Fatal(err)
	}
	file, err := gpt.Layout(18*mib, gpt.Options{DiskGUID: gpt.GUID{1}},
		gpt.Partition{Number: 4, Name: "root", Type: gpt.RootX86_64, ID: gpt.GUID{2}, Start: mib, Content: fs})
	if err != nil {
		log.Fatal(err)
	}

	disk, err := inspect.Open(file, file.Size())
	if err != nil {
		log.Fatal(err)
	}
	for _, p := range disk.Partitions() {
		fmt.Println(p.Number, p.Name, p.Filesystem, p.Size)
	}
	system, err := disk.Booted()
	if err != nil {
		log.Fatal(err)
	}
	text, err := system.Root.ReadFile("etc/os-release", 1<<20)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s", text)
	// Output:
	// 4 root ext4 16777216
	// ID=example
}
