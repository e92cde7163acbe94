package kubevirt

import (
	"io"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest/golden"
)

// TestGolden writes containerDisks of the shared images.
func TestGolden(t *testing.T) {
	sums := map[string]string{}
	for name, img := range disktest.Images(t, 512) {
		sums[name] = golden.Sum(t, func(w io.Writer) error { return Write(w, img, options) })
	}
	golden.Check(t, sums)
}
