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

// From a container to image files. The container of this example is in a folder;
// references of registries have the form registry.example/os@sha256:...
func Example() {
	dir, err := os.MkdirTemp("", "assemble")
	check(err)
	defer os.RemoveAll(dir)
	reference, err := tinyos.Write(filepath.Join(dir, "os"), tinyos.Plain)
	check(err)

	ctx := context.Background()
	m, err := oci.Resolve(ctx, reference, oci.Options{Cache: filepath.Join(dir, "cache"), Arch: "amd64"})
	check(err)
	img, err := m.Fetch(ctx)
	check(err)
	defer img.Close()
	sys, err := system.New(img, system.Options{})
	check(err)
	plan, err := assemble.New(sys, assemble.Request{
		Platforms: cloud.Named("qemu", "aws"), Ignition: []byte(`{"ignition": {"version": "3.5.0"}}`),
	})
	check(err)
	for _, file := range plan.Files {
		written, err := file.WriteTo(ctx, filepath.Join(dir, file.Name))
		check(err)
		fmt.Println(written.Name, written.VirtualSize>>30, "GiB")
	}
	// Output:
	// tinyos-44.20260731.1-qemu.x86_64.qcow2 12 GiB
	// tinyos-44.20260731.1-aws.x86_64.vmdk 12 GiB
}

// Many files can be read without being written: all bytes of a VHDX file are
// known from the plan. Its content is that of the container's layers. A
// streamOptimized VMDK must be compressed to be known.
func ExampleFile_Image() {
	dir, err := os.MkdirTemp("", "assemble")
	check(err)
	defer os.RemoveAll(dir)
	reference, err := tinyos.Write(filepath.Join(dir, "os"), tinyos.Plain)
	check(err)
	img, err := oci.Pull(context.Background(), reference, oci.Options{Cache: filepath.Join(dir, "cache"), Arch: "amd64"})
	check(err)
	defer img.Close()
	sys, err := system.New(img, system.Options{})
	check(err)
	plan, err := assemble.New(sys, assemble.Request{Platforms: cloud.Named("hyperv", "aws")})
	check(err)

	for _, file := range plan.Files {
		image, ok := file.Image()
		if !ok {
			fmt.Println(file.Type.Format, "must be compressed to be known")
			continue
		}
		p := make([]byte, 4)
		_, err := image.ReadAt(p, 256<<10) // the region table of the file
		check(err)
		fmt.Printf("%s %q\n", file.Type.Format, p)
	}
	// Output:
	// vhdx "regi"
	// vmdk must be compressed to be known
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
