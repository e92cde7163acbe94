package upload

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/manifests/schematest"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/disktest"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/raw"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/vmdk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// TestBlocks compares the blocks with those that a simple reader finds.
func TestBlocks(t *testing.T) {
	for name, img := range disktest.Images(t, 512) {
		t.Run(name, func(t *testing.T) {
			s, err := Blocks(img)
			if err != nil {
				t.Fatal(err)
			}
			want := map[int64][32]byte{}
			zeros, block := make([]byte, BlockSize), make([]byte, BlockSize)
			for _, e := range img.Extents() {
				for i := e.Off / BlockSize; i*BlockSize < e.End(); i++ {
					clear(block)
					if _, err := img.ReadAt(block, i*BlockSize); err != nil && err != io.EOF {
						t.Fatal(err)
					}
					if !bytes.Equal(block, zeros) {
						want[i] = sha256.Sum256(block)
					}
				}
			}
			all, last := sha256.New(), int64(-1)
			for _, b := range s.Blocks {
				if sum := want[b.Index]; b.Index <= last || !bytes.Equal(b.Checksum, sum[:]) {
					t.Errorf("block %d after %d: %x", b.Index, last, b.Checksum)
				}
				last = b.Index
				all.Write(b.Checksum)
			}
			if len(s.Blocks) != len(want) || !bytes.Equal(s.Checksum, all.Sum(nil)) || s.BlockSize != BlockSize {
				t.Errorf("%d blocks of %d bytes, want %d; checksum %x", len(s.Blocks), s.BlockSize, len(want), s.Checksum)
			}
			// "EBS, StartSnapshot: VolumeSize: the size of the volume, in GiB"
			if s.VolumeSize*gib < img.Size() || (s.VolumeSize-1)*gib >= img.Size() {
				t.Errorf("%d GiB for %d bytes", s.VolumeSize, img.Size())
			}
		})
	}
}

// TestBlockChecksum compares a checksum with the output of the command line in EBS's
// documentation.
func TestBlockChecksum(t *testing.T) {
	img := disktest.Images(t, 512)["odd"] // 33.5 KiB: a block that must be filled up with zeros
	s, err := Blocks(img)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "raw")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := raw.WriteFile(f, img, nil); err != nil {
		t.Fatal(err)
	}
	want := treetest.Run(t, "sh", "-c", "truncate -s 512K "+path+" && openssl dgst -sha256 -binary "+path+" | base64")
	if len(s.Blocks) != 1 || base64.StdEncoding.EncodeToString(s.Blocks[0].Checksum)+"\n" != want {
		t.Errorf("%+v, want %s", s.Blocks, want)
	}
	d, err := of(image("aws", "x86_64"))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Direct(s); err != nil {
		t.Fatal(err)
	}
	text := d.Marshal()
	if err := schematest.Valid(t, Schema, text); err != nil || !bytes.Contains(text, []byte(strings.TrimSpace(want))) {
		t.Errorf("%v in\n%s", err, text)
	}
}

// ebs is an aws command that keeps a snapshot in a file, and rejects a block with a wrong
// checksum.
const ebs = `#!/bin/sh
set -e
echo "$2" >>"$EBS/calls"
case "$1 $2" in
"ebs start-snapshot") echo snap-1 ;;
"ebs put-snapshot-block")
	while [ $# -gt 0 ]; do
		case "$1" in
		--snapshot-id) test "$2" = snap-1 ;;
		--block-index) index=$2 ;;
		--block-data) block=$2 ;;
		--data-length) test "$2" = "$(stat -c %s "$block")" ;;
		--checksum) test "$2" = "$(openssl dgst -sha256 -binary "$block" | base64)" ;;
		esac
		shift
	done
	dd if="$block" of="$EBS/snap-1" bs=512K seek="$index" conv=notrunc status=none
	;;
esac
`

