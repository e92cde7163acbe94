package oci

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/manifest"
	"golang.org/x/sys/unix"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/layer"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// TestFaults pulls images with one thing wrong.
func TestFaults(t *testing.T) {
	plain := tarball(file{"etc/a", noise(1, 300_000)}, file{"etc/b", "b"})
	huge := bytes.Clone(plain[:512])
	copy(huge[124:], "\x80\x00\x00\x00\x00\x00\x0a\x00\x00\x00\x00\x00")
	copy(huge[148:], "        ")
	sum := 0
	for _, c := range huge {
		sum += int(c)
	}
	copy(huge[148:], fmt.Sprintf("%06o\x00 ", sum))

	// spoil changes the blob of the only layer behind the back of its digest.
	spoil := func(change func([]byte) []byte) func(*testImage) {
		return func(m *testImage) {
			d := m.manifest.Layers[0].Digest
			m.blobs[d] = change(bytes.Clone(m.blobs[d]))
		}
	}
	flip := func(at func(int) int) func(*testImage) {
		return spoil(func(b []byte) []byte { b[at(len(b))] ^= 4; return b })
	}
	for name, tc := range map[string]struct {
		layer  []byte
		before func(*testImage) // the manifest is made
		after  func(*testImage)
		kind   error
		want   string
	}{
		"flipped bit in the middle": {after: flip(func(n int) int { return n / 2 }), kind: registry.ErrVerify, want: "digest mismatch: the blob is sha256:"},
		"flipped bit at the start":  {after: flip(func(int) int { return 3 }), kind: registry.ErrVerify, want: "digest mismatch"},
		"flipped magic":             {after: flip(func(int) int { return 0 }), kind: registry.ErrVerify, want: "digest mismatch"},
		"flipped bit at the end":    {after: flip(func(n int) int { return n - 1 }), kind: registry.ErrVerify, want: "digest mismatch"},
		"truncated blob":            {after: spoil(func(b []byte) []byte { return b[:len(b)/2] }), kind: registry.ErrVerify, want: "the manifest says"},
		"empty blob":                {after: spoil(func(b []byte) []byte { return nil }), kind: registry.ErrVerify, want: "blob has 0 bytes"},
		"longer blob":               {after: spoil(func(b []byte) []byte { return append(b, 0) }), kind: registry.ErrVerify, want: "blob has more than"},
		"another blob":              {after: spoil(func(b []byte) []byte { return bytes.Repeat([]byte("x"), len(b)) }), kind: registry.ErrVerify, want: "digest mismatch"},
		"missing blob":              {after: func(m *testImage) { delete(m.blobs, m.manifest.Layers[0].Digest) }, kind: registry.ErrNotFound},
		"truncated gzip": {before: func(m *testImage) {
			m.manifest.Layers[0] = m.put(imgspec.MediaTypeImageLayerGzip, gzipped(plain)[:100_000])
		}, want: "inflating: unexpected EOF"},
		"truncated tar": {layer: plain[:100_000], want: "etc/a: claims 300000 bytes, the layer ends after 99488"},
		"10 TiB":        {layer: huge, want: "etc/a: claims 10 TiB (10995116277760 bytes)"},
		"dotdot":        {layer: tarball(file{"../etc/passwd", ""}), want: "../etc/passwd: name leads out"},
		"wrong object":  {layer: tarball(object("content", "contend")...), kind: registry.ErrVerify, want: ".file: checksum mismatch: it is "},
		"xz":            {before: func(m *testImage) { m.manifest.Layers[0] = m.put(imgspec.MediaTypeImageLayer, []byte("\xfd7zXZ\x00")) }, want: "bzip2 or xz"},
		"garbage behind gzip": {before: func(m *testImage) {
			m.manifest.Layers[0] = m.put(imgspec.MediaTypeImageLayerGzip, append(gzipped(plain), "garbage"...))
		}, want: "inflating: "},
		"wrong diffID": {before: func(m *testImage) { m.config.RootFS.DiffIDs[0] = digest.FromString("x") }, kind: registry.ErrVerify, want: "diffID mismatch: the config says " + digest.FromString("x").String()},
		"no diffID":    {before: func(m *testImage) { m.config.RootFS.DiffIDs = nil }, want: "1 layers, but 0 diffIDs"},
		"two diffIDs":  {before: func(m *testImage) { m.add(plain, gzipped(plain)); m.config.RootFS.DiffIDs[1] = digest.FromString("x") }, kind: registry.ErrVerify, want: "two diffIDs"},
		"other system": {before: func(m *testImage) { m.config.OS = "windows" }, want: `"windows", not linux`},
		"other arch":   {before: func(m *testImage) { m.config.Architecture = "riscv64" }, kind: registry.ErrNotFound, want: "image is for riscv64, not amd64"},
		"encrypted":    {before: func(m *testImage) { m.manifest.Layers[0].MediaType += "+encrypted" }, want: "encrypted layers are not supported"},
		"foreign": {before: func(m *testImage) {
			m.manifest.Layers[0].MediaType = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
		}, want: "outside the registry"},
		"no layer":      {before: func(m *testImage) { m.manifest.Layers[0].MediaType = "text/plain" }, want: `type "text/plain"`},
		"negative size": {before: func(m *testImage) { m.manifest.Layers[0].Size = -5 }, want: "size -5"},
		"sha512":        {before: func(m *testImage) { m.manifest.Layers[0].Digest = digest.SHA512.FromString("x") }, want: "not a digest of the form sha256:HEX"},
		"wrong config":  {after: func(m *testImage) { m.blobs[m.manifest.Config.Digest] = []byte("{}") }, kind: registry.ErrVerify, want: "config: 2 bytes, the manifest says"},
		"flipped config": {after: func(m *testImage) {
			b := bytes.Clone(m.blobs[m.manifest.Config.Digest])
			b[20] ^= 1
			m.blobs[m.manifest.Config.Digest] = b
		}, kind: registry.ErrVerify, want: "config: digest mismatch"},
		"config is none": {before: func(m *testImage) { m.config.OS = "" }, want: `operating system ""`},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.layer == nil {
				tc.layer = plain
			}
			m := newImage(tc.layer)
			if tc.before != nil {
				tc.before(m)
			}
			top := m.done()
			if tc.after != nil {
				tc.after(m)
			}
			for _, ref := range []string{"oci:" + m.layout(t, top), serve(t, m, top).ref} {
				o := options(t, t.TempDir())
				_, err := Pull(t.Context(), ref, o)
				checkFault(t, err, tc.kind, tc.want)
				if err != nil && !strings.HasPrefix(err.Error(), ref+": ") {
					t.Errorf("%v: does not begin with the reference", err)
				}
				checkCache(t, o.Cache)
			}
		})
	}
}

