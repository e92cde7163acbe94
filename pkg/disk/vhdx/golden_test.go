package vhdx

import (
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest/golden"
)

// TestGolden writes files of the shared images.
func TestGolden(t *testing.T) {
	sums := map[string]string{}
	for name, img := range disktest.Images(t, sectorSize) {
		file, err := Format(img, Options{ID: [16]byte{1, 2, 3}})
		if err != nil {
			t.Fatal(err)
		}
		sums[name] = golden.Image(t, file)
	}
	golden.Check(t, sums)
}
