package oci

import (
	"archive/tar"
	"bytes"
	"fmt"
	"hash/crc64"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/vbatts/tar-split/tar/storage"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// A testStore is a store as podman makes it.
type testStore struct {
	driver, root string
	images       []map[string]any
	layers       []map[string]any
}

// put stores an image. Its layers are stored as tar-split has them.
func (s *testStore) put(t *testing.T, m *testImage, layers [][]byte, names ...string) (id string) {
	t.Helper()
	parent := ""
	for i, l := range layers {
		id := fmt.Sprintf("%d%.63s", i, digest.FromBytes(append([]byte(parent), l...)).Encoded())
		s.layers = append(s.layers, map[string]any{"id": id, "parent": parent, "diff-digest": digest.FromBytes(l), "diff-size": len(l)})
		dir := filepath.Join(s.root, "vfs/dir", id)
		if s.driver == "overlay" {
			dir = filepath.Join(s.root, "overlay", id, "diff")
		}
		write(t, filepath.Join(s.root, s.driver+"-layers", id+".tar-split.gz"), gzipped(split(t, l, dir)))
		parent = id
	}
	top := m.done()
	id = m.manifest.Config.Digest.Encoded()
	st := &store{driver: s.driver, root: s.root}
	for key, b := range map[string][]byte{"manifest": m.blobs[top], "manifest-" + top.String(): m.blobs[top], m.manifest.Config.Digest.String(): m.blobs[m.manifest.Config.Digest]} {
		write(t, st.bigData(id, key), b)
	}
	s.images = append(s.images, map[string]any{"id": id, "names": names, "layer": parent, "metadata": "{}", "digest": top})
	s.save(t)
	return id
}

func (s *testStore) save(t *testing.T) {
	t.Helper()
	write(t, filepath.Join(s.root, s.driver+"-images/images.json"), mustJSON(s.images))
	write(t, filepath.Join(s.root, s.driver+"-layers/layers.json"), mustJSON(s.layers))
}

// split stores the files of a tar, and the rest of it as tar-split does.
func split(t *testing.T, tarball []byte, dir string) []byte {
	t.Helper()
	var lines bytes.Buffer
	counted := bytes.NewReader(tarball)
	r, from := tar.NewReader(counted), 0
	segment := func() {
		at := len(tarball) - counted.Len()
		fmt.Fprintf(&lines, "%s\n", mustJSON(map[string]any{"type": 2, "payload": tarball[from:at], "position": 0}))
		from = at
	}
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		segment()
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, h.Name), data)
		sum := crc64.New(storage.CRCTable)
		sum.Write(data)
		line := map[string]any{"type": 1, "name": h.Name, "payload": sum.Sum(nil), "position": 0}
		if len(data) > 0 {
			line["size"] = len(data)
		}
		fmt.Fprintf(&lines, "%s\n", mustJSON(line))
		from = len(tarball) - counted.Len()
	}
	_, _ = io.Copy(io.Discard, counted)
	segment()
	return lines.Bytes()
}

func storageTestImage() (*testImage, [][]byte) {
	layers := [][]byte{
		tarball(file{"etc/a", "a"}, file{"etc/b", noise(1, 300_000)}, file{"etc/empty", ""}),
		tarball(file{"etc/.wh.b", ""}, file{"etc/c", "c"}),
	}
	return newImage(layers...), layers
}