func checkFault(t *testing.T, err, kind error, want string) {
	t.Helper()
	if err == nil {
		t.Error("no error")
		return
	}
	if !strings.Contains(err.Error(), want) {
		t.Errorf("error is %q, want %q", err, want)
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("error has more than one line: %q", err)
	}
	for _, k := range []error{registry.ErrVerify, registry.ErrAccess, registry.ErrNotFound} {
		if errors.Is(err, k) != (k == kind) {
			t.Errorf("%v: is %v: %v", err, k, errors.Is(err, k))
		}
	}
}

// TestFaultsWarm has the layer in the cache that another image lies about.
func TestFaultsWarm(t *testing.T) {
	m := newImage(tarball(file{"etc/a", "a"}))
	o := options(t, t.TempDir())
	img, err := Pull(t.Context(), "oci:"+m.layout(t, m.done()), o)
	if err != nil {
		t.Fatal(err)
	}
	img.Close()
	m.config.RootFS.DiffIDs[0] = digest.FromString("x")
	_, err = Pull(t.Context(), "oci:"+m.layout(t, m.done()), o)
	checkFault(t, err, registry.ErrVerify, "diffID mismatch")
}

func TestWrongManifest(t *testing.T) {
	m := newImage(tarball(file{"etc/a", "a"}))
	top := m.done()
	want := digest.FromString("something else")
	m.blobs[want] = m.blobs[top]
	for _, ref := range []string{"oci:" + m.layout(t, top) + "@" + want.String(), "dir:" + dirOf(t, m, top) + "@" + want.String(), serve(t, m, top).ref + "@" + want.String()} {
		_, err := Pull(t.Context(), ref, options(t, t.TempDir()))
		checkFault(t, err, registry.ErrVerify, "digest mismatch: asked for "+want.String()+", got "+top.String())
	}
}

