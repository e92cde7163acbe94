package kubevirt

import (
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest/golden"
)

// TestGolden writes containerDisks of the shared images.
func TestGolden(t *testing.T) {
	sums := map[string]string{}
	for name, img := range disktest.Images(t, 512) {
		file, err := format(img)
		if err != nil {
			t.Fatal(err)
		}
		sums[name] = golden.Image(t, file)
	}
	golden.Check(t, sums)
}