// TestStorage pulls from stores of both drivers, by all names that an image has.
func TestStorage(t *testing.T) {
	for _, driver := range []string{"overlay", "vfs"} {
		m, layers := storageTestImage()
		st := &testStore{driver: driver, root: filepath.Join(t.TempDir(), "store")}
		id := st.put(t, m, layers, "localhost/os:1", "example.org/os:latest")
		top := m.done()
		want := map[string]string{"etc/a": "a", "etc/b": noise(1, 300_000), "etc/empty": "", "etc/.wh.b": "", "etc/c": "c"}
		conf := filepath.Join(t.TempDir(), "storage.conf")
		write(t, conf, fmt.Appendf(nil, "[storage]\ngraphroot=%q\n", st.root))
		before := tree(t, st.root)
		for _, ref := range []string{"localhost/os:1", "example.org/os", "example.org/os:latest", id, "@" + id[:12], "[" + st.root + "]localhost/os:1",
			"[" + driver + "@" + st.root + "+/run/x:opt=1]localhost/os:1", "localhost/os@" + top.String(), "localhost/os:1@" + top.String()} {
			o := options(t, t.TempDir())
			o.StorageConf = conf
			for range 2 { // cold and warm
				img, err := Pull(t.Context(), "containers-storage:"+ref, o)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, contents(t, img)); diff != "" || img.Digest != top || img.Labels["containers.bootc"] != "1" {
					t.Errorf("%s: %s: %v", ref, img.Digest, diff)
				}
				if r, err := parseReference(img.Reference); err != nil || r.digest != top || r.transport != "containers-storage" {
					t.Errorf("%s: reference %s, %v", ref, img.Reference, err)
				}
				for i, l := range img.Layers {
					if l.DiffID != digest.FromBytes(layers[i]) || l.Digest != l.DiffID {
						t.Errorf("%s: layer %d is %s, %s", ref, i, l.Digest, l.DiffID)
					}
				}
				img.Close()
			}
			checkCache(t, o.Cache)
		}
		if diff := cmp.Diff(before, tree(t, st.root)); diff != "" {
			t.Errorf("the store has changed: %s", diff)
		}
		// Not from the user's store, but from an additional one.
		write(t, conf, fmt.Appendf(nil, "[storage]\ngraphroot=%q\n[storage.options]\nadditionalimagestores=[%q]\n", t.TempDir(), st.root))
		o := options(t, t.TempDir())
		o.StorageConf = conf
		checkAllowed(t, "containers-storage:localhost/os:1", o)
		for scope, forbidden := range map[string]bool{"": true, "[" + driver + "@" + st.root + "]": true, "[" + st.root + "]": true,
			"[" + driver + "@" + st.root + "]localhost": true, "[" + driver + "@" + st.root + "]localhost/os:1": true, "[/other]": false} {
			o.Policy = writePolicy(t, `{"default":[{"type":"insecureAcceptAnything"}],"transports":{"containers-storage":{%q:[{"type":"reject"}]}}}`, scope)
			if _, err := Pull(t.Context(), "containers-storage:localhost/os:1", o); forbidden {
				checkFault(t, err, registry.ErrAccess, "rejects it")
			} else if err != nil {
				t.Error(err)
			}
		}
	}
}

// tree lists the files of a directory with their sizes and times.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil {
			all[path] = fmt.Sprint(info.Size(), info.Mode(), info.ModTime())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestStorageFaults(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret")
	write(t, outside, []byte("a"))
	for name, tc := range map[string]struct {
		change func(t *testing.T, st *testStore, dir string) // dir has the content of the lowest layer
		ref    string
		kind   error
		want   string
	}{
		"no such image":  {ref: "localhost/none", kind: registry.ErrNotFound, want: "there is localhost/os:1"},
		"no such digest": {ref: "localhost/os:1@" + digest.FromString("x").String(), kind: registry.ErrNotFound, want: "no image localhost/os:1"},
		"no store":       {change: func(_ *testing.T, st *testStore, _ string) { os.RemoveAll(st.root) }, kind: registry.ErrNotFound, want: "has no images of the driver overlay or vfs"},
		"other driver":   {ref: "[btrfs@/x]os", want: `driver "btrfs" is not supported`},
		"changed file":   {change: func(t *testing.T, _ *testStore, dir string) { write(t, dir+"/etc/a", []byte("b")) }, kind: registry.ErrVerify, want: `checksum failed for "etc/a"`},
		"cut off file":   {change: func(t *testing.T, _ *testStore, dir string) { write(t, dir+"/etc/b", []byte("b")) }, kind: registry.ErrVerify, want: `checksum failed for "etc/b"`},
		"missing file":   {change: func(t *testing.T, _ *testStore, dir string) { os.Remove(dir + "/etc/a") }, want: "etc/a: no such file", kind: nil},
		"directory":      {change: func(t *testing.T, _ *testStore, dir string) { os.Remove(dir + "/etc/a"); os.Mkdir(dir+"/etc/a", 0o700) }, want: "etc/a: not a regular file"},
		"link out": {change: func(t *testing.T, _ *testStore, dir string) {
			os.Remove(dir + "/etc/a")
			os.Symlink(outside, dir+"/etc/a")
		}, want: "path escapes"},
		"layers not known": {change: func(t *testing.T, st *testStore, _ string) { st.layers = st.layers[1:]; st.save(t) }, want: "is missing"},
		"pulled in parts":  {change: func(t *testing.T, st *testStore, _ string) { delete(st.layers[0], "diff-digest"); st.save(t) }, want: "was pulled in parts"},
		"a layer too few":  {change: func(t *testing.T, st *testStore, _ string) { delete(st.layers[1], "parent"); st.save(t) }, want: "1 layers, but 2 diffIDs"},
		"garbage": {change: func(t *testing.T, st *testStore, _ string) {
			write(t, st.root+"/overlay-images/images.json", []byte("["))
		}, want: "images.json: unexpected end"},
		"composefs": {change: func(t *testing.T, st *testStore, dir string) {
			write(t, filepath.Join(filepath.Dir(dir), "composefs-data/composefs.blob"), nil)
		}, want: "is kept for composefs"},
		"endless": {change: func(t *testing.T, st *testStore, _ string) { st.layers[0]["parent"] = st.layers[0]["id"]; st.save(t) }, want: "not a valid ID"},
		"odd note": {change: func(t *testing.T, st *testStore, _ string) {
			write(t, filepath.Join(st.root, "overlay-layers", st.layers[0]["id"].(string)+".tar-split.gz"), gzipped([]byte(`{"type":3}`)))
		}, kind: registry.ErrVerify, want: "blob has 0 bytes"},
		"cut off note": {change: func(t *testing.T, st *testStore, _ string) {
			write(t, filepath.Join(st.root, "overlay-layers", st.layers[0]["id"].(string)+".tar-split.gz"), gzipped([]byte(`{"type":2,"payload":"YQ==`)))
		}, want: "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			m, layers := storageTestImage()
			st := &testStore{driver: "overlay", root: filepath.Join(t.TempDir(), "store")}
			st.put(t, m, layers, "localhost/os:1")
			if tc.change != nil {
				tc.change(t, st, filepath.Join(st.root, "overlay", st.layers[0]["id"].(string), "diff"))
			}
			if tc.ref == "" {
				tc.ref = "localhost/os:1"
			}
			o := options(t, t.TempDir())
			o.StorageConf = filepath.Join(t.TempDir(), "storage.conf")
			write(t, o.StorageConf, fmt.Appendf(nil, "[storage]\ngraphroot=%q\n", st.root))
			_, err := Pull(t.Context(), "containers-storage:"+tc.ref, o)
			checkFault(t, err, tc.kind, tc.want)
			checkCache(t, o.Cache)
		})
	}
}

