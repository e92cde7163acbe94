// Package synthetic writes containers of any size for benchmarks: plain operating
// systems that ohp-assemble accepts, with the names, sizes and attributes of a
// distribution and made-up content.
//
// A container is an OCI layout of one image for arm64, which needs no GRUB
// modules. The same options give the same bytes. Layer 0 has the boot files and
// the policy; packages of files are spread over all layers. File sizes are
// skewed as in a real system: half of the files are below a seventh of the mean.
package synthetic

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
)

// Options describe the content of a container.
type Options struct {
	Files  int               // names of all kinds, directories aside
	Layers int               // at least 1
	Mean   int64             // bytes of an average file; zero means 1 KiB
	Policy map[string]string // files of the SELinux policy by their plain names, such as file_contexts; nil means a made-up one
}

// Write writes a container to a directory, which it makes, and returns its
// reference.
func Write(dir string, o Options) (reference string, err error) {
	blobs := filepath.Join(dir, "blobs/sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return "", err
	}
	w := &writer{blobs: blobs, options: o, random: rand.New(rand.NewPCG(1, 2))}
	for i := range o.Layers {
		if err := w.layer(i); err != nil {
			return "", err
		}
	}
	digest, err := w.manifest(dir)
	return "oci:" + dir + "@" + digest, err
}

// A descriptor is that of a blob.
type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
}

type writer struct {
	blobs   string
	options Options
	random  *rand.Rand
	files   int // written so far
	number  int // of the next package
	layers  []descriptor
	diffIDs []string
}

const media = "application/vnd.oci.image."

// layer writes a layer: its share of the files, and the system in the first one.
func (w *writer) layer(i int) error {
	file, err := os.CreateTemp(w.blobs, "layer.")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	blob, diff := &counter{w: file, sum: sha256.New()}, sha256.New()
	zip, err := gzip.NewWriterLevel(blob, gzip.BestSpeed)
	if err != nil {
		return err
	}
	l := &layer{tar: tar.NewWriter(io.MultiWriter(zip, diff)), made: map[string]bool{}, random: w.random}
	if i == 0 {
		l.system(w.options.Policy)
	}
	for w.files < (i+1)*w.options.Files/w.options.Layers {
		w.files += l.pack(w.number, max(w.options.Mean, 1), w.options.Files*(i+1)/w.options.Layers-w.files)
		w.number++
	}
	l.close()
	if err := zip.Close(); err != nil || l.err != nil {
		return fmt.Errorf("layer %d: %w", i, firstError(l.err, err))
	}
	w.diffIDs = append(w.diffIDs, digestOf(diff))
	w.layers = append(w.layers, descriptor{media + "layer.v1.tar+gzip", digestOf(blob.sum), blob.n})
	return os.Rename(file.Name(), filepath.Join(w.blobs, hex.EncodeToString(blob.sum.Sum(nil))))
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// manifest writes all but the layers, and returns the digest of the manifest.
func (w *writer) manifest(dir string) (string, error) {
	history := make([]map[string]string, len(w.layers))
	for i := range history {
		history[i] = map[string]string{"created_by": "synthetic"}
	}
	config, err := w.document("config.v1+json", map[string]any{
		"architecture": "arm64", "os": "linux", "created": "2026-01-02T03:04:05Z", "history": history,
		"config": map[string]any{"Labels": map[string]string{"containers.bootc": "1", "org.opencontainers.image.version": "1"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": w.diffIDs},
	})
	if err != nil {
		return "", err
	}
	manifest, err := w.document("manifest.v1+json", map[string]any{
		"schemaVersion": 2, "mediaType": media + "manifest.v1+json", "config": config, "layers": w.layers,
	})
	if err != nil {
		return "", err
	}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []descriptor{manifest}})
	if err != nil {
		return "", err
	}
	return manifest.Digest, firstError(
		os.WriteFile(filepath.Join(dir, "index.json"), index, 0o644),
		os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644))
}

func (w *writer) document(kind string, v any) (descriptor, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return descriptor{}, err
	}
	sum := sha256.Sum256(text)
	name := hex.EncodeToString(sum[:])
	return descriptor{media + kind, "sha256:" + name, int64(len(text))}, os.WriteFile(filepath.Join(w.blobs, name), text, 0o644)
}

