package upload

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"iter"
	"regexp"
	"slices"
	"strconv"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// importSnapshot is the request of EC2's ImportSnapshot. Amazon's examples keep its
// DiskContainer in a file containers.json.
type importSnapshot struct {
	Description   string
	DiskContainer diskContainer
}

type diskContainer struct {
	Description string
	Format      string
	UserBucket  userBucket
}

type userBucket struct{ S3Bucket, S3Key string }

// registerImage is the request of EC2's RegisterImage.
type registerImage struct {
	Name                string
	Description         string
	Architecture        string
	VirtualizationType  string
	RootDeviceName      string
	BlockDeviceMappings []deviceMapping
	EnaSupport          bool
	SriovNetSupport     string
	BootMode            string
	ImdsSupport         string `json:",omitempty"`
}

type deviceMapping struct {
	DeviceName  string
	Ebs         *ebsDevice `json:",omitempty"`
	VirtualName string     `json:",omitempty"`
}

type ebsDevice struct {
	SnapshotId          string
	VolumeSize          int64 // GiB
	VolumeType          string
	DeleteOnTermination bool
}

// volumes are the limits of each type of root volume, in GiB.
var volumes = map[string]struct{ min, max int64 }{
	"standard": {1, 1024}, "gp2": {1, 16384}, "gp3": {1, 65536}, "io1": {4, 16384}, "io2": {4, 65536},
}

var (
	bootModes = []string{"legacy-bios", "uefi", "uefi-preferred"}
	amiName   = regexp.MustCompile(`^[A-Za-z0-9()\[\] ./'@_-]{3,128}$`)
)

func prepareAWS(d *Document, w words) error {
	m := d.Image
	kind, boot := m.AWS.VolumeType, m.AWS.BootMode
	if kind == "" {
		kind = "gp3"
	}
	if boot == "" {
		boot = "uefi-preferred"
	}
	if m.Arch == "aarch64" {
		boot = "uefi" // the only mode of that architecture
	}
	size, ok := volumes[kind]
	switch {
	case !ok:
		return fmt.Errorf("volume type %q cannot be that of a root volume", kind)
	case m.gibibytes() < size.min || m.gibibytes() > size.max:
		return fmt.Errorf("a disk of %d GiB: a volume of %s has %d to %d", m.gibibytes(), kind, size.min, size.max)
	case !slices.Contains(bootModes, boot):
		return fmt.Errorf("boot mode %q is not one of %q", boot, bootModes)
	case !amiName.MatchString(w["name"]):
		return fmt.Errorf("name %q: must be 3 to 128 letters, digits and ()[] ./-'@_", w["name"])
	}
	d.request(w, "import-snapshot", importSnapshot{w["title"], diskContainer{w["title"], "VMDK", userBucket{"${BUCKET}", w["file"]}}})
	r := registerImage{
		Name: w["name"], Description: w["title"], Architecture: w["cloud-arch"], VirtualizationType: "hvm",
		RootDeviceName: "/dev/xvda",
		BlockDeviceMappings: []deviceMapping{
			{DeviceName: "/dev/xvda", Ebs: &ebsDevice{"${SNAPSHOT}", m.gibibytes(), kind, true}},
			{DeviceName: "/dev/xvdb", VirtualName: "ephemeral0"},
		},
		EnaSupport: true, SriovNetSupport: "simple", BootMode: boot,
	}
	if m.AWS.IMDSv2Only {
		r.ImdsSupport = "v2.0"
	}
	d.request(w, "register-image", r)
	return nil
}

// BlockSize is the size of a block in EBS's direct APIs, in bytes.
const BlockSize = 512 << 10

// A Snapshot is the input of EBS's direct APIs: StartSnapshot with the size,
// PutSnapshotBlock for each block, and CompleteSnapshot with the number of blocks
// and the checksum. Blocks that are not listed contain only zeros.
type Snapshot struct {
	// The size of the volume in GiB.
	VolumeSize int64 `json:"volume-size" jsonschema:"required"`
	// The size of a block in bytes. The last one is filled up with zeros.
	BlockSize int `json:"block-size" jsonschema:"required"`
	// The checksum of all blocks: SHA-256 of the SHA-256 of each block, which EBS calls LINEAR; in base64.
	Checksum []byte `json:"checksum" jsonschema:"required"`
	// The commands that upload it, in the place of the document's other ones.
	Steps []Step `json:"steps" jsonschema:"required,minItems=1"`
	// The blocks that are not all zeros, ascending.
	Blocks []Block `json:"blocks" jsonschema:"required"`
}

