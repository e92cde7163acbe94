package xfs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// generations are the configuration files of mkfs.xfs. (Those that
// come with xfsprogs 6.1 are not read by it: they have nrext64 in the wrong section.)
var generations = map[Features]struct{ conf, metadata, inode string }{
	LTS4_19: {"lts_4.19", "bigtime=0,inobtcount=0,reflink=0,rmapbt=0", "nrext64=0"},
	LTS5_10: {"lts_5.10", "bigtime=0,inobtcount=0,reflink=1,rmapbt=0", "nrext64=0"},
	LTS6_1:  {"lts_6.1", "bigtime=1,inobtcount=1,reflink=1,rmapbt=0", "nrext64=0"},
	LTS6_6:  {"lts_6.6", "bigtime=1,inobtcount=1,reflink=1,rmapbt=1", "nrext64=1"},
}

// TestSameAsMkfs compares the metadata that does not depend on the tree, thus
// geometry and features, with that of mkfs.xfs.
func TestSameAsMkfs(t *testing.T) {
	for _, o := range []Options{
		{Size: MinSize}, {Size: MinSize, Features: LTS4_19}, {Size: 9*gib + 12345, Features: LTS5_10}, {Size: gib, SectorSize: 4096},
		{Size: 2001 << 20, SectorSize: 4096, Features: LTS5_10}, {Size: 300 * gib, Groups: 9}, {Size: 1 << 40}, {Size: 40 * gib, Groups: 32}, {Size: 64 << 40},
		{Size: gib, Features: LTS6_6}, {Size: 700 << 20, SectorSize: 4096, Features: LTS6_6},
	} {
		t.Run(fmt.Sprintf("%d in %d, %s", o.Size, o.Groups, generations[o.Features].conf), func(t *testing.T) {
			o.Label, o.UUID = "root", testUUID
			path := filepath.Join("/dev/shm", fmt.Sprint("ohp-mkfs-", os.Getpid())) // files may be larger there
			defer os.Remove(path)
			geo, err := newGeometry(o)
			if err != nil {
				t.Fatal(err)
			}
			made := mkfs(t, path, o, geo)
			img := mustFormat(t, rootfs.Dir(0o755), o)
			for name, place := range map[string]struct {
				off, size int64
				but       [][2]int // from, to: bytes that may differ
			}{
				// We always say that there are attributes, and that there are no quota inodes in the way of the kernel.
				"superblock": {0, int64(geo.sector), [][2]int{{100, 102}, {160, 178}, {224, 228}, {232, 240}}},
				"AGI":        {2 * int64(geo.sector), int64(geo.sector), nil},
				"log":        {int64(geo.logGroup*geo.agBlocks+geo.logStart()) * blockSize, 1 << 20, nil},
				"inodes":     {int64(geo.chunkStart(0)+1) * blockSize, (chunkBlocks - 1) * blockSize, nil},
			} {
				want, got := make([]byte, place.size), make([]byte, place.size)
				if _, err := made.ReadAt(want, place.off); err != nil {
					t.Fatal(err)
				}
				if _, err := img.ReadAt(got, place.off); err != nil {
					t.Fatal(err)
				}
				for _, but := range place.but {
					clear(want[but[0]:but[1]])
					clear(got[but[0]:but[1]])
				}
				for at := range want {
					if want[at] != got[at] {
						t.Errorf("%s: byte %d is %#x, mkfs.xfs has %#x", name, at, got[at], want[at])
						break
					}
				}
				if bytes.Count(want, []byte{0}) == len(want) {
					t.Errorf("%s: mkfs.xfs has nothing there", name)
				}
			}
		})
	}
}

// mkfs makes an empty file system with mkfs.xfs.
func mkfs(t *testing.T, path string, o Options, geo *geometry) *os.File {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, o.Size); err != nil {
		t.Fatal(err)
	}
	u, g := o.UUID, generations[o.Features]
	treetest.Run(t, "mkfs.xfs", "-q", "-f", "-K", "-L", o.Label, "-s", fmt.Sprint("size=", geo.sector), "-d", fmt.Sprint("agcount=", geo.groups),
		"-m", fmt.Sprintf("crc=1,finobt=1,%s,uuid=%x-%x-%x-%x-%x", g.metadata, u[:4], u[4:6], u[6:8], u[8:10], u[10:]), "-i", "sparse=1,"+g.inode, path)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