func digestOf(sum hash.Hash) string { return "sha256:" + hex.EncodeToString(sum.Sum(nil)) }

// A counter counts and hashes the bytes that it passes on.
type counter struct {
	w   io.Writer
	sum hash.Hash
	n   int64
}

func (c *counter) Write(p []byte) (int, error) {
	c.sum.Write(p)
	c.n += int64(len(p))
	return c.w.Write(p)
}

// A layer is a tar on its way to a blob. After an error it does nothing.
type layer struct {
	tar    *tar.Writer
	made   map[string]bool // directories
	random *rand.Rand
	err    error
}

// epoch is the time of all files.
var epoch = time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)

func (l *layer) header(h *tar.Header) {
	if l.err != nil {
		return
	}
	h.ModTime, h.Format = epoch, tar.FormatPAX
	l.err = l.tar.WriteHeader(h)
}

// parents adds the directories that a name is in.
func (l *layer) parents(name string) {
	dir := path.Dir(name)
	if dir == "." || l.made[dir] {
		return
	}
	l.parents(dir)
	l.dir(dir, 0o755)
}

func (l *layer) dir(name string, mode int64) {
	l.made[name] = true
	l.header(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode})
}

func (l *layer) link(name, target string) {
	l.parents(name)
	l.header(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777})
}

func (l *layer) text(name, text string) {
	l.parents(name)
	l.header(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(text))})
	if l.err == nil {
		_, l.err = io.WriteString(l.tar, text)
	}
}

// file adds a file of made-up content, with xattrs.
func (l *layer) file(name string, mode, size int64, xattrs map[string]string) {
	l.parents(name)
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: size}
	for key, value := range xattrs {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords["SCHILY.xattr."+key] = value
	}
	l.header(h)
	line := []byte(strings.Repeat(fmt.Sprintf("%016x %s\n", l.random.Uint64(), path.Base(name)), 64))
	for size > 0 && l.err == nil {
		var n int
		n, l.err = l.tar.Write(line[:min(size, int64(len(line)))])
		size -= int64(n)
	}
}

func (l *layer) close() {
	if l.err == nil {
		l.err = l.tar.Close()
	}
}

// capability is a security.capability of cap_net_raw=ep.
const capability = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// pack adds the files of a package, at most most of them, and returns how many.
func (l *layer) pack(number int, mean int64, most int) (files int) {
	id := fmt.Sprintf("p%05d", number)
	size := func() int64 { // log-normal, sigma 2
		return min(int64(float64(mean)*math.Exp(2*l.random.NormFloat64()-2)), 64<<20)
	}
	var names []string
	add := func(xattrs map[string]string, mode int64, format string, args ...any) {
		if files < most {
			name := fmt.Sprintf(format, args...)
			l.file(name, mode, size(), xattrs)
			names = append(names, name)
			files++
		}
	}
	var component map[string]string
	if number%8 == 0 {
		component = map[string]string{"user.component": "rpm/" + id}
	}
	var caps map[string]string
	if number%64 == 0 {
		caps = map[string]string{"security.capability": capability}
	}
	add(caps, 0o755, "usr/bin/%s", id)
	add(nil, 0o755, "usr/lib64/lib%s.so.1.0", id)
	add(nil, 0o644, "usr/lib/systemd/system/%s.service", id)
	add(nil, 0o640, "etc/%s/%s.conf", id, id)
	for i := range 4 {
		add(component, 0o644, "usr/share/doc/%s/README.%d", id, i)
		add(component, 0o644, "usr/share/locale/%s/LC_MESSAGES/%s.mo", [...]string{"de", "fr", "ja", "cs"}[i], id)
	}
	for i := range 8 + l.random.IntN(40) {
		add(component, 0o644, "usr/lib/python3.13/site-packages/%s/sub%d/module_%02d.py", id, i%3, i)
	}
	for i := range 4 + l.random.IntN(12) {
		add(nil, 0o644, "usr/share/%s/data/item-%03d.dat", id, i)
	}
	if files+2 <= most {
		l.link("usr/lib64/lib"+id+".so.1", "lib"+id+".so.1.0")
		l.header(&tar.Header{Typeflag: tar.TypeLink, Name: "usr/share/" + id + "/again", Linkname: names[len(names)-1]})
		files += 2
	}
	return files
}

