// Command mkfs measures the cost of the metadata of a file system, compared with
// `mkfs.xfs -p` of xfsprogs 7.2 and `mke2fs -d`. The tree has as many names as the full
// fixture, with labels and without content. It interleaves the rounds and prints
// medians of CPU time, user and system. Ours starts from a tree in memory, as after
// importing a container; the tools start from a cached directory. All write a file.
//
// Then it measures the layout of a tree of half a million inodes, in a process for each
// file system. The limits are 5 s and 1 GiB.
package main

import (
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/ext4"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/xfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

const (
	rounds = 5
	dirs   = 1000
	files  = 24 // in each directory
	size   = 4 << 30
)

// Limits for a tree of half a million inodes.
const (
	maxTime = 5 * time.Second
	maxRSS  = 1 << 30
)

func main() {
	log.SetFlags(0)
	if len(os.Args) == 2 {
		layOut(os.Args[1])
		return
	}
	besideOthers()
	for _, kind := range []string{"xfs", "ext4"} {
		cmd := exec.Command(os.Args[0], kind)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		check(cmd.Run())
		rss := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
		fmt.Printf(", peak RSS of the process %d MiB\n", rss>>20)
		if rss > maxRSS {
			log.Fatalf("%s: more than %d MiB", kind, maxRSS>>20)
		}
	}
}

// layOut lays out half a million inodes.
func layOut(kind string) {
	root := rootfs.Dir(0o755)
	for i := range 500 {
		dir := rootfs.Dir(0o755)
		for j := range 1000 {
			in := rootfs.Text(0o644, "some content")
			in.Xattrs = map[string]string{"security.selinux": "system_u:object_r:lib_t:s0\x00"}
			dir.Children[fmt.Sprint("file-", j)] = in
		}
		root.Children[fmt.Sprint("directory-", i)] = dir
	}
	before := used()
	start := time.Now()
	var err error
	if kind == "xfs" {
		_, err = xfs.Format(root, xfs.Options{Size: 8 << 30})
	} else {
		_, err = ext4.Format(root, ext4.Options{Size: 16 << 30})
	}
	check(err)
	wall, cpu := time.Since(start), used()-before
	fmt.Printf("%-12s 500,000 inodes laid out in %v, %v of CPU", kind+",", wall.Round(time.Millisecond), cpu.Round(time.Millisecond))
	if cpu > maxTime { // CPU time, because the machine may be busy
		log.Fatalf("\n%s: more than %v", kind, maxTime)
	}
}

func besideOthers() {
	scratch, err := os.MkdirTemp("", "mkfs-")
	check(err)
	defer os.RemoveAll(scratch)
	tree, dir := rootfs.Dir(0o755), filepath.Join(scratch, "tree")
	fill(tree, dir)
	newer, err := exec.Command("ci/fixture/newer", "mkfs.xfs").Output()
	check(err)
	out := filepath.Join(scratch, "out")
	names := []string{"xfs, ours", "mkfs.xfs -p", "ext4, ours", "mke2fs -d"}
	took := map[string][]time.Duration{}
	for range rounds {
		for _, name := range names {
			f, err := os.Create(out)
			check(err)
			check(f.Truncate(size))
			var cpu time.Duration
			switch name {
			case "xfs, ours":
				cpu = ours(f, func() (*disk.Image, error) { return xfs.Format(tree, xfs.Options{Size: size}) })
			case "ext4, ours":
				cpu = ours(f, func() (*disk.Image, error) { return ext4.Format(tree, ext4.Options{Size: size}) })
			case "mkfs.xfs -p":
				cpu = theirs(strings.TrimSpace(string(newer)), "-q", "-f", "-d", "agcount=2", "-m", "rmapbt=0", "-i", "nrext64=0,exchange=0", "-n", "parent=0", "-p", dir, out)
			case "mke2fs -d":
				cpu = theirs("mke2fs", "-q", "-F", "-t", "ext4", "-d", dir, out)
			}
			took[name] = append(took[name], cpu)
			check(f.Close())
			check(os.Remove(out))
		}
	}
	fmt.Printf("%d names in %d directories, CPU time, median of %d\n", dirs*(files+1), dirs, rounds)
	median := func(name string) time.Duration { slices.Sort(took[name]); return took[name][rounds/2] }
	for i := 0; i < len(names); i += 2 {
		a, b := median(names[i]), median(names[i+1])
		fmt.Printf("%-12s %8v   %-12s %8v   %.1f times\n", names[i], a.Round(time.Millisecond), names[i+1], b.Round(time.Millisecond), float64(b)/float64(a))
	}
}

// fill creates the tree in memory and in a directory.
func fill(tree *rootfs.Inode, dir string) {
	const label = "system_u:object_r:lib_t:s0\x00"
	for i := range dirs {
		name := fmt.Sprintf("directory-%d", i)
		in := rootfs.Dir(0o755)
		in.Xattrs = map[string]string{"security.selinux": label}
		tree.Children[name] = in
		at := filepath.Join(dir, name)
		check(os.MkdirAll(at, 0o755))
		check(unix.Lsetxattr(at, "security.selinux", []byte(label), 0))
		for j := range files {
			name := fmt.Sprintf("lib-of-something-%d.so", j)
			file := rootfs.Text(0o644, "")
			file.Xattrs = in.Xattrs
			in.Children[name] = file
			check(os.WriteFile(filepath.Join(at, name), nil, 0o644))
			check(unix.Lsetxattr(filepath.Join(at, name), "security.selinux", []byte(label), 0))
		}
	}
}

func ours(f *os.File, format func() (*disk.Image, error)) time.Duration {
	before := used()
	img, err := format()
	check(err)
	for _, e := range img.Extents() {
		_, err := io.Copy(io.NewOffsetWriter(f, e.Off), io.NewSectionReader(e.Blob, 0, e.Blob.Size()))
		check(err)
	}
	return used() - before
}

func theirs(name string, args ...string) time.Duration {
	cmd := exec.Command(name, args...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		log.Fatalf("%s: %v\n%s", name, err, out)
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

func used() time.Duration {
	var u syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
