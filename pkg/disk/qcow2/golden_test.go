package qcow2

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest/golden"
)

// TestGolden writes all images, plain and with both kinds of compression.
func TestGolden(t *testing.T) {
	spool, err := os.Create(filepath.Join(t.TempDir(), "spool"))
	if err != nil {
		t.Fatal(err)
	}
	defer spool.Close()
	all := images(t)
	for name, img := range disktest.Images(t, 512) {
		all["shared/"+name] = img
	}
	sums := map[string]string{}
	for kind, o := range map[string]Options{"plain": {}, "deflate": {Compression: Deflate, Spool: spool}, "zstd": {Compression: Zstd, Spool: spool}} {
		for name, img := range all {
			sums[kind+"/"+name] = golden.Sum(t, func(w io.Writer) error { return Write(w, img, o) })
		}
	}
	golden.Check(t, sums)
}
