package vhd

import (
	"io"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest/golden"
)

// TestGolden makes fixed and dynamic files of the shared images.
func TestGolden(t *testing.T) {
	sums := map[string]string{}
	for name, img := range disktest.Images(t, sectorSize) {
		fixed, err := Fixed(img, options)
		if err != nil {
			t.Fatal(err)
		}
		sums["fixed/"+name] = golden.Image(t, fixed)
		sums["dynamic/"+name] = golden.Sum(t, func(w io.Writer) error { return WriteDynamic(w, img, options) })
	}
	golden.Check(t, sums)
}
