package ova

import (
	"io"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest/golden"
)

// TestGolden writes appliances of the shared images for both hypervisors.
func TestGolden(t *testing.T) {
	sums := map[string]string{}
	for name, img := range disktest.Images(t, 512) {
		for _, h := range hypervisors {
			o := options(t)
			sparse, err := Format(img, h, o)
			if err != nil {
				t.Fatal(err)
			}
			sums["sparse/"+string(h)+"/"+name] = golden.Image(t, sparse)
			sums[string(h)+"/"+name] = golden.Sum(t, func(w io.Writer) error { return Write(w, img, h, o) })
		}
	}
	golden.Check(t, sums)
}
