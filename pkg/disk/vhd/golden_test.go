package vhd

import (
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest/golden"
)

// TestGolden makes fixed and dynamic files of the shared images.
func TestGolden(t *testing.T) {
	sums := map[string]string{}
	for name, img := range disktest.Images(t, sectorSize) {
		fixed, err := Format(img, options)
		if err != nil {
			t.Fatal(err)
		}
		sums["fixed/"+name] = golden.Image(t, fixed)
		dynamic, err := formatDynamic(img)
		if err != nil {
			t.Fatal(err)
		}
		sums["dynamic/"+name] = golden.Image(t, dynamic)
	}
	golden.Check(t, sums)
}
