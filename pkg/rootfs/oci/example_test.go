package oci_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/oci"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest/tinyos"
)

// Resolve reads the manifest and the config of an image, and Fetch its layers. The
// content of a layer can then be read at any offset. The container of this example
// is in a folder; references of registries have the form registry.example/os:43.
func Example() {
	dir, err := os.MkdirTemp("", "oci")
	check(err)
	defer os.RemoveAll(dir)
	reference, err := tinyos.Write(filepath.Join(dir, "os"), tinyos.Plain)
	check(err)

	ctx := context.Background()
	m, err := oci.Resolve(ctx, reference, oci.Options{Cache: filepath.Join(dir, "cache"), Arch: "arm64"})
	check(err)
	fmt.Println(m.Arch, m.Labels["org.opencontainers.image.version"], len(m.Layers), "layers")

	img, err := m.Fetch(ctx)
	check(err)
	defer img.Close()
	lowest := img.Layers[0]
	index, err := lowest.Index()
	check(err)
	for _, e := range index.Entries {
		if e.Name == "usr/lib/os-release" {
			p := make([]byte, 6)
			_, err := lowest.Blob(e.Off, e.Size).ReadAt(p, 5)
			check(err)
			fmt.Printf("%s has %d bytes, from byte 5: %s\n", e.Name, e.Size, p)
		}
	}
	// Output:
	// arm64 44.20260731.1 2 layers
	// usr/lib/os-release has 71 bytes, from byte 5: TinyOS
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
