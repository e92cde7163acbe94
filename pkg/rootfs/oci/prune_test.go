package oci

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// age sets when an entry of a cache was last used.
func age(t *testing.T, dir string, d digest.Digest, used time.Time) {
	t.Helper()
	c := &cache{dir: filepath.Join(dir, version)}
	for _, name := range []string{c.blobPath(d), c.layerPath(d, ".index")} {
		if err := os.Chtimes(name, used, used); ignoreNotExist(err) != nil {
			t.Fatal(err)
		}
	}
}

func pull(t *testing.T, ref string, o Options) *Image {
	t.Helper()
	img, err := Pull(t.Context(), ref, o)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func TestUsage(t *testing.T) {
	m := newImage(tarball(file{"etc/a", noise(1, 100_000)}), tarball(file{"etc/b", "b"}))
	ref := "oci:" + m.layout(t, m.done())
	o := options(t, t.TempDir())
	if all, err := Usage(filepath.Join(o.Cache, "none")); len(all) != 0 || err != nil {
		t.Errorf("no cache: %v, %v", all, err)
	}
	start := time.Now().Add(-time.Second)
	pull(t, ref, o).Close()
	write(t, filepath.Join(o.Cache, version, "layers/README"), []byte("mine"))
	all, err := Usage(o.Cache)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[digest.Digest]string{m.done(): "manifest", m.manifest.Config.Digest: "config", m.manifest.Layers[0].Digest: "layer", m.manifest.Layers[1].Digest: "layer"}
	for _, e := range all {
		if e.Kind != kinds[e.Digest] || e.Used.Before(start) || e.Used.After(time.Now().Add(time.Second)) {
			t.Errorf("%+v, want %s", e, kinds[e.Digest])
		}
		if e.Digest == m.manifest.Layers[0].Digest && e.Size < 100_000 || e.Kind == "config" && e.Size != m.manifest.Config.Size {
			t.Errorf("%+v: size", e)
		}
	}
	if len(all) != 4 {
		t.Errorf("%d entries", len(all))
	}
	// A pull that finds all there has used all.
	old := time.Now().Add(-100 * time.Hour)
	for d := range kinds {
		age(t, o.Cache, d, old)
	}
	pull(t, ref+"@"+m.done().String(), o).Close()
	all, err = Usage(o.Cache)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if e.Used.Before(start) {
			t.Errorf("%+v: was just used", e)
		}
	}
}

func TestPrune(t *testing.T) {
	now := time.Now()
	const day = 24 * time.Hour
	m := newImage(tarball(file{"etc/a", noise(1, 100_000)}), tarball(file{"etc/b", noise(2, 50_000)}), tarball(file{"etc/c", "c"}))
	top := m.done()
	ref := "oci:" + m.layout(t, top)
	ages := map[digest.Digest]time.Duration{top: 1 * day, m.manifest.Config.Digest: 1 * day, m.manifest.Layers[0].Digest: 9 * day, m.manifest.Layers[1].Digest: 5 * day, m.manifest.Layers[2].Digest: 0}
	for name, tc := range map[string]struct {
		o    PruneOptions
		left int
	}{
		"no bounds":      {PruneOptions{}, 0},
		"old":            {PruneOptions{OlderThan: 7 * day}, 4},
		"older":          {PruneOptions{OlderThan: 3 * day}, 3},
		"oldest":         {PruneOptions{OlderThan: 10 * day}, 5},
		"all fits":       {PruneOptions{KeepBytes: 1 << 20}, 5},
		"most fits":      {PruneOptions{KeepBytes: 100_000}, 4},
		"little fits":    {PruneOptions{KeepBytes: 10_000}, 3},
		"nothing fits":   {PruneOptions{KeepBytes: 1}, 0},
		"both, by age":   {PruneOptions{OlderThan: 3 * day, KeepBytes: 1 << 20}, 3},
		"both, by bytes": {PruneOptions{OlderThan: 10 * day, KeepBytes: 10_000}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t, t.TempDir())
			pull(t, ref, o).Close()
			for d, a := range ages {
				age(t, o.Cache, d, now.Add(-a))
			}
			mine := filepath.Join(o.Cache, version, "layers/README")
			write(t, mine, []byte("mine"))
			before, err := Usage(o.Cache)
			if err != nil {
				t.Fatal(err)
			}
			tc.o.Now = now
			freed, err := Prune(o.Cache, tc.o)
			if err != nil {
				t.Fatal(err)
			}
			after, err := Usage(o.Cache)
			if err != nil {
				t.Fatal(err)
			}
			var sum int64
			for _, e := range before {
				sum += e.Size
			}
			for i, e := range after { // the youngest are left
				sum -= e.Size
				if e != before[i] {
					t.Errorf("%+v is left, not %+v", e, before[i])
				}
			}
			if len(after) != tc.left || freed != sum {
				t.Errorf("%d entries are left, want %d; freed %d, says %d", len(after), tc.left, sum, freed)
			}
			if _, err := os.Stat(mine); err != nil {
				t.Error(err)
			}
			checkCache(t, o.Cache)
			img := pull(t, ref, o)
			if contents(t, img)["etc/a"] != noise(1, 100_000) {
				t.Error("contents differ")
			}
			img.Close()
		})
	}
}

