// Package tinyos makes a small container of an operating system for tests. It
// has every file that a build reads, of a few bytes each, for x86_64, aarch64
// and ppc64le. Nothing in it can run. Its bytes, and so all digests, are the
// same on every machine.
package tinyos

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// Arches are the architectures of the container, as machines call themselves.
var Arches = []string{"x86_64", "aarch64", "ppc64le"}

// Created is the time of the container.
var Created = time.Date(2026, 7, 31, 12, 0, 0, 0, time.UTC)

// Version is that of the operating system.
const Version = "44.20260731.1"

// A Form is how an operating system is in a container.
type Form int

const (
	Plain  Form = iota // files, and a layer on top of them
	Native             // an ostree commit in two layers, and the same layer on top
)

// Write writes the container to an OCI layout in a new folder, with an index of
// all architectures, and returns the reference of that index.
func Write(dir string, form Form) (ref string, err error) {
	l := layout{dir: dir}
	var manifests []descriptor
	for _, arch := range Arches {
		layers, commit := [][]byte{system(arch).bytes(), top(arch)}, 0
		if form == Native {
			layers, commit = native(arch), 2
		}
		d := l.image(arch, layers, commit)
		d.Platform = &platform{rootfs.GoArch(arch), "linux"}
		manifests = append(manifests, d)
	}
	index := l.put(indexType, marshal(map[string]any{"schemaVersion": 2, "mediaType": indexType, "manifests": manifests}))
	l.file("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	l.file("index.json", marshal(map[string]any{"schemaVersion": 2, "manifests": []descriptor{index}}))
	return "oci:" + dir + "@" + index.Digest, l.err
}

const (
	indexType    = "application/vnd.oci.image.index.v1+json"
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar"
)

type descriptor struct {
	MediaType string    `json:"mediaType"`
	Digest    string    `json:"digest"`
	Size      int       `json:"size"`
	Platform  *platform `json:"platform,omitempty"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

// A layout writes files until there is an error.
type layout struct {
	dir string
	err error
}

func (l *layout) file(name string, b []byte) {
	name = filepath.Join(l.dir, name)
	if l.err == nil {
		l.err = os.MkdirAll(filepath.Dir(name), 0o755)
	}
	if l.err == nil {
		l.err = os.WriteFile(name, b, 0o644)
	}
}

func (l *layout) put(mediaType string, b []byte) descriptor {
	sum := sha256.Sum256(b)
	digest := hex.EncodeToString(sum[:])
	l.file("blobs/sha256/"+digest, b)
	return descriptor{MediaType: mediaType, Digest: "sha256:" + digest, Size: len(b)}
}

// image writes an image, of which the first layers are a commit.
func (l *layout) image(arch string, layers [][]byte, commit int) descriptor {
	var list []descriptor
	var diffIDs []string
	var history []map[string]string
	for i, b := range layers {
		d := l.put(layerType, b)
		list, diffIDs = append(list, d), append(diffIDs, d.Digest)
		history = append(history, map[string]string{"created": Created.Format(time.RFC3339), "created_by": fmt.Sprint("layer ", i)})
	}
	labels := map[string]string{
		"containers.bootc": "1", "ostree.bootable": "true", "com.coreos.osname": "tinyos", "org.opencontainers.image.version": Version,
	}
	if commit > 0 {
		labels["ostree.final-diffid"] = diffIDs[commit-1]
	}
	config := l.put(configType, marshal(map[string]any{
		"created": Created.Format(time.RFC3339), "architecture": rootfs.GoArch(arch), "os": "linux",
		"config": map[string]any{"Labels": labels},
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffIDs}, "history": history,
	}))
	return l.put(manifestType, marshal(map[string]any{"schemaVersion": 2, "mediaType": manifestType, "config": config, "layers": list}))
}

func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // maps of strings and numbers
	}
	return b
}

// top returns a layer that adds, changes, links and removes files.
func top(arch string) []byte {
	top := newTar()
	top.file("etc/motd", 0o644, "welcome\n")
	top.file("usr/bin/tool", 0o4755, "\x7fELF a newer tool of "+arch)
	top.link(tar.TypeLink, "usr/bin/same-tool", "usr/bin/tool")
	top.file("usr/share/.wh.removed", 0o644, "")
	top.file("usr/share/doc/.wh..wh..opq", 0o644, "")
	top.file("usr/share/doc/new", 0o644, "new\n")
	return top.bytes()
}

const policy = `/.*                     system_u:object_r:default_t:s0
/                   -d  system_u:object_r:root_t:s0
/boot(/.*)?             system_u:object_r:boot_t:s0
/etc(/.*)?              system_u:object_r:etc_t:s0
/usr(/.*)?              system_u:object_r:usr_t:s0
/usr/bin(/.*)?          system_u:object_r:bin_t:s0
/usr/bin/tool       --  system_u:object_r:tool_exec_t:s0
/var(/.*)?              system_u:object_r:var_t:s0
/var/tmp/.*             <<none>>
/lost\+found        -d  system_u:object_r:lost_found_t:s0
/boot/lost\+found   -d  system_u:object_r:lost_found_t:s0
`

// loaders are the files of an architecture's boot loader.
func loaders(arch string) map[string]string {
	const bootupd, grub = "usr/lib/bootupd/", "usr/lib/grub/"
	files := map[string]string{
		bootupd + "grub2-static/grub-static-pre.cfg":     "set pager=1\n",
		bootupd + "grub2-static/grub-static-efi.cfg":     "configfile $prefix/grub.cfg\n",
		bootupd + "grub2-static/configs.d/10_blscfg.cfg": "blscfg\n",
	}
	const noted = `{"timestamp":"2026-01-01T00:00:00Z","version":"grub2-1:2.12"}`
	if efi := map[string]string{"x86_64": "x64", "aarch64": "aa64"}[arch]; efi != "" {
		files[bootupd+"updates/EFI/BOOT/BOOT"+strings.ToUpper(efi)+".EFI"] = "MZ shim"
		files[bootupd+"updates/EFI/tinyos/shim"+efi+".efi"] = "MZ shim"
		files[bootupd+"updates/EFI/tinyos/grub"+efi+".efi"] = "MZ grub " + strings.Repeat(arch, 10000)
		files[bootupd+"updates/EFI.json"] = noted
	}
	target := map[string]string{"x86_64": "i386-pc/", "ppc64le": "powerpc-ieee1275/"}[arch]
	if target == "" {
		return files
	}
	for _, module := range []string{"part_gpt", "ext2", "biosdisk", "fshelp", "normal"} {
		files[grub+target+module+".mod"] = "module " + module
	}
	files[grub+target+"moddep.lst"], files[grub+target+"command.lst"] = "ext2: fshelp\n", ""
	files[bootupd+"updates/BIOS.json"] = noted
	if arch == "ppc64le" {
		files[grub+target+"kernel.img"] = kernelImage(binary.BigEndian, 20, 0x200000)
		return files
	}
	files[grub+target+"kernel.img"] = kernelImage(binary.LittleEndian, 3, 0x9000)
	files[grub+target+"boot.img"] = sector("\x55\xaa")
	files[grub+target+"diskboot.img"] = sector("\x20\x08")
	files[grub+target+"lzma_decompress.img"] = strings.Repeat("\xdd", 64)
	return files
}

// sector returns a boot sector that ends in a mark of GRUB.
func sector(end string) string { return strings.Repeat("\xcc", 512-len(end)) + end }

// kernelImage returns the smallest kernel of GRUB: an executable for a machine
// with one section.
func kernelImage(order binary.ByteOrder, machine uint16, address uint32) string {
	const header, code, name = 52, 16, ".text\x00"
	sections := []struct{ Name, Type, Flags, Addr, Off, Size, Link, Info, Align, EntSize uint32 }{
		{},
		{Type: 1, Flags: 2, Addr: address, Off: header, Size: code, Align: 1},
		{Type: 3, Off: header + code, Size: uint32(len(name)), Align: 1},
	}
	data := "\x01"
	if order == binary.BigEndian {
		data = "\x02"
	}
	var b bytes.Buffer
	for _, v := range []any{
		[]byte("\x7fELF\x01" + data + "\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
		[]uint16{2, machine}, []uint32{1, address, 0, header + code + uint32(len(name)), 0}, []uint16{header, 0, 0, 40, uint16(len(sections)), 2},
		bytes.Repeat([]byte{0x90}, code), []byte(name), sections,
	} {
		if err := binary.Write(&b, order, v); err != nil {
			panic(err) // all have fixed sizes
		}
	}
	return b.String()
}

// system returns the operating system of an architecture.
func system(arch string) *archive {
	const modules = "usr/lib/modules/6.19.0-1.fc44."
	files := map[string]string{
		modules + arch + "/vmlinuz":                                   "MZ kernel " + strings.Repeat(arch+" ", 40000),
		modules + arch + "/initramfs.img":                             "initramfs " + strings.Repeat("0123456789", 30000),
		modules + arch + "/.vmlinuz.hmac":                             "HMAC",
		"usr/lib/os-release":                                          "NAME=TinyOS\nID=tinyos\nPRETTY_NAME=\"TinyOS 44.20260731.1\"\nVERSION_ID=44\n",
		"usr/lib/ostree/prepare-root.conf":                            "[composefs]\nenabled = true\n[sysroot]\nreadonly = true\n",
		"etc/selinux/config":                                          "SELINUX=enforcing\nSELINUXTYPE=targeted\n",
		"etc/selinux/targeted/contexts/files/file_contexts":           policy,
		"etc/selinux/targeted/contexts/files/file_contexts.subs_dist": "/usr/lib64 /usr/lib\n",
		"etc/ssh/sshd_config":                                         "Port 22\n",
		"usr/bin/tool":                                                "\x7fELF a tool of " + arch,
		"usr/share/removed":                                           "a later layer removes it\n",
		"usr/share/doc/old":                                           "old\n",
		"usr/share/empty":                                             "",
		"usr/share/large":                                             strings.Repeat("all work and no play makes jack a dull boy\n", 50000),
	}
	maps.Copy(files, treetest.Fedora(arch))
	maps.Copy(files, loaders(arch))
	for i := range 300 {
		files[fmt.Sprintf("usr/share/many/%03d-%s", i, strings.Repeat("x", i%50))] = fmt.Sprint("file ", i, "\n")
	}
	t := newTar()
	for _, dir := range []string{"boot", "dev", "proc", "run", "sys", "sysroot", "sysroot/ostree", "var", "var/lib", "etc"} {
		t.dir(dir, 0o755)
	}
	t.dir("tmp", 0o1777)
	t.dir("var/tmp", 0o1777)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		t.file(name, 0o644, files[name])
	}
	for name, target := range map[string]string{"ostree": "sysroot/ostree"} {
		t.link(tar.TypeSymlink, name, target)
	}
	t.link(tar.TypeSymlink, "etc/os-release", "../usr/lib/os-release")
	t.link(tar.TypeSymlink, "home", "var/home")
	t.link(tar.TypeLink, "usr/share/large-again", "usr/share/large")
	t.add(&tar.Header{Name: "usr/bin/ping", Mode: 0o755, Uid: 0, Gid: 1000, Format: tar.FormatPAX, PAXRecords: map[string]string{
		"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", "SCHILY.xattr.user.note": "kept",
	}}, "\x7fELF ping")
	return t
}

// An archive is a tar archive that is being written in memory, which never fails.
type archive struct {
	b    bytes.Buffer
	w    *tar.Writer
	dirs map[string]bool
}

func newTar() *archive {
	t := &archive{dirs: map[string]bool{".": true}}
	t.w = tar.NewWriter(&t.b)
	return t
}

func (t *archive) add(h *tar.Header, content string) {
	if h.Typeflag != tar.TypeDir {
		t.dir(path.Dir(h.Name), 0o755)
	}
	h.Size, h.ModTime = int64(len(content)), Created.Add(-time.Hour)
	err := t.w.WriteHeader(h)
	if err == nil {
		_, err = t.w.Write([]byte(content))
	}
	if err != nil {
		panic(fmt.Sprintf("%s: %v", h.Name, err))
	}
}

// dir adds a directory with its parents, unless it is there.
func (t *archive) dir(name string, mode int64) {
	if t.dirs[name] {
		return
	}
	t.dir(path.Dir(name), 0o755)
	t.dirs[name] = true
	t.add(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode}, "")
}

func (t *archive) file(name string, mode int64, content string) {
	t.add(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode}, content)
}

func (t *archive) link(kind byte, name, target string) {
	t.add(&tar.Header{Typeflag: kind, Name: name, Linkname: target, Mode: 0o777}, "")
}

func (t *archive) bytes() []byte {
	if err := t.w.Close(); err != nil {
		panic(err)
	}
	return t.b.Bytes()
}
