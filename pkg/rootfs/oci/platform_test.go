package oci

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/manifest"
	"golang.org/x/sys/unix"
)

// TestRank has the order of variants that containerd has.
func TestRank(t *testing.T) {
	for _, tc := range []struct {
		want string
		have []string // best first
		not  []string
	}{
		{"amd64", []string{"amd64"}, []string{"amd64/v2", "amd64/v3", "386", "arm64", "amd64/exotic"}},
		{"x86_64", []string{"amd64/v1"}, []string{"amd64/v2"}},
		{"amd64/v1", []string{"amd64"}, []string{"amd64/v2"}},
		{"amd64/v3", []string{"amd64/v3", "amd64/v2", "amd64"}, []string{"amd64/v4"}},
		{"amd64/V4", []string{"amd64/v4", "amd64/v3", "amd64/v2", "x86_64/v1"}, nil},
		{"amd64/exotic", []string{"amd64/exotic"}, []string{"amd64", "amd64/v2"}},
		{"arm64", []string{"arm64/v8"}, []string{"arm64/v8.1", "arm64/v9", "arm/v7"}},
		{"aarch64", []string{"arm64/8"}, []string{"arm/v8"}},
		{"arm64/v8.2", []string{"arm64/v8.2", "arm64/v8.1", "arm64/v8.0"}, []string{"arm64/v8.3", "arm64/v9"}},
		{"arm64/v9.1", []string{"arm64/v9.1", "arm64/v9.0", "arm64/v8.6", "arm64/v8.5", "arm64"}, []string{"arm64/v9.2", "arm64/v8.7"}},
		{"riscv64", []string{"riscv64"}, []string{"riscv64/rva23"}},
		{"ppc64le/power9", []string{"ppc64le/power9"}, []string{"ppc64le", "ppc64le/power10"}},
	} {
		last := -1
		for _, have := range tc.have {
			rank := parsePlatform(tc.want).rank(parsePlatform(have))
			if rank <= last {
				t.Errorf("%s for %s: rank %d, after %d", have, tc.want, rank, last)
			}
			last = rank
		}
		for _, have := range tc.not {
			if rank := parsePlatform(tc.want).rank(parsePlatform(have)); rank >= 0 {
				t.Errorf("%s for %s: rank %d", have, tc.want, rank)
			}
		}
	}
	windows := newPlatform("Windows", "amd64", "")
	if rank := parsePlatform("amd64").rank(windows); rank >= 0 {
		t.Errorf("%s: rank %d", windows, rank)
	}
}

// variantImage adds an image to others. Its file says which it is.
func (m *testImage) variantImage(name, arch, variant string) imgspec.Descriptor {
	one := newImage(tarball(file{"name", name}))
	one.config.Architecture, one.config.Variant = arch, variant
	d := one.done()
	maps.Copy(m.blobs, one.blobs)
	return imgspec.Descriptor{MediaType: imgspec.MediaTypeImageManifest, Digest: d, Size: int64(len(m.blobs[d])),
		Platform: &imgspec.Platform{OS: "linux", Architecture: arch, Variant: variant}}
}

// index adds an index of other things.
func (m *testImage) index(entries ...imgspec.Descriptor) imgspec.Descriptor {
	return m.put(imgspec.MediaTypeImageIndex, mustJSON(imgspec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspec.MediaTypeImageIndex, Manifests: entries,
	}))
}

// artifact adds an artifact, for a platform or none.
func (m *testImage) artifact(kind string, p *imgspec.Platform) imgspec.Descriptor {
	a := imgspec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imgspec.MediaTypeImageManifest, ArtifactType: kind}
	a.Config = m.put("application/vnd.oci.empty.v1+json", []byte("{}"))
	a.Layers = []imgspec.Descriptor{m.put("application/octet-stream", []byte(kind))}
	d := m.put(imgspec.MediaTypeImageManifest, mustJSON(a))
	d.Platform = p
	return d
}

func anywhere(d imgspec.Descriptor) imgspec.Descriptor {
	d.Platform = nil
	return d
}

