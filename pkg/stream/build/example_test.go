package build_test

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
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/build"
)

// Write writes the images of a plan, with the documents that describe them, into a
// folder. Open reads these documents.
func Example() {
	dir, err := os.MkdirTemp("", "build")
	check(err)
	defer os.RemoveAll(dir)
	reference, err := tinyos.Write(filepath.Join(dir, "os"), tinyos.Plain)
	check(err)
	ctx := context.Background()
	img, err := oci.Pull(ctx, reference, oci.Options{Cache: filepath.Join(dir, "cache"), Arch: "amd64"})
	check(err)
	defer img.Close()
	sys, err := system.New(img, system.Options{})
	check(err)
	plan, err := assemble.New(sys, assemble.Request{Platforms: cloud.Named("qemu", "aws")})
	check(err)

	images := filepath.Join(dir, "images")
	_, err = build.Write(ctx, images, plan, build.Options{})
	check(err)
	builds, err := build.Open(os.DirFS(images))
	check(err)
	for _, b := range builds {
		fmt.Println(b.Name, b.OSTreeVersion, b.BaseArch)
		for _, f := range b.Files {
			fmt.Println(f.Platform, f.Name, f.VirtualSize>>30, "GiB")
		}
	}
	// Output:
	// tinyos 44.20260731.1 x86_64
	// aws tinyos-44.20260731.1-aws.x86_64.vmdk 12 GiB
	// qemu tinyos-44.20260731.1-qemu.x86_64.qcow2 12 GiB
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