// TestStorageUnreadable has a file of another user, or one that no one may read.
func TestStorageUnreadable(t *testing.T) {
	l := storedLayer{ID: "x", store: &store{driver: "vfs", root: "/store"}}
	if err := l.readable(&os.PathError{Op: "open", Path: "etc/shadow", Err: os.ErrPermission}); !strings.Contains(err.Error(), "etc/shadow: permission denied") || !strings.Contains(err.Error(), "podman unshare") {
		t.Error(err)
	}
	if !treetest.Unprivileged(t) { // root may read everything
		return
	}
	m, layers := storageTestImage()
	st := &testStore{driver: "vfs", root: filepath.Join(t.TempDir(), "store")}
	st.put(t, m, layers, "localhost/os:1")
	if err := os.Chmod(filepath.Join(st.root, "vfs/dir", st.layers[0]["id"].(string), "etc/a"), 0); err != nil {
		t.Fatal(err)
	}
	_, err := Pull(t.Context(), "containers-storage:["+st.root+"]localhost/os:1", options(t, t.TempDir()))
	checkFault(t, err, nil, "podman unshare")
}

// TestBuildah pulls images that buildah has built.
func TestBuildah(t *testing.T) {
	buildah, skopeo := treetest.Tool(t, "buildah"), treetest.Tool(t, "skopeo")
	treetest.Root(t)
	for _, driver := range []string{"vfs", "overlay"} {
		dir := t.TempDir()
		store := []string{"--root", dir + "/root", "--runroot", dir + "/run", "--storage-driver", driver}
		do := func(args ...string) string { return strings.TrimSpace(run(t, nil, buildah, append(store, args...)...)) }
		if out, err := exec.Command(buildah, append(store, "info")...).CombinedOutput(); err != nil {
			t.Logf("%s: not here: %s", driver, out)
			continue
		}
		files := map[string]string{"etc/a": "a", "etc/shadow": "secret", "usr/b": noise(2, 1<<20), "usr/" + strings.Repeat("n", 200): "long"}
		for name, data := range files {
			write(t, filepath.Join(dir, "files", name), []byte(data))
		}
		if err := os.Chmod(dir+"/files/etc/shadow", 0); err != nil {
			t.Fatal(err)
		}
		c := do("from", "scratch")
		do("add", c, dir+"/files", "/")
		do("config", "--label", "containers.bootc=1", c)
		do("commit", "-q", c, "localhost/os:1")
		up := do("from", "localhost/os:1")
		write(t, dir+"/c", []byte("c"))
		do("add", up, dir+"/c", "/etc/c")
		do("commit", "-q", up, "localhost/os:2")
		files["etc/c"] = "c"
		// The result must be that of skopeo.
		run(t, nil, skopeo, append(append([]string{"--insecure-policy", "copy"}, "--dest-oci-accept-uncompressed-layers"), fmt.Sprintf("containers-storage:[%s@%s+%s]localhost/os:2", driver, dir+"/root", dir+"/run"), "oci:"+dir+"/copy")...)
		o := options(t, t.TempDir())
		ours, err := Pull(t.Context(), fmt.Sprintf("containers-storage:[%s@%s]localhost/os:2", driver, dir+"/root"), o)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := Pull(t.Context(), "oci:"+dir+"/copy", options(t, t.TempDir()))
		if err != nil {
			t.Fatal(err)
		}
		got := contents(t, ours)
		if diff := cmp.Diff(got, contents(t, theirs)); diff != "" || len(ours.Layers) != 2 || ours.Layers[1].DiffID != theirs.Layers[1].DiffID {
			t.Errorf("%s: %v", driver, diff)
		}
		maps.DeleteFunc(got, func(name, _ string) bool { return strings.HasSuffix(name, "/") || name == "etc" || name == "usr" })
		if diff := cmp.Diff(files, got); diff != "" {
			t.Errorf("%s: %v", driver, diff)
		}
		ours.Close()
		theirs.Close()
		run(t, nil, skopeo, "--insecure-policy", "copy", "oci:"+dir+"/copy", "docker-archive:"+dir+"/archive.tar:localhost/os:2")
		checkAllowed(t, "docker-archive:"+dir+"/archive.tar:localhost/os:2", o)
		do("rm", "-a")
	}
}

