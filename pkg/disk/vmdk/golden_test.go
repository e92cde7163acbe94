package vmdk

import (
	"io"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest/golden"
)

// TestGolden writes streamOptimized files of the shared images.
func TestGolden(t *testing.T) {
	sums := map[string]string{}
	for name, img := range disktest.Images(t, sectorSize) {
		sums["stream/"+name] = golden.Sum(t, func(w io.Writer) error { return Write(w, img, Options{ID: 0x12345678}) })
	}
	golden.Check(t, sums)
}