// system adds the files that every image needs.
func (l *layer) system(policy map[string]string) {
	for _, name := range []string{"boot", "dev", "proc", "run", "sys", "sysroot", "tmp", "usr", "var", "usr/lib/tmpfiles.d", "usr/lib/bootupd/grub2-static/configs.d"} {
		l.parents(name)
		l.dir(name, 0o755)
	}
	l.link("ostree", "sysroot/ostree")
	files := maps.Clone(boot)
	if policy == nil {
		policy = map[string]string{"file_contexts": contexts()}
	}
	for name, text := range policy {
		files["etc/selinux/targeted/contexts/files/"+name] = text
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		l.text(name, files[name])
	}
}

const bootupd = "usr/lib/bootupd/"

// boot are the files that [coreos.Preflight] looks for.
var boot = map[string]string{
	"usr/lib/modules/6.19.0/vmlinuz":                 strings.Repeat("kernel\n", 1<<20),
	"usr/lib/modules/6.19.0/initramfs.img":           strings.Repeat("initramfs\n", 4<<20),
	"usr/lib/efi/grub2/2.12/EFI/demo/grubaa64.efi":   strings.Repeat("grub\n", 1<<16),
	"usr/lib/efi/shim/16.1/EFI/demo/shimaa64.efi":    strings.Repeat("shim\n", 1<<16),
	"usr/lib/efi/shim/16.1/EFI/BOOT/BOOTAA64.EFI":    strings.Repeat("shim\n", 1<<16),
	bootupd + "updates/EFI.json":                     `{"timestamp":"2026-01-02T00:00:00Z","version":"grub2-2.12,shim-16.1"}`,
	bootupd + "grub2-static/grub-static-efi.cfg":     "# EFI\n",
	bootupd + "grub2-static/grub-static-pre.cfg":     "# before\n",
	bootupd + "grub2-static/grub-static-post.cfg":    "# after\n",
	bootupd + "grub2-static/configs.d/10_blscfg.cfg": "blscfg\n",
	"usr/lib/ostree/prepare-root.conf":               "[composefs]\nenabled = true\n",
	"usr/lib/os-release":                             "NAME=Synthetic\nPRETTY_NAME=Synthetic\nID=synthetic\n",
	"etc/selinux/config":                             "SELINUX=enforcing\nSELINUXTYPE=targeted\n",
	"etc/passwd":                                     "root:x:0:0:root:/root:/bin/sh\n",
	"etc/group":                                      "root:x:0:\n",
}

// contexts returns a policy of the size and the forms of Fedora's.
func contexts() string {
	var b strings.Builder
	line := func(format string, n int, kind, label string) {
		fmt.Fprintf(&b, format+"\t%s\tsystem_u:object_r:%s:s0\n", n, kind, label)
	}
	b.WriteString("/.*\tsystem_u:object_r:default_t:s0\n/\t-d\tsystem_u:object_r:root_t:s0\n")
	for _, s := range [][2]string{{"/usr/.*", "usr_t"}, {"/usr/(.*/)?lib(/.*)?", "lib_t"}, {"/usr/(.*/)?bin(/.*)?", "bin_t"},
		{"/usr/(.*/)?lib(64)?/.+\\.so(\\.[^/]*)*", "lib_t"}, {"/usr/share/locale(/.*)?", "locale_t"}, {"/etc/.*", "etc_t"}, {"/var/.*", "var_t"}} {
		fmt.Fprintf(&b, "%s\tsystem_u:object_r:%s:s0\n", s[0], s[1])
	}
	for i := range 700 {
		line("/etc/daemon%d(/.*)?", i, "", "daemon_etc_t")
		line("/usr/bin/daemon%d", i, "--", "daemon_exec_t")
		line("/usr/lib/systemd/system/daemon%d.*", i, "--", "daemon_unit_file_t")
		line("/usr/share/daemon%d(/.*)?", i, "", "daemon_share_t")
		line("/usr/lib/daemon%d/.*\\.so(\\.[^/]*)*", i, "--", "daemon_lib_t")
		line("/var/lib/daemon%d(/.*)?", i, "", "daemon_var_lib_t")
		line("/var/log/daemon%d\\.log.*", i, "--", "daemon_log_t")
	}
	return b.String()
}