// dockerArchive writes images as docker save does, each with its name.
func dockerArchive(t *testing.T, names []string, images ...*testImage) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	put := func(name string, data []byte) {
		if err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(data)), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		w.Write(data)
	}
	var list []map[string]any
	for i, m := range images {
		item := map[string]any{"Config": fmt.Sprintf("%d.json", i)}
		if names[i] != "" {
			item["RepoTags"] = []string{names[i]}
		}
		put(fmt.Sprintf("%d.json", i), mustJSON(m.config))
		var layers []string
		for j, l := range m.manifest.Layers {
			z, err := gzip.NewReader(bytes.NewReader(m.blobs[l.Digest]))
			if err != nil {
				t.Fatal(err)
			}
			plain, err := io.ReadAll(z)
			if err != nil {
				t.Fatal(err)
			}
			layers = append(layers, fmt.Sprintf("%d-%d/layer.tar", i, j))
			put(layers[j], plain)
		}
		item["Layers"] = layers
		list = append(list, item)
	}
	put("manifest.json", mustJSON(list))
	w.Close()
	name := filepath.Join(t.TempDir(), "os.tar")
	write(t, name, b.Bytes())
	return name
}

func TestDockerArchive(t *testing.T) {
	one := newImage(tarball(file{"etc/a", "a"}), tarball(file{"etc/c", noise(3, 100_000)}))
	two := newImage(tarball(file{"etc/a", "b"}))
	single, both := dockerArchive(t, []string{""}, one), dockerArchive(t, []string{"localhost/os:1", "localhost/os:2"}, one, two)
	for ref, want := range map[string]string{single: "a", both + ":localhost/os:1": "a", both + ":localhost/os:2": "b", both + ":@0": "a", both + ":@1": "b"} {
		o := options(t, t.TempDir())
		img, err := Pull(t.Context(), "docker-archive:"+ref, o)
		if err != nil {
			t.Fatal(err)
		}
		if contents(t, img)["etc/a"] != want || img.Labels["containers.bootc"] != "1" {
			t.Errorf("%s: %q", ref, contents(t, img))
		}
		if r, err := parseReference(img.Reference); err != nil || r.digest != img.Digest {
			t.Errorf("%s: reference %s, %v", ref, img.Reference, err)
		}
		img.Close()
		// The digest is that of the manifest that the archive would have.
		again, err := Pull(t.Context(), img.Reference, options(t, t.TempDir()))
		if err != nil || again.Digest != img.Digest {
			t.Fatal(err)
		}
		again.Close()
		checkCache(t, o.Cache)
	}
	for ref, kind := range map[string]error{both + ":localhost/os:3": registry.ErrNotFound, single + ".none": registry.ErrNotFound, both: nil} {
		_, err := Pull(t.Context(), "docker-archive:"+ref, options(t, t.TempDir()))
		checkFault(t, err, kind, "docker-archive:")
	}
	_, err := Pull(t.Context(), "docker-archive:"+single+"@"+digest.FromString("x").String(), options(t, t.TempDir()))
	checkFault(t, err, registry.ErrVerify, "digest mismatch")
	one.config.RootFS.DiffIDs[0] = digest.FromString("x")
	_, err = Pull(t.Context(), "docker-archive:"+dockerArchive(t, []string{""}, one), options(t, t.TempDir()))
	checkFault(t, err, registry.ErrVerify, "")
}

