package fat

import (
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest/golden"
)

// TestGolden lays out every tree in every kind of file system.
func TestGolden(t *testing.T) {
	sums := map[string]string{}
	for name, root := range trees(t) {
		for shape, o := range shapes {
			sums[shape+"/"+name] = golden.Image(t, mustFormat(t, root, labelled(o)))
		}
	}
	golden.Check(t, sums)
}
