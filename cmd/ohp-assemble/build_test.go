package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/progress"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/assemble"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/upload"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/inspect"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/layout"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/raw"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/oci"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/build"
)

// built runs build and returns its result.
func built(t *testing.T, env []string, args ...string) build.Report {
	t.Helper()
	p := program(t, env, append([]string{"build", "--format", "json"}, args...)...)
	var r build.Report
	if err := json.Unmarshal([]byte(p.stdout), &r); err != nil {
		t.Fatalf("%v: %s", err, p.stdout)
	}
	return r
}

const config = `{"ignition": {"version": "3.4.0"}, "storage": {"files": [{"path": "/etc/proof", "contents": {"source": "data:,x"}}]}}`

func writeConfig(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "config.ign")
	if err := os.WriteFile(name, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestVerdicts has every format and file system of the images judged by the
// real tools.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	for name, options := range map[string][]string{
		"tiny-base": {"--root-fs", "xfs", "--esp-size", "600MiB", "--boot-size", "1GiB"}, "tiny-chunked": {"--root-fs", "ext4"}, "full-base": {"--root-fs", "xfs"},
	} {
		t.Run(name, func(t *testing.T) {
			ref := fixture(t, name)
			dir := t.TempDir()
			r := built(t, nil, append(options, ref, "--platform", "qemu,metal,metal4k", "--ignition", writeConfig(t), "--out", dir, "--cache", filepath.Join(dir, "cache"))...)
			qcow2, raw := r.Images[0], r.Images[1]
			treetest.Run(t, "qemu-img", "check", "-f", "qcow2", qcow2.Path)
			converted := filepath.Join(dir, "converted.raw")
			treetest.Run(t, "qemu-img", "convert", "-f", "qcow2", "-O", "raw", qcow2.Path, converted)
			for _, i := range r.Images {
				if sum := fileSum(t, i.Path); sum != i.SHA256 {
					t.Errorf("%s: SHA-256 is %s, the result says %s", i.Path, sum, i.SHA256)
				}
				if mode := stat(t, i.Path).Mode().Perm(); mode != 0o600 {
					t.Errorf("%s: mode %o, with an Ignition config in it", i.Path, mode)
				}
			}
			for _, disk := range []string{converted, raw.Path, r.Images[2].Path} {
				judgeDisk(t, disk)
			}
		})
	}
}

func judgeDisk(t *testing.T, disk string) {
	t.Helper()
	found, err := inspect.ReportFile(disk)
	if err != nil {
		t.Fatal(err)
	}
	judgeTable(t, disk, found.SectorSize)
	if len(found.Problems) > 0 || len(found.Entries) != 1 || len(found.Deployments) != 1 || !found.FirstBoot || found.Ignition != int64(len(config)) {
		t.Errorf("inspect %s: %+v", disk, found)
	}
	for _, p := range found.Partitions {
		switch p.Filesystem {
		case "ext4":
			treetest.Run(t, "e2fsck", "-fn", fmt.Sprintf("%s?offset=%d", disk, p.Start))
		case "xfs":
			part := filepath.Join(t.TempDir(), "root")
			copyPart(t, disk, p.Start, p.Size, part)
			treetest.Run(t, "xfs_repair", "-n", "-f", part)
		case "fat16", "fat32":
			part := filepath.Join(t.TempDir(), "esp")
			copyPart(t, disk, p.Start, p.Size, part)
			treetest.Run(t, "fsck.fat", "-n", part)
		}
	}
}

// TestInspectDamaged: the readable parts of a damaged image are shown, and the
// exit code says that it is damaged.
func TestInspectDamaged(t *testing.T) {
	dir := t.TempDir()
	r := built(t, nil, fixture(t, "tiny-base"), "--platform", "metal", "--out", dir, "--cache", filepath.Join(dir, "cache"))
	f, err := os.OpenFile(r.Images[0].Path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("damage"), r.Images[0].Size-512); err != nil { // the backup header
		t.Fatal(err)
	}
	p := finish(t, start(t, nil, "inspect", r.Images[0].Path))
	if p.code != exitVerify || !strings.Contains(p.stdout, "EFI-SYSTEM") || !strings.Contains(p.stdout, "problem: backup partition table") {
		t.Errorf("exit code %d\n%s%s", p.code, p.stdout, p.stderr)
	}
}