// TestPruneInUse prunes the layers of an open image, and while
// an image is being pulled.
func TestPruneInUse(t *testing.T) {
	m := newImage(tarball(file{"etc/a", noise(1, 1<<20)}))
	top := m.done()
	reg := serve(t, m, top)
	o := options(t, t.TempDir())
	img := pull(t, reg.ref, o)
	again := pull(t, reg.ref, o)
	for _, open := range []*Image{img, again} {
		if _, err := Prune(o.Cache, PruneOptions{}); err != nil {
			t.Fatal(err)
		}
		all, err := Usage(o.Cache)
		if err != nil || len(all) != 1 || all[0].Kind != "layer" {
			t.Errorf("%v, %v: want the layer that is in use", all, err)
		}
		if contents(t, open)["etc/a"] != noise(1, 1<<20) {
			t.Error("contents differ")
		}
		open.Close()
	}
	if freed, err := Prune(o.Cache, PruneOptions{}); err != nil || freed < 1<<20 {
		t.Errorf("freed %d, %v", freed, err)
	}

	other := newImage(tarball(file{"etc/a", "other"}))
	pull(t, "oci:"+other.layout(t, other.done()), o).Close()
	reg.fail = func(_ http.ResponseWriter, _ *http.Request, path string, _ int) bool {
		if _, err := Prune(o.Cache, PruneOptions{}); !errors.Is(err, ErrBusy) {
			t.Errorf("%s: prune while an image is pulled: %v", path, err)
		}
		return false
	}
	pull(t, reg.ref, o).Close()
}

// TestPruneMeanwhile prunes and pulls at once, as different processes would.
func TestPruneMeanwhile(t *testing.T) {
	m := newImage(tarball(file{"etc/a", noise(1, 200_000)}), tarball(file{"etc/b", "b"}))
	ref := "oci:" + m.layout(t, m.done())
	o := options(t, t.TempDir())
	stop := make(chan struct{})
	var wg, pulls sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := Prune(o.Cache, PruneOptions{}); err != nil && !errors.Is(err, ErrBusy) {
				t.Error(err)
			}
		}
	})
	for range 2 {
		pulls.Go(func() {
			for i := range 20 {
				img, err := Pull(t.Context(), ref, o)
				if err != nil {
					t.Error(err)
					return
				}
				if contents(t, img)["etc/a"] != noise(1, 200_000) {
					t.Error(fmt.Sprint(i, ": contents differ"))
				}
				img.Close()
			}
		})
	}
	pulls.Wait()
	close(stop)
	wg.Wait()
	checkCache(t, o.Cache)
}
