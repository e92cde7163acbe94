package treetest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// Mount mounts the file system in a file and returns the mount point. Option ro mounts
// it read-only. The test must run as root.
func Mount(t testing.TB, kind, path string, options ...string) (dir string, unmount func()) {
	t.Helper()
	Root(t)
	dir = t.TempDir()
	if kind == "xfs" {
		options = append(options, "nouuid") // several tests mount file systems with the same UUID
	}
	Run(t, "mount", "-t", kind, "-o", strings.Join(append([]string{"loop"}, options...), ","), path, dir)
	mounted := true
	unmount = func() {
		for try := 0; mounted; try++ {
			err := unix.Unmount(dir, 0)
			// A child process of another test has our files open until it calls exec.
			if err == unix.EBUSY && try < 100 {
				time.Sleep(20 * time.Millisecond)
				continue
			}
			mounted = false
			if err != nil {
				t.Errorf("umount %s: %v", dir, err)
			}
		}
	}
	t.Cleanup(unmount)
	return dir, unmount
}

// Judge fails the test if the checkers of a file system report anything: e2fsck, or
// xfs_repair and xfs_db of the host and, if the fixture has been built, its newer
// xfs_repair.
func Judge(t testing.TB, kind, path string) {
	t.Helper()
	switch kind {
	case "ext4":
		silent(t, "e2fsck", Run(t, "e2fsck", "-fn", path))
	case "xfs":
		silent(t, "xfs_repair", Run(t, "xfs_repair", "-n", "-f", "-o", "bhash=4096", path))
		if info, err := os.Stat(path); err == nil && info.Size() < 8<<30 { // xfs_db counts blocks one by one
			silent(t, "xfs_db", Run(t, "xfs_db", "-r", "-f", "-c", "check", path))
		}
		switch {
		case newer() != "":
			silent(t, newer(), Run(t, newer(), "-n", "-f", "-o", "bhash=4096", path))
		case os.Getenv("OHP_FIXTURE") == "required":
			t.Fatal("no newer xfs_repair: ci/fixture/newer")
		}
	default:
		t.Fatalf("no checker for file system %q", kind)
	}
}

// optional matches remarks of e2fsck about files that the kernel has truncated.
var optional = regexp.MustCompile(`(?m)^Inode \d+ extent tree .* could be .* Optimize\? no\n`)

// progress matches the lines in which a checker reports its steps, the path of the
// file and the final counts. "recursive buffer locking" is a false warning about locks
// inside xfs_repair, from a race of its threads with 16 or more allocation groups.
var progress = regexp.MustCompile(`^(e2fsck \d.*|Pass \d.*|.*: \d+/\d+ files .* \d+/\d+ blocks|Phase \d.*|\s+- .*|No modify flag set, skipping .*|Cannot get host filesystem geometry.|Repair may fail if there is a sector size mismatch between|the image and the host filesystem.|Warning: recursive buffer locking at block \d+ detected|)$`)

func silent(t testing.TB, checker, said string) {
	t.Helper()
	for line := range strings.Lines(said) {
		if !progress.MatchString(strings.TrimSuffix(line, "\n")) {
			t.Fatalf("%s:\n%s", checker, said)
		}
	}
}

// newer runs the xfs_repair of the fixture's Debian.
var newer = sync.OnceValue(func() string { return FindNewer("xfs_repair") })