// judgeTable has sgdisk judge a partition table. It takes the sectors of a file
// to be of 512 bytes, and asks devices.
func judgeTable(t *testing.T, disk string, sector int) {
	t.Helper()
	if sector != 512 {
		if !treetest.IsRoot(t) {
			return
		}
		disk = strings.TrimSpace(treetest.Run(t, "losetup", "--find", "--show", "--read-only", "--sector-size", fmt.Sprint(sector), disk))
		defer treetest.Run(t, "losetup", "--detach", disk)
	}
	if out := treetest.Run(t, "sgdisk", "-v", disk); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk -v %s: %s", disk, out)
	}
}

// copyPart copies a part of a disk, without its holes.
func copyPart(t *testing.T, disk string, start, size int64, to string) {
	t.Helper()
	from, err := os.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	part, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	defer part.Close()
	if err := part.Truncate(size); err != nil {
		t.Fatal(err)
	}
	for off, n := range treetest.Data(t, from) {
		first, last := max(off, start), min(off+n, start+size)
		if first >= last {
			continue
		}
		if _, err := io.Copy(io.NewOffsetWriter(part, first-start), io.NewSectionReader(from, first, last-first)); err != nil {
			t.Fatal(err)
		}
	}
}

// fileSum returns the SHA-256 of a file. It reads no holes.
func fileSum(t *testing.T, name string) string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h, end := sha256.New(), int64(0)
	add := func(content io.ReaderAt, off, n int64) {
		if _, err := io.Copy(h, io.NewSectionReader(content, off, n)); err != nil {
			t.Fatal(err)
		}
		end += n
	}
	for off, n := range treetest.Data(t, f) {
		add(disktest.Zeros(off-end), 0, off-end)
		add(f, off, n)
	}
	rest := stat(t, name).Size() - end
	add(disktest.Zeros(rest), 0, rest)
	return hex.EncodeToString(h.Sum(nil))
}

