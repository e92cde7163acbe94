package assemble_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/assemble"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/oci"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/system"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest/tinyos"
)

// From a container to image files. The container of this example is a synthetic
// one in a folder; usually the reference is that of a registry.
func Example() {
	dir, err := os.MkdirTemp("", "assemble")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	reference, err := tinyos.Write(filepath.Join(dir, "os"), tinyos.Plain)
	if err != nil {
		log.Fatal(err)
	}

	ctx := context.Background()
	img, err := oci.Pull(ctx, reference, oci.Options{Cache: filepath.Join(dir, "cache"), Arch: "amd64"})
	if err != nil {
		log.Fatal(err)
	}
	defer img.Close()
	sys, err := system.New(img, system.Options{})
	if err != nil {
		log.Fatal(err)
	}
	plan, err := assemble.New(sys, assemble.Request{Platforms: cloud.Named("qemu", "aws"), Kargs: []string{"quiet"}})
	if err != nil {
		log.Fatal(err)
	}
	for _, file := range plan.Files {
		written, err := file.WriteTo(ctx, filepath.Join(dir, file.Name))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(written.Name, written.VirtualSize>>30, "GiB")
	}
	// Output:
	// tinyos-44.20260731.1-qemu.x86_64.qcow2 12 GiB
	// tinyos-44.20260731.1-aws.x86_64.vmdk 12 GiB
}
