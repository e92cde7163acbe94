package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/progress"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/assemble"
)

// BenchmarkWarm is a build of the full fixture whose layers are in the cache:
// the cost of every platform after the first one.
func BenchmarkWarm(b *testing.B) {
	for _, platform := range cloud.IDs() {
		b.Run(platform, func(b *testing.B) { benchmarkBuild(b, platform, true) })
	}
}

// BenchmarkPlan is the same without writing anything.
func BenchmarkPlan(b *testing.B) { benchmarkBuild(b, "qemu", false) }

// BenchmarkLayout lays out the disk of the full fixture once it is deployed.
func BenchmarkLayout(b *testing.B) {
	for _, rootFS := range []string{"xfs", "ext4"} {
		b.Run(rootFS, func(b *testing.B) {
			r := benchmarkRequest(b, "qemu", "full-base")
			r.images.RootFS = rootFS
			system := plannedBy(b, r).System
			for b.Loop() {
				if _, err := assemble.New(system, r.images); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkOneLayer imports the full fixture with one layer on top that is new;
// the rest is in the cache.
func BenchmarkOneLayer(b *testing.B) {
	r := benchmarkRequest(b, "qemu", "full-derived")
	r.cache = b.TempDir()
	var top string // files of the layer in the cache
	imported := func() {
		plan, image, err := load(b.Context(), progress.New(true), r)
		if err != nil {
			b.Fatal(err)
		}
		layers := plan.System.Container.Layers
		top = filepath.Join(r.cache, "v1/layers", layers[len(layers)-1].Digest.Encoded())
		image.Close()
	}
	imported()
	for b.Loop() {
		b.StopTimer()
		for _, suffix := range []string{".index", ".pack"} {
			if err := os.Remove(top + suffix); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		imported()
	}
}

func benchmarkRequest(b *testing.B, platform, form string) *request {
	b.Helper()
	ref, err := exec.Command(filepath.Join(checkout, "ci/fixture/ref"), "--cached", form).Output()
	if err != nil {
		b.Skip("the full fixture is not built (make fixture)")
	}
	r := requested(b, strings.TrimSpace(string(ref)), assemble.Request{}, platform)
	r.images.Ignition, r.cache = nil, filepath.Join(os.TempDir(), "ohp-bench-cache")
	return r
}

func benchmarkBuild(b *testing.B, platform string, write bool) {
	r := benchmarkRequest(b, platform, "full-base")
	once := func() {
		ctx, quiet := context.Background(), progress.New(true)
		if write {
			res, err := runBuild(ctx, quiet, r, b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(res.Images[0].Allocated)
			return
		}
		_, image, err := load(ctx, quiet, r)
		if err != nil {
			b.Fatal(err)
		}
		image.Close()
	}
	once() // fills the cache
	for b.Loop() {
		once()
	}
}
