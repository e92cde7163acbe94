package vmdk

import (
	"io"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest/golden"
)

// TestGolden makes streamOptimized and monolithicSparse files of the shared images.
func TestGolden(t *testing.T) {
	sums := map[string]string{}
	for name, img := range disktest.Images(t, sectorSize) {
		sums["stream/"+name] = golden.Sum(t, func(w io.Writer) error { return Write(w, img, Options{ID: 0x12345678}) })
		sparse, err := formatSparse(img)
		if err != nil {
			t.Fatal(err)
		}
		sums["sparse/"+name] = golden.Image(t, sparse)
	}
	golden.Check(t, sums)
}
