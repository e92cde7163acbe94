package system_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/oci"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/system"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest/tinyos"
)

// New deploys the operating system of a container. The trees of the system read
// their content from the layers, so the image stays open.
func Example() {
	dir, err := os.MkdirTemp("", "system")
	check(err)
	defer os.RemoveAll(dir)
	reference, err := tinyos.Write(filepath.Join(dir, "os"), tinyos.Plain)
	check(err)
	img, err := oci.Pull(context.Background(), reference, oci.Options{Cache: filepath.Join(dir, "cache"), Arch: "amd64"})
	check(err)
	defer img.Close()

	sys, err := system.New(img, system.Options{Origin: "ostree-unverified-registry:registry.example/os:stable"})
	check(err)
	fmt.Println(sys.Name, sys.Version, sys.Arch)
	motd, err := sys.Deployment.System.ReadFile("usr/etc/motd", 1<<20)
	check(err)
	fmt.Printf("%s", motd)
	fmt.Println("updates from", sys.Origin)
	// Output:
	// tinyos 44.20260731.1 x86_64
	// welcome
	// updates from ostree-unverified-registry:registry.example/os:stable
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