// Endure puts the file system in a file through the life of a disk: the kernel mounts
// it, it is compared with its tree, used until it is full, grown to twice its size
// and filled again. [Judge] checks it after each step.
func Endure(t testing.TB, kind, path string, root *rootfs.Inode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	dir, unmount := Mount(t, kind, path)
	if err := Compare(dir, root); err != nil {
		t.Error(err)
	}
	Use(t, dir)
	unmount()
	judgeUsed(t, kind, path)
	if err := os.Truncate(path, 2*info.Size()); err != nil {
		t.Fatal(err)
	}
	if kind == "ext4" {
		Run(t, "resize2fs", "-f", path) // without the check by e2fsck, which Judge has just done
	}
	dir, unmount = Mount(t, kind, path)
	if kind == "xfs" {
		Run(t, "xfs_growfs", dir)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil || int64(st.Blocks)*st.Bsize < 2*info.Size()*3/4 {
		t.Errorf("%d bytes grew to %d blocks of %d, %v", info.Size(), st.Blocks, st.Bsize, err)
	}
	Fill(t, filepath.Join(dir, "fuller"))
	unmount()
	judgeUsed(t, kind, path)
}

func judgeUsed(t testing.TB, kind, path string) {
	t.Helper()
	if kind != "ext4" {
		Judge(t, kind, path)
		return
	}
	silent(t, "e2fsck", optional.ReplaceAllString(Run(t, "e2fsck", "-fn", path), ""))
}

// Unclean returns a file with a file system from a kernel that was stopped while using
// it. The directories before1 to before300, each with a file, are in the file system;
// later changes may be in the log only.
func Unclean(t testing.TB, kind string) string {
	t.Helper()
	mkfs, flush := []string{"mke2fs", "-q", "-t", "ext4"}, "sync -f ."
	if kind == "xfs" {
		mkfs, flush = []string{"mkfs.xfs", "-q"}, "xfs_freeze -f .; xfs_freeze -u ."
	}
	img := filepath.Join(t.TempDir(), "img")
	if err := os.WriteFile(img, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(img, 400<<20); err != nil {
		t.Fatal(err)
	}
	Run(t, mkfs[0], append(mkfs[1:], img)...)
	dir, unmount := Mount(t, kind, img)
	Run(t, "sh", "-ec", `cd "$1"
		write() { for i in $(seq 300); do mkdir $1$i; echo $i >$1$i/file; setfattr -n user.name -v "$(printf '%0900d' 7)" $1$i; done; }
		write before; `+flush+`; write behind; rm -r before?5`, "sh", dir)
	Run(t, Tool(t, "xfs_io"), "-x", "-c", "shutdown", dir)
	unmount()
	return img
}

// Use changes existing and new files of a file system that is mounted in dir: it
// appends and truncates content, sets attributes, and creates, links, moves and
// deletes names. In the end there is no space left.
func Use(t testing.TB, dir string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	at := func(format string, args ...any) string {
		return filepath.Join(dir, "used", fmt.Sprintf(format, args...))
	}
	var there []string
	must(filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		there = append(there, name)
		return err
	}))
	must(os.Mkdir(at(""), 0o755))
	step := 1 + len(there)/10_000
	for i := 0; (i+1)*step < len(there); i++ {
		must(mayChange(there[(i+1)*step], i, at("moved-%d", i)))
	}
	for i := range 300 {
		must(os.MkdirAll(at("%d/%s", i, strings.Repeat("n", i*255/300)), 0o755))
		must(unix.Setxattr(at("%d", i), "user.big", make([]byte, 3*i), 0))
		must(os.Symlink(strings.Repeat("l", 1+3*i), at("%d/link", i)))
		must(os.WriteFile(at("file-with-a-long-name-%d", i), make([]byte, 100*i), 0o600))
	}
	for i := range 100 {
		must(os.RemoveAll(at("%d", 3*i)))
		must(os.Remove(at("file-with-a-long-name-%d", 3*i)))
	}
	Fill(t, at("full"))
}

// mayChange changes an existing name in one of several ways. It ignores errors of
// immutable files, of names that an earlier change removed, and of full directories.
func mayChange(name string, i int, to string) error {
	info, err := os.Lstat(name)
	if err == nil {
		switch mode := info.Mode(); {
		case i%7 == 1 && !mode.IsDir():
			err = os.Remove(name)
		case i%7 == 2:
			err = os.Rename(name, to)
		case i%7 == 3 && !mode.IsDir():
			err = os.Link(name, to)
		case i%7 == 4 && mode.IsRegular():
			err = os.Truncate(name, info.Size()/2)
		case i%7 == 5 && mode.IsRegular(): // in XFS this needs a block outside of the inode
			err = unix.Setxattr(name, "user.used", make([]byte, 3000), 0)
		case mode.IsRegular():
			err = unix.Setxattr(name, "user.used", make([]byte, 300), 0)
			if err == nil {
				err = appendTo(name, 10_000)
			}
		case mode.IsDir():
			err = unix.Setxattr(name, "user.used", make([]byte, 300), 0)
		}
	}
	for _, allowed := range []error{syscall.EPERM, syscall.ENOENT, syscall.ENOSPC, syscall.EMLINK, syscall.ENOTDIR} {
		if errors.Is(err, allowed) {
			return nil
		}
	}
	return err
}

func appendTo(name string, n int) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Write(make([]byte, n))
	return err
}

// Fill fills a file system with files of decreasing size in a new directory. Most of
// them are allocated but never written, so that the image stays small.
func Fill(t testing.TB, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for size := int64(256 << 20); size >= 1<<10; size /= 4 {
		for i := 0; ; i++ {
			name := filepath.Join(dir, fmt.Sprint(size, "-", i))
			err := takeSpace(name, size)
			if errors.Is(err, syscall.ENOSPC) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil || int64(st.Bavail)*st.Bsize > 1<<20 {
		t.Errorf("%d blocks of %d bytes are left of a full file system, %v", st.Bavail, st.Bsize, err)
	}
}

func takeSpace(name string, size int64) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if size > 1<<20 {
		return syscall.Fallocate(int(f.Fd()), 0, 0, size)
	}
	_, err = f.Write(make([]byte, size))
	return err
}