// TestDirect runs the commands for EBS's direct APIs, and finds the disk in the snapshot.
func TestDirect(t *testing.T) {
	for _, tool := range []string{"jq", "qemu-img", "openssl"} {
		treetest.Tool(t, tool)
	}
	for _, name := range []string{"odd", "edges"} {
		t.Run(name, func(t *testing.T) {
			img, dir, account := disktest.Images(t, 512)[name], t.TempDir(), t.TempDir()
			m := image("aws", "x86_64")
			m.VirtualSize, m.File, m.Compression = img.Size(), "os-aws.vmdk", ""
			d, err := of(m)
			if err != nil {
				t.Fatal(err)
			}
			s, err := Blocks(img)
			if err != nil {
				t.Fatal(err)
			}
			if err := d.Direct(s); err != nil {
				t.Fatal(err)
			}
			var file bytes.Buffer
			if err := vmdk.Write(&file, img, vmdk.Options{ID: 1}); err != nil {
				t.Fatal(err)
			}
			for path, text := range map[string][]byte{
				filepath.Join(dir, m.File): file.Bytes(), filepath.Join(dir, FileName(m.File)): d.Marshal(), filepath.Join(account, "aws"): []byte(ebs),
			} {
				if err := os.WriteFile(path, text, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			var lines []string
			for _, step := range s.Steps {
				lines = append(lines, step.Line)
			}
			cmd := exec.Command("/bin/sh", "-euc", strings.Join(lines, "\n"))
			cmd.Dir, cmd.Env = dir, append(os.Environ(), "EBS="+account, "PATH="+account+":"+os.Getenv("PATH"))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			calls, err := os.ReadFile(filepath.Join(account, "calls"))
			want := "start-snapshot\n" + strings.Repeat("put-snapshot-block\n", len(s.Blocks)) + "complete-snapshot\nwait\nregister-image\n"
			if err != nil || string(calls) != want {
				t.Errorf("called was %q, %v", calls, err)
			}
			snapshot := filepath.Join(account, "snap-1")
			if err := os.Truncate(snapshot, img.Size()); err != nil {
				t.Fatal(err)
			}
			disktest.Compare(t, snapshot, "raw", img)
			// A changed block is an error.
			d.Snapshot.Blocks[0].Checksum[0]++
			if err := os.WriteFile(filepath.Join(dir, FileName(m.File)), d.Marshal(), 0o644); err != nil {
				t.Fatal(err)
			}
			cmd = exec.Command("/bin/sh", "-euc", strings.Join(lines, "\n"))
			cmd.Dir, cmd.Env = dir, append(os.Environ(), "EBS="+account, "PATH="+account+":"+os.Getenv("PATH"))
			if out, err := cmd.CombinedOutput(); err == nil {
				t.Errorf("a wrong block is passed over:\n%s", out)
			}
		})
	}
}

// TestBlocksCores gets the same result for every number of cores.
func TestBlocksCores(t *testing.T) {
	img := disktest.Images(t, 512)["text and noise"]
	var made [2]string
	for i := range made {
		old := runtime.GOMAXPROCS(1 + i)
		defer runtime.GOMAXPROCS(old)
		s, err := Blocks(img)
		if err != nil {
			t.Fatal(err)
		}
		made[i] = string(encode(s, ""))
	}
	if made[0] != made[1] || !strings.Contains(made[0], `"index":18432`) {
		t.Errorf("%s\n%s", made[0], made[1])
	}
}

type broken struct{}

func (broken) Size() int64                       { return 1 << 20 }
func (broken) ReadAt([]byte, int64) (int, error) { return 0, errors.New("a bad sector") }

func TestBlocksErrors(t *testing.T) {
	for _, tc := range []struct {
		size    int64
		extents []disk.Extent
		want    string
	}{
		{0, nil, "a disk of 0 bytes"},
		{64<<40 + 512, nil, "must be 1 byte to 64 TiB"}, // "EBS: a snapshot has at most 64 TiB"
		{1 << 20, []disk.Extent{{Blob: broken{}}}, "a bad sector"},
	} {
		img, err := disk.New(tc.size, tc.extents...)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Blocks(img); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v, want %s", err, tc.want)
		}
	}
}

// BenchmarkBlocks reads and hashes 256 MiB.
func BenchmarkBlocks(b *testing.B) {
	const size = 256 << 20
	img, err := disk.New(10*gib, disk.Extent{Off: mib, Blob: disktest.Noise(size)})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Blocks(img); err != nil {
			b.Fatal(err)
		}
	}
}