func TestNotFound(t *testing.T) {
	m := newImage(tarball(file{"etc/a", "a"}))
	top := m.done()
	dir := m.layout(t, top)
	reg := serve(t, m, top)
	gone := serve(t, m, top)
	gone.Close()
	nothing := digest.FromString("nothing").String()
	for ref, want := range map[string]error{
		"oci:" + dir + "/none":                                   registry.ErrNotFound,
		"oci:" + dir + ":none":                                   registry.ErrNotFound,
		"oci:" + dir + "@" + nothing:                             registry.ErrNotFound,
		"oci-archive:" + dir + "/none":                           registry.ErrNotFound,
		"dir:" + dir + "/none":                                   registry.ErrNotFound,
		reg.ref + "none":                                         registry.ErrNotFound,
		reg.ref + "@" + nothing:                                  registry.ErrNotFound,
		strings.TrimSuffix(reg.ref, "os:stable") + "none:stable": registry.ErrNotFound,
		gone.ref: nil,
	} {
		_, err := Pull(t.Context(), ref, options(t, t.TempDir()))
		checkFault(t, err, want, ref)
	}
}

// TestDamagedLayout: errors of a layout contain the whole path.
func TestDamagedLayout(t *testing.T) {
	pull := func(dir string) error {
		_, err := Pull(t.Context(), "oci:"+dir, options(t, t.TempDir()))
		return err
	}
	none := filepath.Join(t.TempDir(), "none")
	checkFault(t, pull(none), registry.ErrNotFound, none+"/index.json: no such file or directory: not an OCI layout")

	m := newImage(tarball(file{"etc/a", "a"}))
	dir := m.layout(t, m.done())
	blob := filepath.Join(dir, "blobs/sha256", m.manifest.Layers[0].Digest.Encoded())
	if err := os.Remove(blob); err != nil {
		t.Fatal(err)
	}
	checkFault(t, pull(dir), registry.ErrNotFound, "open "+blob+": no such file")

	index := filepath.Join(dir, "index.json")
	write(t, index, []byte(`{"schemaVersion": 2,`))
	checkFault(t, pull(dir), nil, index+": damaged: unexpected EOF")
}

