package main

import (
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
)

// TestSegments: nearly all content of a disk, and of a file that holds it, is a range
// of a layer.
func TestSegments(t *testing.T) {
	d := diskOf(t, fixture(t, "full-chunked"), "qemu")
	checkSegments(t, "disk", d.Image)
	for _, p := range cloud.Platforms {
		if p.Format.Plan == nil || p.Check(d.Image.Size()) != nil {
			continue
		}
		file, err := p.Format.Plan(d.Image, cloud.Metadata{Name: "os", OS: "os", Version: "1", Arch: "x86_64"})
		if err != nil {
			t.Fatal(err)
		}
		checkSegments(t, p.ID, file)
	}
}

func checkSegments(t *testing.T, name string, img *disk.Image) {
	t.Helper()
	var end, source, literal int64
	for s := range img.Segments() {
		if s.Off != end || s.Len <= 0 {
			t.Fatalf("%s: segment %+v follows %d", name, s, end)
		}
		end += s.Len
		switch s.Kind {
		case disk.Source:
			source += s.Len
		case disk.Literal:
			literal += s.Len
		}
	}
	if end != img.Size() || source+literal != img.Allocated() {
		t.Errorf("%s: segments of %d bytes, %d of them content; want %d and %d", name, end, source+literal, img.Size(), img.Allocated())
	}
	share := float64(source) / float64(source+literal)
	if share < 0.97 {
		t.Errorf("%s: %.1f %% of the content is a range of a layer, want 97 %%", name, 100*share)
	}
	t.Logf("%s: %d bytes of layers, %d literal: %.2f %%", name, source, literal, 100*share)
}
