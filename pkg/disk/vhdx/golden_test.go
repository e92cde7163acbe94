package vhdx

import (
	"io"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest/golden"
)

// TestGolden writes files of the shared images.
func TestGolden(t *testing.T) {
	sums := map[string]string{}
	for name, img := range disktest.Images(t, sectorSize) {
		sums[name] = golden.Sum(t, func(w io.Writer) error { return Write(w, img, Options{ID: [16]byte{1, 2, 3}}) })
	}
	golden.Check(t, sums)
}