// Direct adds the input of EBS's direct APIs to a document, and the commands that
// upload it.
func (d *Document) Direct(s *Snapshot) error {
	m := d.Image
	w := words{
		"file": m.uncompressed(), "raw": m.name() + ".raw", "title": m.OS + " " + m.Version, "document": FileName(m.File),
		"gib": strconv.FormatInt(s.VolumeSize, 10), "put-blocks": putBlocks,
		"count": strconv.Itoa(len(s.Blocks)), "checksum": base64.StdEncoding.EncodeToString(s.Checksum),
		"register-image": string(encode(d.Requests["register-image"], "")),
	}
	d.Snapshot, s.Steps = s, nil
	if m.Compression != filetype.None {
		s.Steps = append(s.Steps, decompressing(m))
	}
	for _, step := range directSteps {
		s.Steps = append(s.Steps, step.made(w))
	}
	return d.list()
}

var directSteps = []step{
	{what: "Make a raw disk of the image.", command: "qemu-img convert -f vmdk -O raw {file} {raw}"},
	{what: "Start a snapshot.", gives: "SNAPSHOT",
		command: "aws ebs start-snapshot --volume-size {gib} --description {title} --query SnapshotId --output text"},
	{what: "Put the blocks of this document's list into it, from the folder that has the document.",
		command: "sh -euc {put-blocks} put-blocks {document} {raw} ${SNAPSHOT}"},
	{what: "Complete it.",
		command: "aws ebs complete-snapshot --snapshot-id ${SNAPSHOT} --changed-blocks-count {count} --checksum {checksum} --checksum-algorithm SHA256 --checksum-aggregation-method LINEAR"},
	{what: "Wait for it.", command: "aws ec2 wait snapshot-completed --snapshot-ids ${SNAPSHOT}"},
	registerAMI,
}

// putBlocks is a program for a POSIX shell. Its arguments are a document, a raw
// disk and a snapshot. It fills up the last block of the disk if that is short.
// EBS verifies the checksum of each block.
const putBlocks = `blocks=$(jq -r '."ebs-snapshot".blocks[] | "\(.index) \(.checksum)"' "$1"); ` +
	`printf '%s\n' "$blocks" | while read -r index checksum; do ` +
	`dd if="$2" of="$2.block" bs=524288 count=1 skip="$index" conv=sync status=none; ` +
	`aws ebs put-snapshot-block --snapshot-id "$3" --block-index "$index" --block-data "$2.block" --data-length 524288 ` +
	`--checksum "$checksum" --checksum-algorithm SHA256 </dev/null >/dev/null; ` +
	`done; rm "$2.block"`

// A Block is one block of a disk.
type Block struct {
	// The number of the block: its offset in the disk, divided by the size of a block.
	Index int64 `json:"index" jsonschema:"required"`
	// The block's SHA-256, in base64.
	Checksum []byte `json:"checksum" jsonschema:"required"`
}

// maxVolume is EBS's limit of 64 TiB.
const maxVolume = 64 << 40

// Blocks returns the input of EBS's direct APIs for a disk. It reads the disk
// except its holes, and hashes on all cores. The disk is read a second time for
// this: the file has other bytes than the disk, and the page cache has the disk's.
func Blocks(img *disk.Image) (*Snapshot, error) {
	if img.Size() == 0 || img.Size() > maxVolume {
		return nil, fmt.Errorf("upload: a disk of %s: must be 1 byte to %s", rootfs.Bytes(img.Size()), rootfs.Bytes(int64(maxVolume)))
	}
	s := &Snapshot{VolumeSize: (img.Size() + gib - 1) / gib, BlockSize: BlockSize, Blocks: []Block{}}
	all := sha256.New()
	for b, err := range disk.InOrder(indexes(img), func() func(int64) hashed { return hasher(img) }) {
		if err = cmp.Or(err, b.err); err != nil {
			return nil, fmt.Errorf("upload: %w", err)
		}
		if b.Checksum != nil {
			s.Blocks = append(s.Blocks, b.Block)
			all.Write(b.Checksum)
		}
	}
	s.Checksum = all.Sum(nil)
	return s, nil
}

// indexes yields the numbers of the blocks that are not holes.
func indexes(img *disk.Image) iter.Seq2[int64, error] {
	return func(yield func(int64, error) bool) {
		for r := range img.Runs(BlockSize) {
			for i := r.Off / BlockSize; !r.Hole && i*BlockSize < r.End(); i++ {
				if !yield(i, nil) {
					return
				}
			}
		}
	}
}

// hashed is a block. It has no checksum if it contains only zeros.
type hashed struct {
	Block
	err error
}

// hasher returns a function that reads and hashes a block, for one goroutine.
func hasher(img *disk.Image) func(int64) hashed {
	data := make([]byte, BlockSize)
	return func(i int64) hashed {
		n, err := img.ReadAt(data, i*BlockSize)
		if err != nil && err != io.EOF {
			return hashed{err: err}
		}
		clear(data[n:]) // the last block of the disk may be short
		if disk.IsZero(data) {
			return hashed{}
		}
		sum := sha256.Sum256(data)
		return hashed{Block: Block{i, sum[:]}}
	}
}
