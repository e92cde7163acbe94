package ext4

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

const bootFeatures = "has_journal ext_attr resize_inode dir_index filetype extent 64bit flex_bg metadata_csum_seed sparse_super large_file huge_file dir_nlink extra_isize metadata_csum"

// reference makes an empty file system with mke2fs.
func reference(t *testing.T, o Options) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ref")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, o.Size); err != nil {
		t.Fatal(err)
	}
	uuid := func(u [16]byte) string {
		return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
	}
	features := strings.ReplaceAll(bootFeatures, " ", ",")
	args := []string{"-q", "-F", "-t", "ext4", "-O", "none," + features, "-L", o.Label, "-U", uuid(o.UUID),
		"-E", "hash_seed=" + uuid(o.hashSeed()) + ",lazy_itable_init=1"}
	if o.BlockSize != 0 {
		args = append(args, "-b", fmt.Sprint(o.BlockSize))
	}
	cmd := exec.Command(treetest.Tool(t, "mke2fs"), append(args, path)...)
	cmd.Env = append(os.Environ(), fmt.Sprintf("E2FSPROGS_FAKE_TIME=%d", o.Time.Sec))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("mke2fs: %v\n%s", err, out)
	}
	return path
}

// readSuper reads the primary superblock without the fields that may differ from
// those of mke2fs: the place of the journal, and the bytes written.
func readSuper(t *testing.T, path string) superBlock {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	raw := make([]byte, superSize)
	if _, err := f.ReadAt(raw, superOffset); err != nil {
		t.Fatal(err)
	}
	if got, want := checksum(^uint32(0), raw[:superSize-4]), binary.LittleEndian.Uint32(raw[superSize-4:]); got != want {
		t.Errorf("checksum of the superblock is %#x, want %#x", want, got)
	}
	var s superBlock
	if _, err := binary.Decode(raw, binary.LittleEndian, &s); err != nil {
		t.Fatal(err)
	}
	s.JnlBlocks = [17]uint32{15: s.JnlBlocks[15], 16: s.JnlBlocks[16]}
	s.KBytesWritten, s.Checksum = 0, 0
	return s
}

// TestSameAsMke2fs compares the superblock of an empty file system, and so its
// geometry and its features, with that of mke2fs.
func TestSameAsMke2fs(t *testing.T) {
	for _, o := range []Options{
		bootOptions(),
		{Size: 384 * miB, BlockSize: 4096},
		{Size: 16 * miB},
		{Size: 64*miB + 300*kiB, Label: "sixteen bytes ok"},
		{Size: 511 * miB},
		{Size: 512 * miB, UUID: bootUUID},
		{Size: 1000 * miB, BlockSize: 1024},
		{Size: 9700 * miB, Label: "root"},
		{Size: 60<<30 + 12345*4096},
		{Size: 5 * tiB},
	} {
		t.Run(fmt.Sprintf("%d of %d", o.Size, o.BlockSize), func(t *testing.T) {
			o.Time = made
			want := readSuper(t, reference(t, o))
			got := readSuper(t, disktest.WriteSparse(t, mustFormat(t, rootfs.Dir(0o755), o)))
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(superBlock{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestBootFeatures has dumpe2fs name them.
func TestBootFeatures(t *testing.T) {
	path := disktest.WriteSparse(t, mustFormat(t, rootfs.Dir(0o755), bootOptions()))
	fields := map[string]string{}
	for line := range strings.Lines(treetest.Run(t, "dumpe2fs", "-h", path)) {
		if name, value, ok := strings.Cut(line, ":"); ok {
			fields[name] = strings.TrimSpace(value)
		}
	}
	for name, want := range map[string]string{
		"Filesystem features":    bootFeatures,
		"Filesystem volume name": "boot",
		"Filesystem UUID":        "96d15588-3596-4b3c-adca-a2ff7279ea63",
		"Filesystem flags":       "signed_directory_hash",
		"Filesystem state":       "clean",
		"Block count":            "393216",
		"Block size":             "1024",
		"Inode count":            "98304",
		"Inode size":             "256",
		"First block":            "1",
		"Group descriptor size":  "64",
		"Flex block group size":  "16",
		"Default directory hash": "half_md4",
		"Checksum type":          "crc32c",
		"Total journal size":     "8M",
		"Journal start":          "0",
	} {
		if fields[name] != want {
			t.Errorf("%s: %s, want %s", name, fields[name], want)
		}
	}
}
