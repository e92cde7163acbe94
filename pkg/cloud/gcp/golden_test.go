package gcp

import (
	"io"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest/golden"
)

// TestGolden writes archives of all images.
func TestGolden(t *testing.T) {
	sums := map[string]string{}
	for name, img := range images(t) {
		sums[name] = golden.Sum(t, func(w io.Writer) error { return Write(w, img, stamp) })
	}
	golden.Check(t, sums)
}
