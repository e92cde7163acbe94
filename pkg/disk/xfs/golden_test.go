package xfs

import (
	"fmt"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest/golden"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// TestGolden lays out all kinds of trees with every set of features, both sizes
// of sectors, whole and in pieces.
func TestGolden(t *testing.T) {
	sums := map[string]string{}
	for _, c := range []struct {
		name string
		o    Options
	}{
		{"6.1", options(gib)},
		{"6.1 4k in pieces", Options{Size: gib, SectorSize: 4096, stride: 3}},
		{"4.19 4k", Options{Size: 1100 << 20, SectorSize: 4096, Features: LTS4_19, Groups: 4}},
		{"5.10 in pieces", Options{Size: 600 << 20, Features: LTS5_10, stride: 1}},
		{"6.6 in pieces", Options{Size: gib, Features: LTS6_6, stride: 3, Label: "root"}},
	} {
		trees := cases()
		for seed := range uint64(8) {
			trees = append(trees, treetest.Case{Name: fmt.Sprint("random ", seed), Root: fit(randomTree(seed))})
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