// TestIndexes takes an image from indexes of all shapes.
func TestIndexes(t *testing.T) {
	m := &testImage{blobs: map[digest.Digest][]byte{}}
	base, v1 := m.variantImage("base", "amd64", ""), m.variantImage("v1", "amd64", "v1")
	v2, v3 := m.variantImage("v2", "amd64", "v2"), m.variantImage("v3", "amd64", "v3")
	arm, arm8 := m.variantImage("arm", "arm64", ""), m.variantImage("arm8", "arm64", "v8")
	zstd := m.variantImage("zstd", "amd64", "")
	zstd.Annotations = map[string]string{"io.github.containers.compression.zstd": "true"}
	linux := &imgspec.Platform{OS: "linux", Architecture: "amd64"}
	typed := func(d imgspec.Descriptor) imgspec.Descriptor {
		d.ArtifactType = "application/vnd.example.delta"
		return d
	}
	attestation := m.artifact("application/vnd.in-toto+json", &imgspec.Platform{OS: "unknown", Architecture: "unknown"})
	docker := base
	docker.MediaType = manifest.DockerV2Schema2MediaType
	gone := imgspec.Descriptor{MediaType: imgspec.MediaTypeImageIndex, Digest: digest.FromString("gone"), Platform: arm.Platform}
	forAmd64 := func(d imgspec.Descriptor) imgspec.Descriptor { d.Platform = linux; return d }
	for name, tc := range map[string]struct {
		top        imgspec.Descriptor
		arch, want string
	}{
		"no variant first":         {m.index(base, v1, v2), "amd64", "base"},
		"v1 is none":               {m.index(v3, v2, v1), "amd64", "v1"},
		"nearest below":            {m.index(base, v2, v3), "amd64/v2", "v2"},
		"lower":                    {m.index(v3, v1), "x86_64/v2", "v1"},
		"highest":                  {m.index(base, v2, v3), "amd64/v4", "v3"},
		"none below":               {m.index(arm8, v3, v2), "amd64", "no image for linux/amd64, there is linux/amd64/v2, linux/amd64/v3, linux/arm64/v8"},
		"arm64 with variant":       {m.index(base, arm8), "arm64", "arm8"},
		"arm64 without":            {m.index(base, arm), "arm64/v8", "arm"},
		"other architecture":       {m.index(base, arm8), "riscv64", "no image for linux/riscv64, there is linux/amd64, linux/arm64/v8"},
		"zstd":                     {m.index(base, zstd), "amd64", "zstd"},
		"zstd of a lower variant":  {m.index(zstd, v2), "amd64/v2", "v2"},
		"docker's type":            {m.index(arm, docker), "amd64", "base"},
		"without a platform":       {m.index(anywhere(base)), "amd64", "base"},
		"any and one":              {m.index(anywhere(v1), base), "amd64", "base"},
		"two without":              {m.index(anywhere(arm), anywhere(base)), "amd64", "base"},
		"two others without":       {m.index(anywhere(arm8), anywhere(v3)), "amd64", "no image for linux/amd64, there is linux/amd64/v3, linux/arm64"},
		"in an index":              {m.index(m.index(base)), "amd64", "base"},
		"in an index for amd64":    {m.index(forAmd64(m.index(base))), "amd64", "base"},
		"in two":                   {m.index(forAmd64(m.index(forAmd64(m.index(arm, base)))), arm8), "amd64", "base"},
		"inherited platform":       {m.index(forAmd64(m.index(anywhere(base)))), "amd64", "base"},
		"best of several indexes":  {m.index(m.index(base, v2), m.index(v3), m.index(arm)), "amd64/v3", "v3"},
		"another's index":          {m.index(gone, base), "amd64", "base"},
		"not in any":               {m.index(m.index(base), m.index(v3)), "arm64", "no image for linux/arm64, there is linux/amd64, linux/amd64/v3"},
		"twice":                    {m.index(m.index(base), m.index(base)), "amd64", "base"},
		"attestation":              {m.index(attestation, base, attestation), "amd64", "base"},
		"only attestation":         {m.index(attestation), "amd64", "no image for linux/amd64, there is none, only attestations or other artifacts"},
		"called an index":          {m.index(arm8, func() imgspec.Descriptor { d := base; d.MediaType = imgspec.MediaTypeImageIndex; return d }()), "amd64", "base"},
		"nearest without platform": {m.index(anywhere(v1), anywhere(v2), anywhere(v3)), "amd64/v2", "v2"},
		"artifacts before indexes": {m.index(m.index(m.artifact("application/vnd.example.delta", linux)), m.index(base)), "amd64", "base"},
		"artifact with a type":     {m.index(typed(m.artifact("delta", linux)), base), "amd64", "base"},
		"image with its own type":  {m.index(func() imgspec.Descriptor { d := base; d.ArtifactType = imgspec.MediaTypeImageConfig; return d }()), "amd64", "base"},
		"artifact that looks well": {m.index(m.artifact("application/vnd.example.delta", linux), base), "amd64", "base"},
		"artifact of no platform":  {m.index(m.artifact("application/vnd.example.delta", nil), m.index(base)), "amd64", "base"},
		"other type": {m.index(func() imgspec.Descriptor {
			d := arm
			d.MediaType = "application/vnd.oci.artifact.manifest.v1+json"
			d.Platform = linux
			return d
		}(), base), "amd64", "base"},
		"nothing": {m.index(), "amd64", "no image for linux/amd64, there is none"},
	} {
		o := options(t, t.TempDir())
		o.Arch = tc.arch
		img, err := Pull(t.Context(), serve(t, m, tc.top.Digest).ref, o)
		if strings.HasPrefix(tc.want, "no image") {
			checkFault(t, err, registry.ErrNotFound, tc.want)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := contents(t, img)["name"]; got != tc.want || !strings.HasSuffix(img.Reference, "@"+tc.top.Digest.String()) {
			t.Errorf("%s: got %q, %s, want %q", name, got, img.Reference, tc.want)
		}
		img.Close()
	}
}

// TestIndexBounds: an index costs a bounded number of requests.
func TestIndexBounds(t *testing.T) {
	m := &testImage{blobs: map[digest.Digest][]byte{}}
	base, arm := m.variantImage("base", "amd64", ""), m.variantImage("arm", "arm64", "")
	deep := func(n int) imgspec.Descriptor {
		d := m.index(base)
		for range n {
			d = m.index(d)
		}
		return d
	}
	var wide, long []imgspec.Descriptor
	large := base
	large.Platform = arm.Platform
	large.Annotations = map[string]string{"padding": strings.Repeat("x", 3<<20)}
	for i := range 2 * maxIndexed {
		wide = append(wide, m.index(m.variantImage(fmt.Sprint(i), "arm64", "")))
	}
	for i := range 6 {
		large.Size = int64(i)
		long = append(long, m.index(large))
	}
	for name, tc := range map[string]struct {
		top  imgspec.Descriptor
		want string // in the error
	}{
		"deep": {deep(maxDepth), ""}, "too deep": {deep(maxDepth + 1), "more than 8 levels"},
		"too wide": {m.index(wide...), "more than 64 indexes"}, "too large": {m.index(long...), "more than 16777216 bytes"}, "not needed": {m.index(append(wide, base)...), ""},
	} {
		reg := serve(t, m, tc.top.Digest)
		img, err := Pull(t.Context(), reg.ref, options(t, t.TempDir()))
		if tc.want != "" {
			checkFault(t, err, nil, tc.want)
		} else if err != nil {
			t.Errorf("%s: %v", name, err)
		} else {
			img.Close()
		}
		if len(reg.gets) > 2+maxIndexed+4 {
			t.Errorf("%s: %d requests", name, len(reg.gets))
		}
	}
}

// TestNestedOffline: a digest that the cache has all of needs no registry.
func TestNestedOffline(t *testing.T) {
	m := &testImage{blobs: map[digest.Digest][]byte{}}
	top := m.index(m.index(m.variantImage("base", "amd64", ""))).Digest
	reg := serve(t, m, top)
	o := options(t, t.TempDir())
	pull(t, reg.ref, o).Close()
	reg.fail = func(w http.ResponseWriter, _ *http.Request, path string, _ int) bool {
		t.Errorf("asked for %s", path)
		return false
	}
	pull(t, strings.TrimSuffix(reg.ref, ":stable")+"@"+top.String(), o).Close()
}

// TestVariantOfOne asks for variants of a single image.
func TestVariantOfOne(t *testing.T) {
	m := &testImage{blobs: map[digest.Digest][]byte{}}
	ref := "oci:" + m.layout(t, m.variantImage("v3", "amd64", "v3").Digest)
	for arch, want := range map[string]string{"amd64": "", "amd64/v3": "", "amd64/v4": "", "amd64/v2": "image is for amd64/v3, not amd64/v2", "arm64": "image is for amd64/v3, not arm64"} {
		o := options(t, t.TempDir())
		o.Arch = arch
		img, err := Pull(t.Context(), ref, o)
		if want == "" && err == nil {
			img.Close()
			continue
		}
		checkFault(t, err, registry.ErrNotFound, want)
		var p *PlatformError
		if !errors.As(err, &p) || !slices.Equal(p.Arches(), []string{"amd64/v3"}) {
			t.Errorf("%v: %v", err, p)
		}
	}
}

// TestLayouts has layouts with several images.
func TestLayouts(t *testing.T) {
	m := &testImage{blobs: map[digest.Digest][]byte{}}
	base, arm, v3 := m.variantImage("base", "amd64", ""), m.variantImage("arm", "arm64", "v8"), m.variantImage("v3", "amd64", "v3")
	named := func(name string, d imgspec.Descriptor) imgspec.Descriptor {
		d.Annotations = map[string]string{imgspec.AnnotationRefName: name}
		return d
	}
	other := m.variantImage("other", "amd64", "")
	for name, tc := range map[string]struct {
		entries         []imgspec.Descriptor
		tag, arch, want string
	}{
		"by platform":         {[]imgspec.Descriptor{arm, base}, "", "amd64", "base"},
		"by variant":          {[]imgspec.Descriptor{base, v3}, "", "amd64/v3", "v3"},
		"by config":           {[]imgspec.Descriptor{anywhere(arm), anywhere(base)}, "", "amd64", "base"},
		"none":                {[]imgspec.Descriptor{arm, v3}, "", "amd64", "no image for linux/amd64, there is linux/amd64/v3, linux/arm64/v8"},
		"index":               {[]imgspec.Descriptor{m.index(base, arm), m.artifact("sbom", nil)}, "", "amd64", "base"},
		"the same twice":      {[]imgspec.Descriptor{named("a", base), named("b", base)}, "", "amd64", "base"},
		"ambiguous":           {[]imgspec.Descriptor{named("a", base), other}, "", "amd64", "several images for linux/amd64, add the name or digest of one: a, @" + other.Digest.String()},
		"index beside it":     {[]imgspec.Descriptor{named("a", base), named("b", m.index(other))}, "", "amd64", "name or digest of one: a, b"},
		"by name":             {[]imgspec.Descriptor{named("a", base), named("b", other)}, "b", "amd64", "other"},
		"index by name":       {[]imgspec.Descriptor{named("a", base), named("b", m.index(other, arm))}, "b", "amd64", "other"},
		"a name for several":  {[]imgspec.Descriptor{named("a", arm), named("a", base), named("b", v3)}, "a", "amd64", "base"},
		"the first of a name": {[]imgspec.Descriptor{named("a", other), named("a", base)}, "a", "amd64", "other"},
		"no such name":        {[]imgspec.Descriptor{named("a", base), named("b", arm)}, "c", "amd64", "no descriptor found"},
		"empty":               {nil, "", "amd64", "lists no image"},
	} {
		dir := m.layout(t)
		write(t, dir+"/index.json", mustJSON(imgspec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: tc.entries}))
		ref := "oci:" + dir
		if tc.tag != "" {
			ref += ":" + tc.tag
		}
		o := options(t, t.TempDir())
		o.Arch = tc.arch
		img, err := Pull(t.Context(), ref, o)
		if err != nil {
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if got := contents(t, img)["name"]; got != tc.want {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
		img.Close()
		again, err := Pull(t.Context(), img.Reference, o)
		if err != nil || again.Digest != img.Digest {
			t.Errorf("%s: %s: %v", name, img.Reference, err)
			continue
		}
		again.Close()
	}
	dir := m.layout(t)
	write(t, dir+"/index.json", mustJSON(imgspec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []imgspec.Descriptor{named("a", base), named("b", arm)}}))
	if _, err := Pull(t.Context(), "oci-archive:"+archiveOf(t, dir), options(t, t.TempDir())); err == nil || !strings.Contains(err.Error(), "the archive has several images, add the name or digest of one") {
		t.Error(err)
	}
}

// TestFit: entries without a platform come last.
func TestFit(t *testing.T) {
	m := &testImage{blobs: map[digest.Digest][]byte{}}
	v2 := m.variantImage("v2", "amd64", "v2")
	for _, tc := range []struct {
		d    imgspec.Descriptor
		arch string
		rank int
		ok   bool
	}{
		{v2, "amd64/v3", 1, true}, {v2, "x86_64/v2", 0, true}, {v2, "amd64", -1, false},
		{anywhere(v2), "arm64", math.MaxInt, true}, {imgspec.Descriptor{ArtifactType: "x"}, "amd64", math.MaxInt, false},
	} {
		if rank, ok := Fit(tc.d, tc.arch); ok != tc.ok || rank != tc.rank {
			t.Errorf("%v for %s: %d, %v", tc.d.Platform, tc.arch, rank, ok)
		}
	}
}

// TestCreated reads the time of creation that builders write, or none.
func TestCreated(t *testing.T) {
	for text, want := range map[string]struct {
		sec  int64
		note bool
	}{
		"2024-05-06T07:08:09Z": {1714979289, false}, "2024-05-06T09:08:09.123+02:00": {1714979289, false},
		"1969-12-31T23:59:59Z": {-1, false}, "9999-12-31T23:59:59Z": {253402300799, false},
		"": {0, true}, "0001-01-01T00:00:00Z": {0, true}, "yesterday": {0, true}, "-12": {0, true},
	} {
		m := newImage(tarball(file{"etc/a", "a"}))
		m.done()
		value := fmt.Sprintf("%q", text)
		if text == "-12" {
			value = text // builders in haste write numbers
		}
		config := strings.Replace(string(m.blobs[m.manifest.Config.Digest]), `{`, fmt.Sprintf(`{"created":%s,`, value), 1)
		m.manifest.Config = m.put(imgspec.MediaTypeImageConfig, []byte(config))
		img := pull(t, "oci:"+m.layout(t, m.put(imgspec.MediaTypeImageManifest, mustJSON(m.manifest)).Digest), options(t, t.TempDir()))
		img.Close()
		if want.note {
			if !img.Created.IsZero() || len(img.Notes) != 1 || !strings.Contains(img.Notes[0], "created: "+fmt.Sprintf("%q", text)) {
				t.Errorf("%q: %v, %q", text, img.Created, img.Notes)
			}
		} else if img.Created.Unix() != want.sec || len(img.Notes) != 0 {
			t.Errorf("%q: %v, %q", text, img.Created, img.Notes)
		}
	}
}

// TestManyLayers opens an image of more layers than a process may have files.
func TestManyLayers(t *testing.T) {
	const layers = 200
	m := newImage()
	for i := range layers {
		l := tarball(file{fmt.Sprintf("many/%d", i), noise(uint64(i), i)})
		m.add(l, gzipped(l))
	}
	ref := "oci:" + m.layout(t, m.done())
	o := options(t, t.TempDir())
	files := func() int {
		all, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	before := files()
	for range 2 { // cold and warm
		img := pull(t, ref, o)
		if n := files() - before; n > maxPacks+8 {
			t.Errorf("%d files are open", n)
		}
		checkCache(t, o.Cache)
		if _, err := Prune(o.Cache, PruneOptions{}); err != nil {
			t.Fatal(err)
		}
		all := contents(t, img)
		for i := range layers {
			if all[fmt.Sprintf("many/%d", i)] != noise(uint64(i), i) {
				t.Fatalf("layer %d: contents differ", i)
			}
		}
		if err := img.Close(); err != nil {
			t.Error(err)
		}
		if n := files() - before; n > 0 {
			t.Errorf("%d files are still open", n)
		}
	}
}

// TestCopyData: holes are not written, wherever they are.
func TestCopyData(t *testing.T) {
	const piece, size = 1 << 16, 64 << 20
	for name, at := range map[string][]int64{"empty": nil, "first": {0}, "last": {size - piece}, "middle": {5 * piece, 6 * piece, 100 * piece}} {
		file := func() *os.File {
			f, err := os.Create(t.TempDir() + "/file")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			return f
		}
		from, to := file(), file()
		want := make([]byte, 3+size)
		for i, off := range at {
			b := []byte(noise(uint64(i), piece))
			copy(want[3+off:], b)
			if _, err := from.WriteAt(b, off); err != nil {
				t.Fatal(err)
			}
		}
		if err := from.Truncate(size); err != nil {
			t.Fatal(err)
		}
		if err := copyData(to, 3, from, size); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		got, err := os.ReadFile(to.Name())
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: contents differ: %v", name, err)
		}
		var info unix.Stat_t
		if err := unix.Fstat(int(to.Fd()), &info); err != nil || info.Blocks*512 > int64(len(at)+2)*2*piece {
			t.Errorf("%s: takes %d bytes of its disk, %v", name, info.Blocks*512, err)
		}
	}
}