func TestStorageConf(t *testing.T) {
	home := t.TempDir()
	for _, name := range []string{"XDG_DATA_HOME", "XDG_CONFIG_HOME", "CONTAINERS_STORAGE_CONF"} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", home)
	t.Setenv("_CONTAINERS_ROOTLESS_UID", "1000") // set by podman unshare
	user := filepath.Join(home, ".config/containers/storage.conf")
	explicit := filepath.Join(t.TempDir(), "storage.conf")
	for _, tc := range []struct{ user, explicit, driver, root string }{
		{user: "[storage]\ndriver=\"vfs\"\n", driver: "vfs", root: home + "/.local/share/containers/storage"},
		{user: "[storage]\ngraphroot=\"$HOME/images\"\n", root: home + "/images"},
		{user: "[storage]\ngraphroot=\"/user/$UID\"\n", root: "/user/1000"},
		{user: "[storage]\ngraphroot=\"/user\"\n", explicit: "[storage]\ngraphroot=\"/explicit\"\n", root: "/explicit"},
	} {
		write(t, user, []byte(tc.user))
		file := ""
		if tc.explicit != "" {
			file = explicit
			write(t, file, []byte(tc.explicit))
		}
		conf, err := readStorageConf(file)
		if err != nil || conf.driver != tc.driver || len(conf.roots) != 1 || conf.roots[0] != tc.root {
			t.Errorf("%+v: %+v, %v", tc, conf, err)
		}
	}
	if _, err := readStorageConf(filepath.Join(home, "none")); err == nil {
		t.Error("a storage.conf that is asked for must be there")
	}
	write(t, user, []byte("[storage\n"))
	if _, err := readStorageConf(""); err == nil || !strings.Contains(err.Error(), user) {
		t.Error(err)
	}
}

// TestStorageList pulls from lists that podman manifest makes of images that are
// in the store, or are not.
func TestStorageList(t *testing.T) {
	for _, driver := range []string{"overlay", "vfs"} {
		m, layers := storageTestImage()
		st := &testStore{driver: driver, root: filepath.Join(t.TempDir(), "store")}
		st.put(t, m, layers, "localhost/os:1")
		entry := imgspec.Descriptor{MediaType: imgspec.MediaTypeImageManifest, Digest: m.done(), Size: 1, Platform: &imgspec.Platform{OS: "linux", Architecture: "amd64"}}
		absent := entry
		absent.Digest, absent.Platform = digest.FromString("absent"), &imgspec.Platform{OS: "linux", Architecture: "arm64", Variant: "v8"}
		list := m.index(entry, absent)
		id := list.Digest.Encoded()
		on := &store{driver: driver, root: st.root}
		write(t, on.bigData(id, "manifest"), m.blobs[list.Digest]) // podman gives a list no other name
		st.images = append([]map[string]any{{"id": id, "names": []string{"localhost/list:1"}, "metadata": "{}"}}, st.images...)
		st.save(t)
		ref := "containers-storage:[" + driver + "@" + st.root + "]localhost/list:1"
		o := options(t, t.TempDir())
		for _, ref := range []string{ref, ref + "@" + list.Digest.String(), ref} { // the last one is warm
			img := pull(t, ref, o)
			if got := contents(t, img); img.Digest != entry.Digest || got["etc/a"] != "a" || len(img.Layers) != 2 {
				t.Errorf("%s: %s, %q", ref, img.Digest, keys(got))
			}
			img.Close()
			img = pull(t, img.Reference, options(t, t.TempDir())) // with the digest, and an empty cache
			img.Close()
		}
		_, err := Pull(t.Context(), ref+"@"+absent.Digest.String(), o)
		checkFault(t, err, registry.ErrNotFound, "no image localhost/list:1 of that digest in")
		o.Arch = "arm64"
		_, err = Pull(t.Context(), ref, o)
		checkFault(t, err, registry.ErrNotFound, "which is not in the store")
		o.Arch = "riscv64"
		_, err = Pull(t.Context(), ref, o)
		checkFault(t, err, registry.ErrNotFound, "no image for linux/riscv64, there is linux/amd64, linux/arm64/v8")
	}
}
