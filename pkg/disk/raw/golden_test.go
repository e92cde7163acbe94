package raw

import (
	"io"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest/golden"
)

// TestGolden writes images as they are. Each digest must be that of the image, too.
func TestGolden(t *testing.T) {
	sums := map[string]string{}
	for name, img := range images(t) {
		sums[name] = golden.Sum(t, func(w io.Writer) error { return Write(w, img) })
		if sum := golden.Image(t, img); sum != sums[name] {
			t.Errorf("%s: the file has the digest %s, the image %s", name, sums[name], sum)
		}
	}
	golden.Check(t, sums)
}
