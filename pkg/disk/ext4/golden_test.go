package ext4

import (
	"fmt"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest/golden"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// TestGolden lays out all kinds of trees with both sizes of blocks, whole and in
// pieces, with and without a journal.
func TestGolden(t *testing.T) {
	sums := map[string]string{}
	for _, c := range []struct {
		name string
		o    Options
	}{
		{"boot", bootOptions()},
		{"1k in pieces", Options{Size: 400 * miB, BlockSize: 1024, UUID: bootUUID, stride: 3, JournalSize: -1, ReservedPercent: -1}},
		{"4k", Options{Size: 1 << 30, BlockSize: 4096, Label: "root", UUID: bootUUID, HashSeed: [16]byte{1}, Inodes: 90000}},
		{"4k in pieces", Options{Size: 1 << 30, BlockSize: 4096, UUID: bootUUID, Time: made, stride: 3, JournalSize: 16 * miB}},
	} {
		block := c.o.BlockSize
		if block == 0 {
			block = 1024
		}
		trees := treetest.Cases(block)
		for seed := range uint64(8) {
			trees = append(trees, treetest.Case{Name: fmt.Sprint("random ", seed), Root: treetest.Random(seed)})
		}
		for _, tree := range trees {
			if testing.Short() && tree.Name == "big file" {
				continue
			}
			name := c.name + "/" + tree.Name
			img, err := Format(tree.Root, c.o)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			sums[name] = golden.Image(t, img)
		}
	}
	golden.Check(t, sums)
}
