package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
)

// BenchmarkWarm is a build of the full fixture whose layers are in the cache:
// what every platform after the first one costs.
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
			r.rootFS = rootFS
			system, err := load(context.Background(), newUI(true), r)
			if err != nil {
				b.Fatal(err)
			}
			defer system.Close()
			for b.Loop() {
				if _, err := system.plan(r); err != nil {
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
		system, err := load(b.Context(), newUI(true), r)
		if err != nil {
			b.Fatal(err)
		}
		top = filepath.Join(r.cache, "v1/layers", system.image.Layers[len(system.image.Layers)-1].Digest.Encoded())
		system.Close()
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
	o := buildOptions{
		reference: strings.TrimSpace(string(ref)), platforms: []string{platform}, merge: "ostree",
		arch: "amd64", format: "text", compress: "none", cache: filepath.Join(os.TempDir(), "ohp-bench-cache"), registry: registryFlags{tlsVerify: true},
	}
	r, err := o.check()
	if err != nil {
		b.Fatal(err)
	}
	return r
}

func benchmarkBuild(b *testing.B, platform string, write bool) {
	r := benchmarkRequest(b, platform, "full-base")
	once := func() {
		ctx, quiet := context.Background(), newUI(true)
		if write {
			res, err := build(ctx, quiet, r, b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(res.Images[0].Allocated)
			return
		}
		system, err := load(ctx, quiet, r)
		if err != nil {
			b.Fatal(err)
		}
		defer system.Close()
		if _, err := system.plan(r); err != nil {
			b.Fatal(err)
		}
	}
	once() // fills the cache
	for b.Loop() {
		once()
	}
}
