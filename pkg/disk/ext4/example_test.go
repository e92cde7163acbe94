package ext4_test

import (
	"fmt"
	"log"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/ext4"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// Format lays a tree out as a file system. The result is a plan of 16 MiB that can
// be read at any offset: here, the reader of this package reads it.
func ExampleFormat() {
	root := rootfs.Dir(0o755)
	if err := root.Place("etc/hostname", rootfs.Text(0o644, "example\n")); err != nil {
		log.Fatal(err)
	}
	if err := root.Place("etc/name", rootfs.Link("hostname")); err != nil {
		log.Fatal(err)
	}
	img, err := ext4.Format(root, ext4.Options{Size: 16 << 20, Label: "root"})
	if err != nil {
		log.Fatal(err)
	}

	again, err := ext4.Read(img)
	if err != nil {
		log.Fatal(err)
	}
	for name, in := range again.Walk() {
		fmt.Printf("%06o %s\n", in.Mode, name)
	}
	text, err := again.ReadFile("etc/name", 100)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s", text)
	// Output:
	// 040755 .
	// 040755 etc
	// 100644 etc/hostname
	// 120777 etc/name
	// example
}
