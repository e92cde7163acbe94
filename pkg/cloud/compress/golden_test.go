package compress

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest/golden"
)

// TestGolden compresses all contents with the default level of each kind, and a
// disk with its lowest and highest.
func TestGolden(t *testing.T) {
	sums := map[string]string{}
	add := func(name string, kind filetype.Compression, level int, content []byte) {
		packed := pack(t, kind, Options{Level: level}, content)
		sums[name] = golden.Sum(t, func(w io.Writer) error {
			_, err := bytes.NewReader(packed).WriteTo(w)
			return err
		})
	}
	for name, content := range contents(t) {
		for _, kind := range kinds {
			add(fmt.Sprintf("%s/%s", kind, name), kind, 0, content)
		}
	}
	disk := contents(t)["text"]
	for _, f := range coders {
		for _, level := range []int{1, f.highest} {
			add(fmt.Sprintf("%s level %d/text", f.compression, level), f.compression, level, disk)
		}
	}
	golden.Check(t, sums)
}