func stat(t *testing.T, name string) os.FileInfo {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// requested returns a request with an Ignition config and the warm cache.
func requested(t testing.TB, ref string, images assemble.Request, platforms ...string) *request {
	t.Helper()
	var err error
	if images.Platforms, err = cloud.Lookup(machine(runtime.GOARCH), platforms...); err != nil {
		t.Fatal(err)
	}
	images.Ignition = []byte(config)
	pull := pullFlags{arch: runtime.GOARCH, cache: warm(), registry: registryFlags{tlsVerify: true}}
	return &request{pullFlags: pull, reference: ref, images: images}
}

// diskOf returns the planned disk of a container.
func diskOf(t testing.TB, ref, platform string) *layout.Disk {
	t.Helper()
	return plannedBy(t, requested(t, ref, assemble.Request{}, platform)).Files[0].Disk
}

// plannedBy returns the plan of a request. Its files can be read until the test
// ends.
func plannedBy(t testing.TB, r *request) *assemble.Plan {
	t.Helper()
	plan, image, err := load(t.Context(), progress.New(true), r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { image.Close() })
	return plan
}

// buildAndPlan writes an image, and returns its plan.
func buildAndPlan(t *testing.T, ref, platform, rootFS string) (file string, plan *layout.Disk) {
	t.Helper()
	r := requested(t, ref, assemble.Request{RootFS: rootFS}, platform)
	res, err := runBuild(t.Context(), progress.New(true), r, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return res.Images[0].Path, plannedBy(t, r).Files[0].Disk
}

// TestKernelSeesThePlan mounts both file systems of a disk and compares every inode
// with the tree that was laid out.
func TestKernelSeesThePlan(t *testing.T) {
	treetest.Root(t)
	for _, tc := range [][2]string{{"tiny-base", "ext4"}, {"tiny-base", "xfs"}, {"full-base", "ext4"}, {"full-base", "xfs"}} {
		t.Run(strings.Join(tc[:], "/"), func(t *testing.T) {
			image, plan := buildAndPlan(t, fixture(t, tc[0]), "metal", tc[1])
			trees := map[string]*rootfs.Inode{"boot": plan.Boot, "root": plan.Root}
			for _, p := range plan.Partitions {
				if trees[p.Name] == nil {
					continue
				}
				at := filepath.Join(t.TempDir(), p.Name)
				if err := os.Mkdir(at, 0o755); err != nil {
					t.Fatal(err)
				}
				treetest.Run(t, "mount", "-t", p.Filesystem, "-o", fmt.Sprintf("ro,loop,offset=%d,sizelimit=%d", p.Start, p.Size), image, at)
				t.Cleanup(func() { syscall.Unmount(at, 0) })
				if err := treetest.Compare(at, trees[p.Name]); err != nil {
					t.Errorf("%s: %v", p.Name, err)
				}
			}
		})
	}
}

// TestKernelUsesThePlan has the kernel use, fill and grow the root file systems
// of the full fixture.
func TestKernelUsesThePlan(t *testing.T) {
	treetest.Root(t)
	for _, kind := range []string{"ext4", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			plan := plannedBy(t, requested(t, fixture(t, "full-base"), assemble.Request{RootFS: kind}, "metal")).Files[0].Disk
			root := plan.Partitions[len(plan.Partitions)-1].Content.(*disk.Image)
			f, err := os.Create(filepath.Join(t.TempDir(), "root"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := raw.WriteFile(f, root, io.Discard); err != nil {
				t.Fatal(err)
			}
			onlyAllocated(t, f, root)
			treetest.Judge(t, kind, f.Name())
			treetest.Endure(t, kind, f.Name(), plan.Root)
		})
	}
}

// onlyAllocated compares the space that an image takes on the disk with the space that it says it
// does: nothing but that was written.
func onlyAllocated(t *testing.T, f *os.File, img *disk.Image) {
	t.Helper()
	const block = 4096
	var want, end int64
	for _, e := range img.Extents() {
		from := max(end, e.Off&^(block-1))
		end = max(end, (e.End()+block-1)&^(block-1))
		want += end - from
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	got := info.Sys().(*syscall.Stat_t).Blocks * 512
	t.Logf("%d bytes allocated, %d written, %d on the disk", img.Allocated(), want, got)
	if got < want || got > want+want/1000 { // the metadata of the host's file system
		t.Errorf("%d bytes on the disk for %d", got, want)
	}
}

// TestSameBytes builds twice, with everything different that may be: images of
// every format, and its result.
func TestSameBytes(t *testing.T) {
	if testing.Short() {
		t.Skip("builds much")
	}
	for name, platforms := range map[string]string{
		"tiny-base":    "qemu,metal,aws,azure,gcp,hyperv,kubevirt,nutanix,virtualbox,vmware",
		"tiny-chunked": "qemu,metal",
	} {
		t.Run(name, func(t *testing.T) {
			ref := fixture(t, name)
			var sums [2]map[string]string
			for i, threads := range []string{"1", "2"} {
				dir, tmp := t.TempDir(), t.TempDir()
				old := syscall.Umask([]int{0o022, 0o077}[i])
				r := built(t, []string{"GOMAXPROCS=" + threads, "TMPDIR=" + tmp, "TZ=" + []string{"UTC", "Asia/Kathmandu"}[i], "LANG=" + []string{"C", "de_DE.UTF-8"}[i]},
					ref, "--platform", platforms, "--size", "1GiB", "--out", dir, "--cache", filepath.Join(dir, "cache"))
				syscall.Umask(old)
				sums[i] = map[string]string{build.MetaFile: fileSum(t, filepath.Join(dir, build.MetaFile))}
				for _, img := range r.Images {
					document := upload.FileName(img.Path)
					sums[i][filepath.Base(img.Path)], sums[i][filepath.Base(document)] = img.SHA256, fileSum(t, document)
				}
			}
			if diff := cmp.Diff(sums[0], sums[1]); diff != "" || len(sums[0]) != 1+2*len(strings.Split(platforms, ",")) {
				t.Errorf("two builds differ: %s", diff)
			}
		})
	}
}

// TestDocuments: a document beside an image has its mode, and is never of
// another image.
func TestDocuments(t *testing.T) {
	dir := t.TempDir()
	r := built(t, nil, fixture(t, "tiny-base"), "--platform", "aws,digitalocean", "--ignition", writeConfig(t), "--out", dir, "--cache", filepath.Join(dir, "cache"))
	names := []string{upload.FileName(r.Images[0].Path), upload.FileName(r.Images[1].Path)}
	program(t, nil, "compress", dir, "--compress", "zstd", "--keep")
	for _, name := range append(names, upload.FileName(r.Images[0].Path+".zst")) {
		if mode := stat(t, name).Mode().Perm(); mode != 0o600 {
			t.Errorf("%s: mode %o, of an image with a config in it", name, mode)
		}
	}
	p := program(t, nil, "build", fixture(t, "tiny-base"), "--platform", "digitalocean", "--size", "200GiB", "--out", dir, "--cache", filepath.Join(dir, "cache"))
	if _, err := os.Stat(names[1]); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(p.stderr, "must be at most 100 GiB") {
		t.Errorf("%s of a disk that is too large: %v: %s", names[1], err, p.stderr)
	}
}

// layoutDir returns the folder of an oci: reference, and its digest.
func layoutDir(ref string) (dir, digest string) {
	dir, digest, _ = strings.Cut(strings.TrimPrefix(ref, "oci:"), "@")
	return dir, digest
}

// copyLayout copies an OCI layout to where everybody can read it.
func copyLayout(t *testing.T, ref string) (dir, copied string) {
	t.Helper()
	from, digest := layoutDir(ref)
	dir, err := os.MkdirTemp("", "ohp-layout-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.CopyFS(filepath.Join(dir, "layout"), os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir, "oci:" + filepath.Join(dir, "layout") + "@" + digest
}

// TestNoRoot builds as a user without privileges, in a process without
// capabilities, with no other program in reach.
func TestNoRoot(t *testing.T) {
	dir, ref := copyLayout(t, fixture(t, "tiny-base"))
	cmd := start(t, []string{"PATH="}, "build", "--format", "json", "--platform", "qemu,metal",
		"--cache", filepath.Join(dir, "work/cache"), "--out", filepath.Join(dir, "work/out"), ref)
	if err := os.Mkdir(filepath.Join(dir, "work"), 0o755); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		const nobody = 65534
		self := filepath.Join(dir, "ohp-assemble") // where nobody may read it
		if err := exec.Command("cp", cmd.Path, self).Run(); err != nil {
			t.Fatal(err)
		}
		cmd.Path, cmd.Dir = self, dir
		cmd.Env = append(cmd.Env, "HOME="+dir)
		if err := os.Chown(filepath.Join(dir, "work"), nobody, nobody); err != nil {
			t.Fatal(err)
		}
		// A change of user from root to another clears all capabilities.
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	p := finish(t, cmd)
	if p.code != 0 {
		t.Fatalf("exit code %d: %s", p.code, p.stderr)
	}
	var asNobody build.Report
	if err := json.Unmarshal([]byte(p.stdout), &asNobody); err != nil {
		t.Fatal(err)
	}
	mine := built(t, nil, ref, "--platform", "qemu,metal", "--out", t.TempDir(), "--cache", filepath.Join(t.TempDir(), "cache"))
	for i := range mine.Images {
		if mine.Images[i].SHA256 != asNobody.Images[i].SHA256 {
			t.Errorf("%s: nobody makes other bytes", mine.Images[i].Platform)
		}
	}
}

// TestMemory: the memory grows with the number of files, not with their
// size, and not with that of layers.
func TestMemory(t *testing.T) {
	t.Parallel()
	const limit = 300 << 20
	for _, name := range []string{"full-base", "full-derived-64"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			args := []string{"build", "--format", "json", "--cache", filepath.Join(dir, "cache"), "--out", dir, "--platform", "qemu,metal", fixture(t, name)}
			for _, what := range []string{"cold", "every format"} {
				if what == "every format" {
					if name != "full-base" {
						break
					}
					args = append(args, "--platform", "aws,gcp,nutanix,hyperv,kubevirt,vmware,azure", "--compress", "zstd")
				}
				p := program(t, nil, args...)
				if t.Logf("%s: peak RSS is %d MiB", what, p.rss>>20); p.rss > limit || p.rss == 0 {
					t.Errorf("more than %d MiB", limit>>20)
				}
			}
		})
	}
}

// TestCacheVerbs: the entries of the cache after a build are listed and removed.
func TestCacheVerbs(t *testing.T) {
	dir := t.TempDir()
	cache := filepath.Join(dir, "cache")
	built(t, nil, fixture(t, "tiny-chunked"), "--out", dir, "--cache", cache)
	var entries []oci.Entry
	list := program(t, nil, "cache", "ls", "--format", "json", "--cache", cache).stdout
	if err := json.Unmarshal([]byte(list), &entries); err != nil {
		t.Fatal(err)
	}
	layers := 0
	for _, e := range entries {
		if e.Kind == "layer" && e.Size > 0 && !e.Used.IsZero() {
			layers++
		}
	}
	if layers < 10 {
		t.Errorf("%d layers in the cache: %s", layers, list)
	}
	program(t, nil, "cache", "prune", "--older-than", "1h", "--cache", cache)
	if program(t, nil, "cache", "ls", "--format", "json", "--cache", cache).stdout != list {
		t.Error("what was used just now is gone")
	}
	program(t, nil, "cache", "prune", "--cache", cache)
	if left := program(t, nil, "cache", "ls", "--format", "json", "--cache", cache).stdout; strings.TrimSpace(left) != "[]" {
		t.Errorf("left after prune: %s", left)
	}
}
