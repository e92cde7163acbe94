package disk_test

import (
	"fmt"
	"log"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
)

// An image is a size and content at offsets. The rest of it is holes, which read
// as zeros.
func ExampleNew() {
	img, err := disk.New(1<<40,
		disk.Extent{Off: 4096, Blob: strings.NewReader("hello")},
		disk.Extent{Off: 1 << 39, Blob: strings.NewReader("far away")})
	if err != nil {
		log.Fatal(err)
	}
	p := make([]byte, 8)
	if _, err := img.ReadAt(p, 4094); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d bytes, %d of them content\n%q\n", img.Size(), img.Allocated(), p)
	// Output:
	// 1099511627776 bytes, 13 of them content
	// "\x00\x00hello\x00"
}

// An image is content as well, so that images nest. Segments shows the origin of
// all bytes. The content of this example is literal; that of files from a
// container has the kind [disk.Source].
func ExampleImage_Segments() {
	partition, err := disk.New(8192, disk.Extent{Off: 1024, Blob: strings.NewReader("superblock")})
	if err != nil {
		log.Fatal(err)
	}
	img, err := disk.New(16384, disk.Extent{Off: 0, Blob: strings.NewReader("table")}, disk.Extent{Off: 4096, Blob: partition})
	if err != nil {
		log.Fatal(err)
	}
	for s := range img.Segments() {
		if s.Kind == disk.Hole {
			fmt.Println(s.Off, s.Len, "hole")
			continue
		}
		p := make([]byte, s.Len)
		if _, err := s.Blob.ReadAt(p, 0); err != nil {
			log.Fatal(err)
		}
		fmt.Println(s.Off, s.Len, string(p))
	}
	// Output:
	// 0 5 table
	// 5 5115 hole
	// 5120 10 superblock
	// 5130 11254 hole
}
