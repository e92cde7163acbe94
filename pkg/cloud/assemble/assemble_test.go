package assemble

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/compress"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/raw"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/coreos"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/oci"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/system"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest/tinyos"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/usage"
)

const config = `{"ignition": {"version": "3.4.0"}}`

// tinySystem deploys the synthetic container.
func tinySystem(t *testing.T) *system.System {
	t.Helper()
	dir := t.TempDir()
	ref, err := tinyos.Write(filepath.Join(dir, "os"), tinyos.Plain)
	if err != nil {
		t.Fatal(err)
	}
	img, err := oci.Pull(t.Context(), ref, oci.Options{Cache: filepath.Join(dir, "cache"), Arch: "amd64"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { img.Close() })
	s, err := system.New(img, system.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustPlan(t *testing.T, s *system.System, r Request) *Plan {
	t.Helper()
	p, err := New(s, r)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// small returns a request for small disks, with an Ignition config.
func small(platforms ...string) Request {
	return Request{Platforms: cloud.Named(platforms...), Size: diskSize, Boot: coreos.Size{Bytes: 64 << 20}, Ignition: []byte(config)}
}

const diskSize = 512 << 20

// TestWriteTo writes a file of every format and compares it with its record,
// with its plan, and with the disk in it.
func TestWriteTo(t *testing.T) {
	s := tinySystem(t)
	one := small("qemu", "metal4k", "azure", "aws", "hyperv", "kubevirt", "vmware", "nutanix") // one for each format
	packed := small("metal", "nutanix")
	packed.Compression = filetype.Zstd
	for _, r := range []Request{one, packed} {
		for _, f := range mustPlan(t, s, r).Files {
			dir := t.TempDir()
			path := filepath.Join(dir, f.Name)
			record, err := f.WriteTo(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			checkFolder(t, dir, f.Name)
			checkFile(t, f, record, path)
			os.Remove(path)
		}
	}
}

// checkFolder checks that a folder has one file, which is secret.
func checkFolder(t *testing.T, dir, name string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil || len(list) != 1 || list[0].Name() != name {
		t.Errorf("%s: want one file, found %v, %v", name, list, err)
		return
	}
	if info, err := list[0].Info(); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%s: mode %v, %v", name, info.Mode(), err)
	}
}

// checkFile compares a written file with its record and its plan.
func checkFile(t *testing.T, f *File, record cloud.File, path string) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if got := sumOf(t, file); got != record.Content {
		t.Errorf("%s: %v, want %v", f.Name, got, record.Content)
	}
	if record.Name != f.Name || record.Platform != f.Platform.ID || record.Type != f.Type || !record.Secret || record.VirtualSize != diskSize {
		t.Errorf("%s: %+v", f.Name, record)
	}
	if (record.Manifest != "") != (f.Platform.ID == "kubevirt") {
		t.Errorf("%s: manifest %q", f.Name, record.Manifest)
	}
	img, ok := f.Image()
	if ok != (f.plain != nil && f.Type.Compression == filetype.None) {
		t.Errorf("%s: image %v", f.Name, ok)
	}
	if ok {
		if got := sumOf(t, io.NewSectionReader(img, 0, img.Size())); got != record.Content {
			t.Errorf("%s: the plan is not the file", f.Name)
		}
	}
	if f.Type.Compression == filetype.None {
		if record.Plain != record.Content {
			t.Errorf("%s: %+v before compression", f.Name, record.Plain)
		}
		return
	}
	z, _, err := compress.NewReader(io.NewSectionReader(file, 0, 1<<40))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	if got := sumOf(t, z); got != record.Plain {
		t.Errorf("%s: %v in it, want %v", f.Name, got, record.Plain)
	}
}

func sumOf(t *testing.T, r io.Reader) cloud.Content {
	t.Helper()
	h := sha256.New()
	n, err := io.Copy(h, r)
	if err != nil {
		t.Fatal(err)
	}
	return cloud.Content{Size: n, SHA256: hex.EncodeToString(h.Sum(nil))}
}

// TestConcurrent plans and streams different platforms from one system in eight
// goroutines at once.
func TestConcurrent(t *testing.T) {
	s := tinySystem(t)
	platforms := cloud.Named("qemu", "metal4k", "aws", "azure", "hyperv", "kubevirt", "vmware", "nutanix")
	sum := func(ctx context.Context, p cloud.Platform, dir string) (string, error) {
		plan, err := New(s, small(p.ID))
		if err != nil {
			return "", err
		}
		spool, err := newSpool(dir)
		if err != nil {
			return "", err
		}
		defer spool.Close()
		record, err := plan.Files[0].Write(ctx, io.Discard, WriteOptions{Spool: spool})
		return record.SHA256, err
	}
	dir, got, want := t.TempDir(), make([]string, len(platforms)), make([]string, len(platforms))
	all, ctx := errgroup.WithContext(t.Context())
	for i, p := range platforms {
		all.Go(func() (err error) { got[i], err = sum(ctx, p, dir); return err })
	}
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
	for i, p := range platforms {
		var err error
		if want[i], err = sum(t.Context(), p, dir); err != nil || got[i] != want[i] {
			t.Errorf("%s: %s at the same time as others, %s alone, %v", p.ID, got[i], want[i], err)
		}
	}
}

// TestShared: platforms share the layout of the root file system.
func TestShared(t *testing.T) {
	p := mustPlan(t, tinySystem(t), Request{Platforms: cloud.Named("qemu", "openstack", "metal4k")})
	root := func(i int) disk.Extent { return p.Files[i].Disk.Extents()[len(p.Files[i].Disk.Extents())/2] }
	if root(0).Blob != root(1).Blob || root(0).Blob == root(2).Blob {
		t.Error("the root file system was laid out twice")
	}
}

// TestCancelled: a file is not written once its context is done, and leaves
// nothing behind.
func TestCancelled(t *testing.T) {
	p := mustPlan(t, tinySystem(t), Request{Platforms: cloud.Named("qemu", "metal", "aws"), Compression: filetype.Xz})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, f := range p.Files {
		dir := t.TempDir()
		if _, err := f.WriteTo(ctx, filepath.Join(dir, f.Name)); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", f.Name, err)
		}
		if list, _ := os.ReadDir(dir); len(list) != 0 {
			t.Errorf("%s: %v is left", f.Name, list)
		}
	}
}

// TestMissingFolder: the error names the file and its folder, not a temporary file.
func TestMissingFolder(t *testing.T) {
	f := mustPlan(t, tinySystem(t), small("qemu")).Files[0]
	dir := filepath.Join(t.TempDir(), "missing")
	_, err := f.WriteTo(t.Context(), filepath.Join(dir, "file"))
	want := fmt.Sprintf("%s/file: create temporary file in %s: no such file or directory", dir, dir)
	if !errors.Is(err, os.ErrNotExist) || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

// TestSparse: the written file of a plain format has the holes of the disk.
func TestSparse(t *testing.T) {
	f := mustPlan(t, tinySystem(t), Request{Platforms: cloud.Named("azure"), Size: 1 << 30}).Files[0]
	path := filepath.Join(t.TempDir(), f.Name)
	if _, err := f.WriteTo(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if hole, err := file.Seek(f.Disk.Partitions[0].Start+(1<<20), 4); err != nil || hole == 1<<30 { // SEEK_HOLE
		t.Errorf("the first hole is at %d, %v", hole, err)
	}
}

// TestRequest: each field is checked, and the error has its name.
func TestRequest(t *testing.T) {
	qemu := cloud.Named("qemu")
	for _, tc := range []struct {
		field, want string
		arch        string
		r           Request
	}{
		{"Arch", "zipl", "s390x", Request{Platforms: qemu}},
		{"Platforms", "no platform", "x86_64", Request{}},
		{"Platforms", "platform qemu is listed twice", "x86_64", Request{Platforms: append(qemu, qemu...)}},
		{"Platforms", "platform x has no format", "x86_64", Request{Platforms: []cloud.Platform{{ID: "x"}}}},
		{"Compression", `invalid value "lz4", must be "gzip"`, "x86_64", Request{Platforms: qemu, Compression: "lz4"}},
		{"Compression", "contradicts", "x86_64", Request{Platforms: qemu, AsPublished: true, Compression: filetype.Xz}},
		{"Level", "invalid compression level 10", "x86_64", Request{Platforms: qemu, Compression: filetype.Xz, Level: 10}},
		{"Level", "invalid compression level -1", "x86_64", Request{Platforms: qemu, Level: -1}},
		{"RootFS", `invalid value "btrfs", must be "xfs" or "ext4"`, "x86_64", Request{Platforms: qemu, RootFS: "btrfs"}},
		{"Kargs", "set by the image itself", "x86_64", Request{Platforms: qemu, Kargs: []string{"ostree=/x"}}},
		{"Size", "whole number of MiB", "x86_64", Request{Platforms: qemu, Size: 1<<30 + 1}},
		{"Size", "platform gcp: gcp: a disk of", "x86_64", Request{Platforms: cloud.Named("qemu", "gcp"), Size: 1536 << 20}},
		{"Boot", "boot partition of 10 MiB, must be 64 MiB", "x86_64", Request{Platforms: qemu, Boot: coreos.Size{Bytes: 10 << 20}}},
		{"ESP", "has no EFI system partition", "ppc64le", Request{Platforms: qemu, ESP: coreos.Size{Bytes: 600 << 20}}},
		{"Ignition", "", "x86_64", Request{Platforms: qemu, Ignition: []byte("{}")}},
	} {
		_, err := tc.r.Check(tc.arch)
		var wrong usage.Error
		if !errors.As(err, &wrong) || wrong.Field != tc.field || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %s", tc.field, err, tc.want)
		}
	}
	if _, err := New(tinySystem(t), Request{}); !errors.As(err, new(usage.Error)) {
		t.Errorf("New: %v", err)
	}
}

// TestForeignRootFS: a root file system that only the container wants is no error of
// the request, and another choice avoids it.
func TestForeignRootFS(t *testing.T) {
	s := tinySystem(t)
	s.Config.RootFS = "btrfs"
	var avoidable usage.Avoidable
	if _, err := New(s, small("qemu")); !errors.As(err, &avoidable) || avoidable.Field != "RootFS" || !strings.Contains(err.Error(), "btrfs, which is not supported") {
		t.Errorf("%v", err)
	}
	r := small("qemu")
	r.RootFS = "ext4"
	mustPlan(t, s, r)
}

// TestEmergingPlatforms: a platform without images of Fedora CoreOS is a note, and
// one without machines of the architecture is a warning.
func TestEmergingPlatforms(t *testing.T) {
	for _, tc := range []struct{ arch, platforms, ids, note, warning string }{
		{"x86_64", "qemu", "qemu", "", ""},
		{"x86_64", "scaleway qemu", "scaleway qemu", "scaleway: Fedora CoreOS has no images for it", ""},
		{"ppc64le", "powervs", "powervs", "powervs: Fedora CoreOS has no images for it", ""},
		{"x86_64", "powervs", "powervs", "", "powervs: it has machines of ppc64le only"},
		{"aarch64", "vultr", "vultr", "", "vultr: Fedora CoreOS has images for it on x86_64 only"},
		{"ppc64le", "all", "qemu metal metal4k openstack", "", ""},
	} {
		platforms, err := cloud.Lookup(tc.arch, strings.Fields(tc.platforms)...)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, p := range platforms {
			ids = append(ids, p.ID)
		}
		if got := strings.Join(ids, " "); got != tc.ids {
			t.Errorf("%s: platforms %s", tc.platforms, got)
		}
		said, err := Request{Platforms: platforms}.Check(tc.arch)
		if err != nil {
			t.Fatal(err)
		}
		for _, list := range []struct {
			have []string
			want string
		}{{said.Notes, tc.note}, {said.Warnings, tc.warning}} {
			if len(list.have) != min(len(list.want), 1) || !strings.Contains(strings.Join(list.have, "\n"), list.want) {
				t.Errorf("%s on %s: %q, want %q", tc.platforms, tc.arch, list.have, list.want)
			}
		}
	}
}

// TestMissingLoader: a container without a boot loader is rejected with a list.
func TestMissingLoader(t *testing.T) {
	s := tinySystem(t)
	delete(s.Deployment.System.Lookup("usr/lib").Children, "bootupd")
	_, err := New(s, Request{Platforms: cloud.Named("qemu")})
	if err == nil || !strings.Contains(err.Error(), "no complete boot loader") || !strings.Contains(err.Error(), "grub-static-pre.cfg") {
		t.Error(err)
	}
}

// TestDisk: the facts about a disk are values, not text in its file systems.
func TestDisk(t *testing.T) {
	d := mustPlan(t, tinySystem(t), Request{Platforms: cloud.Named("metal"), Kargs: []string{"quiet"}}).Files[0].Disk
	if args := fmt.Sprint(d.Entry.Options()); !strings.Contains(args, "ignition.platform.id=metal") || !strings.HasSuffix(args, " quiet") {
		t.Errorf("kernel arguments %s", args)
	}
	if d.ID != d.Partitions[3].ID || !d.SecureBoot {
		t.Errorf("ID %s, Secure Boot %t", d.ID, d.SecureBoot)
	}
	if err := raw.Write(io.Discard, d.Image); err != nil {
		t.Error(err)
	}
}