func TestManifestKinds(t *testing.T) {
	m := newImage(tarball(file{"etc/a", "a"}))
	m.manifest.MediaType = manifest.DockerV2Schema2MediaType
	m.manifest.Layers[0].MediaType = manifest.DockerV2Schema2LayerMediaType
	m.manifest.Config = m.put(manifest.DockerV2Schema2ConfigMediaType, mustJSON(m.config))
	v2s2 := m.put("", mustJSON(m.manifest)).Digest
	img, err := Pull(t.Context(), serve(t, m, v2s2).ref, options(t, t.TempDir()))
	if err != nil || contents(t, img)["etc/a"] != "a" || img.Labels["containers.bootc"] != "1" {
		t.Errorf("docker schema 2: %v", err)
	}
	for text, want := range map[string]string{
		`{"schemaVersion":1,"mediaType":"` + manifest.DockerV2Schema1MediaType + `","name":"os","tag":"x","fsLayers":[],"history":[]}`: "docker schema 1 is not supported: convert",
		`{"schemaVersion":2,"mediaType":"application/vnd.example"}`:                                                                    "the manifest names none",
		`not json`: "is not that of an image",
		`{"schemaVersion":2,"mediaType":"` + imgspec.MediaTypeImageManifest + `"}`:                         "the manifest names none",
		`{"schemaVersion":2,"mediaType":"` + imgspec.MediaTypeImageIndex + `","manifests":[]}`:             "no image for linux/amd64, there is none",
		`{"schemaVersion":2,"mediaType":"` + imgspec.MediaTypeImageManifest + `","config":{"digest":"x"}}`: "not a digest",
	} {
		d := m.put("", []byte(text)).Digest
		_, err := Pull(t.Context(), "oci:"+m.layout(t, d), options(t, t.TempDir()))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func TestAuth(t *testing.T) {
	m := newImage(tarball(file{"etc/a", "a"}))
	reg := serve(t, m, m.done())
	reg.auth = "user:secret"
	o := options(t, t.TempDir())
	_, err := Pull(t.Context(), reg.ref, o)
	checkFault(t, err, registry.ErrAccess, reg.ref)

	login := func(userPassword string) {
		host := strings.TrimPrefix(reg.URL, "http://")
		write(t, o.Registry.AuthFile, fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, host, base64.StdEncoding.EncodeToString([]byte(userPassword))))
	}
	login("user:wrong")
	_, err = Pull(t.Context(), reg.ref, o)
	checkFault(t, err, registry.ErrAccess, reg.ref)
	login("user:secret")
	if _, err := Pull(t.Context(), reg.ref, o); err != nil {
		t.Error(err)
	}

	for _, code := range []int{http.StatusUnauthorized, http.StatusForbidden} {
		for _, what := range []string{"manifests/", "blobs/"} {
			o := options(t, t.TempDir())
			reg := serve(t, m, m.done())
			reg.fail = func(w http.ResponseWriter, _ *http.Request, path string, _ int) bool {
				if strings.HasPrefix(path, what) {
					w.WriteHeader(code)
				}
				return strings.HasPrefix(path, what)
			}
			_, err := Pull(t.Context(), reg.ref, o)
			checkFault(t, err, registry.ErrAccess, reg.ref)
		}
	}
}

// TestTLS: a registry without a valid certificate is rejected by default.
func TestTLS(t *testing.T) {
	m := newImage(tarball(file{"etc/a", "a"}))
	reg := serve(t, m, m.done())
	o := options(t, t.TempDir())
	yes := true
	o.Registry.TLSVerify = &yes
	if _, err := Pull(t.Context(), reg.ref, o); err == nil {
		t.Error("plain HTTP was accepted")
	}
}

// TestHangUp has a registry that closes the connection in the middle of a
// layer.
func TestHangUp(t *testing.T) {
	m := newImage(tarball(file{"etc/a", noise(9, 3<<20)}))
	top := m.done()
	path := "blobs/" + m.manifest.Layers[0].Digest.String()
	blob := m.blobs[m.manifest.Layers[0].Digest]
	hangUp := func(until int) func(http.ResponseWriter, *http.Request, string, int) bool {
		return func(w http.ResponseWriter, _ *http.Request, p string, n int) bool {
			if p != path || n > until {
				return false
			}
			w.Header().Set("Content-Length", fmt.Sprint(len(blob)))
			w.Write(blob[:len(blob)/2])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
	}
	reg := serve(t, m, top)
	reg.fail = hangUp(1)
	o := options(t, t.TempDir())
	img, err := Pull(t.Context(), reg.ref, o)
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	if contents(t, img)["etc/a"] != noise(9, 3<<20) || reg.gets[path] != 2 {
		t.Errorf("contents are wrong, or were not resumed: %v", reg.gets)
	}

	reg = serve(t, m, top)
	reg.fail, reg.noRange = hangUp(1), true
	o = options(t, t.TempDir())
	_, err = Pull(t.Context(), reg.ref, o)
	checkFault(t, err, nil, "layer "+short(m.manifest.Layers[0].Digest)+": reading the blob at byte ")
	checkFault(t, err, nil, "unexpected EOF")
	checkCache(t, o.Cache)
	if _, err := Pull(t.Context(), serve(t, m, top).ref, o); err != nil {
		t.Errorf("after a registry hung up: %v", err)
	}
}

// TestFull has a cache on a device without space.
func TestFull(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=1m"); err != nil {
		treetest.Missing(t, "OHP_TOOLS", "mounting a small device: "+err.Error())
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	m := newImage(tarball(file{"etc/a", noise(10, 2<<20)}))
	o := options(t, dir)
	_, err := Pull(t.Context(), "oci:"+m.layout(t, m.done()), o)
	checkFault(t, err, nil, "cache "+dir+"/v1 is full: ")
	checkFault(t, err, nil, "no space left on device")
	checkCache(t, dir)
	small := newImage(tarball(file{"etc/a", noise(11, 300<<10)}))
	if _, err := Pull(t.Context(), "oci:"+small.layout(t, small.done()), o); err != nil {
		t.Errorf("after the device was full: %v", err)
	}

	// Nothing at all fits: the first file cannot be made.
	write(t, dir+"/fill", make([]byte, 100<<10))
	fill, err := os.OpenFile(dir+"/fill", os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = fill.Write(make([]byte, 4096))
	}
	fill.Close()
	_, err = Pull(t.Context(), "oci:"+m.layout(t, m.done()), o)
	if err == nil || !errors.Is(err, unix.ENOSPC) {
		t.Errorf("device without any space: %v", err)
	}
	checkCache(t, dir)
}

func TestInflateLimit(t *testing.T) {
	p := newPipe()
	go func() { p.closeWrite(p.readFrom(bytes.NewReader(make([]byte, 3*chunk)), 2*chunk)) }()
	if _, err := layer.Scan(p, &bytes.Buffer{}, layer.Limits{}); err != nil && !strings.Contains(err.Error(), "legitimate") {
		t.Error(err)
	}
	if err := p.closeRead(); err == nil || !strings.Contains(err.Error(), "inflates to more than") {
		t.Errorf("over the limit: %v", err)
	}
	o := options(t, t.TempDir())
	o.Limits.Tar = 1 << 20
	m := newImage(tarball(file{"zeros", string(make([]byte, 2<<20))}))
	_, err := Pull(t.Context(), "oci:"+m.layout(t, m.done()), o)
	checkFault(t, err, nil, "zeros: claims 2 MiB (2097152 bytes), limit of a layer is 1 MiB")
}

// TestSparseBomb has a layer of 2 KiB that has 63 GiB of nothing in it.
func TestSparseBomb(t *testing.T) {
	m := newImage(sparseFile("usr/bomb", 63<<30))
	_, err := Pull(t.Context(), "oci:"+m.layout(t, m.done()), options(t, t.TempDir()))
	checkFault(t, err, nil, "usr/bomb: claims 63 GiB (67645734912 bytes), most of them holes; limit of the holes in a layer is 16 GiB (17179869184 bytes)")
}

// sparseFile returns a layer with one file that is a hole.
func sparseFile(name string, size uint64) []byte {
	b := make([]byte, 2048)
	copy(b, name)
	copy(b[100:], "0000644\x000000000\x000000000\x0000000000000\x0000000000000\x00        S")
	copy(b[257:], "ustar  \x00")
	for _, at := range []int{386, 483} { // where the only piece is, of no size; size of the file
		b[at] = 0x80
		binary.BigEndian.PutUint64(b[at+4:], size)
	}
	sum := 0
	for _, c := range b[:512] {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	return b
}

// TestManyNames has layers that are small each, and too much together.
func TestManyNames(t *testing.T) {
	defer func(n int64) { maxIndexes = n }(maxIndexes)
	maxIndexes = 20_000
	m := newImage()
	for i := range 20 {
		tar := tarball(file{fmt.Sprint(i, "/", strings.Repeat("n/", 1000)), ""})
		m.add(tar, gzipped(tar))
	}
	o := options(t, t.TempDir())
	_, err := Pull(t.Context(), "oci:"+m.layout(t, m.done()), o)
	checkFault(t, err, nil, "layer sha256:")
	checkFault(t, err, nil, "the names and attributes of all layers have more than 20000 bytes")
	if _, err := Prune(o.Cache, PruneOptions{}); err != nil {
		t.Error(err)
	}
	if all, err := Usage(o.Cache); len(all) != 0 || err != nil {
		t.Errorf("still in use: %v, %v", all, err)
	}
}

// TestMain lets tests run pulls in processes of their own.
func TestMain(m *testing.M) {
	if ref := os.Getenv("OHP_TEST_PULL"); ref != "" {
		os.Exit(pullMain(ref))
	}
	os.Exit(m.Run())
}

func pullMain(ref string) int {
	no := false
	img, err := Pull(context.Background(), ref, Options{Cache: os.Getenv("OHP_TEST_CACHE"), Arch: "amd64", Registry: registry.Options{TLSVerify: &no, RegistryConf: os.Getenv("OHP_TEST_CONF"), AuthFile: os.Getenv("OHP_TEST_CONF") + ".none"}})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	img.Close()
	return 0
}

// pullProcess starts a pull in another process.
func pullProcess(t *testing.T, ref string, o Options) *exec.Cmd {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "OHP_TEST_PULL="+ref, "OHP_TEST_CACHE="+o.Cache, "OHP_TEST_CONF="+o.Registry.RegistryConf)
	c.Stdout, c.Stderr = &bytes.Buffer{}, os.Stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestProcesses(t *testing.T) {
	m := newImage(tarball(file{"etc/a", noise(12, 4<<20)}), tarball(file{"etc/b", noise(13, 1<<20)}))
	reg := serve(t, m, m.done())
	reg.slow = 2 * time.Millisecond
	o := options(t, t.TempDir())
	var all []*exec.Cmd
	for range 3 {
		all = append(all, pullProcess(t, reg.ref, o))
	}
	for _, c := range all {
		if err := c.Wait(); err != nil {
			t.Errorf("%v: %s", err, c.Stdout)
		}
	}
	if n := reg.blobGets(); n != 2 {
		t.Errorf("%d requests for 2 layers", n)
	}
	checkCache(t, o.Cache)
}

// TestKill kills pulls at all points, and expects the next to be none the
// worse for it.
func TestKill(t *testing.T) {
	m := newImage(tarball(file{"etc/a", noise(14, 4<<20)}), tarball(file{"etc/b", noise(15, 1<<20)}))
	top := m.done()
	reg := serve(t, m, top)
	reg.slow = time.Millisecond
	archive := "oci-archive:" + archiveOf(t, m.layout(t, top))
	reference := options(t, t.TempDir())
	img, err := Pull(t.Context(), reg.ref, reference)
	if err != nil {
		t.Fatal(err)
	}
	img.Close()
	want := snapshot(t, reference.Cache)

	unfinished := 0
	o := options(t, t.TempDir())
	for i := range 24 {
		ref := reg.ref
		if i%4 == 3 {
			ref = archive
		}
		if i%4 == 0 {
			o = options(t, t.TempDir())
		}
		reg.pieces.Store(0)
		reg.most.Store(int64(i*83/24) + 1)
		c := pullProcess(t, ref, o)
		done := make(chan struct{})
		go func() { _ = c.Wait(); close(done) }()
		if ref == archive {
			time.Sleep(time.Duration(10*i) * time.Millisecond)
		} else {
			reg.waitFor(int64(i*83/24), done)
		}
		c.Process.Kill()
		<-done
		reg.most.Store(0)
		if left, _ := filepath.Glob(o.Cache + "/v1/layers/*.tmp"); len(left) > 0 {
			unfinished++
		}
		// Every file under its final name is complete.
		for name, d := range snapshot(t, o.Cache) {
			if want[name] != d {
				t.Errorf("after %d: %s is %s, want %s", i, name, d, want[name])
			}
		}
		if i%4 != 3 {
			continue
		}
		img, err := Pull(t.Context(), reg.ref, o)
		if err != nil {
			t.Fatalf("after kills: %v", err)
		}
		img.Close()
		if !maps.Equal(snapshot(t, o.Cache), want) {
			t.Error("cache differs after kills")
		}
		checkCache(t, o.Cache)
	}
	t.Logf("%d of 24 were killed in the middle of a layer", unfinished)
	if unfinished < 10 {
		t.Errorf("only %d of 24 were killed in the middle of a layer", unfinished)
	}
}
