package gpt

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest/golden"
)

// TestGolden lays out disks of both sizes of sectors, with and without boot code.
func TestGolden(t *testing.T) {
	sums := map[string]string{}
	for _, size := range []int64{600 * mib, 10<<30 + 4096, 3 << 40} {
		for _, o := range []Options{
			{DiskGUID: diskGUID}, {DiskGUID: diskGUID, BootCode: bytes.Repeat([]byte{0xCC}, 440)}, {DiskGUID: id(9), SectorSize: 4096},
		} {
			parts := coreos(size)
			parts[1].Content = strings.NewReader("content of a partition")
			parts = append(parts[:3], Partition{Number: 128, Name: "ümläut 🎉", Type: LinuxData, ID: id(7), Size: 8192}, parts[3])
			parts[4].Start, parts[4].Size = 520*mib, End(size)-520*mib
			img, err := Layout(size, o, parts...)
			if err != nil {
				t.Fatal(err)
			}
			sums[fmt.Sprintf("%d bytes, sectors of %d, boot code of %d", size, o.SectorSize, len(o.BootCode))] = golden.Image(t, img)
		}
	}
	golden.Check(t, sums)
}
