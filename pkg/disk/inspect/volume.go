package inspect

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/ext4"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/fat"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/iso9660"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/squashfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/xfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// identify describes a file system by its superblock.
func identify(b rootfs.Blob) Volume {
	head := make([]byte, 2048)
	if rootfs.ReadFull(b, head, 0) != nil {
		return Volume{}
	}
	switch {
	case binary.LittleEndian.Uint16(head[1024+56:]) == 0xef53:
		return Volume{"ext4", trimmed(head[1024+120:][:16]), uuid(head[1024+104:][:16])}
	case string(head[:4]) == "XFSB":
		return Volume{"xfs", trimmed(head[108:][:12]), uuid(head[32:][:16])}
	case string(head[:4]) == "hsqs":
		return Volume{Filesystem: "squashfs"}
	case string(head[54:62]) == "FAT12   ":
		return Volume{"fat12", trimmed(head[43:54]), serial(head[39:])}
	case string(head[54:62]) == "FAT16   ":
		return Volume{"fat16", trimmed(head[43:54]), serial(head[39:])}
	case string(head[82:90]) == "FAT32   ":
		return Volume{"fat32", trimmed(head[71:82]), serial(head[67:])}
	}
	if label, id, ok := iso9660.Identify(b); ok {
		return Volume{"iso9660", label, id}
	}
	if k := match(volumeKinds, b, b.Size()); k != nil {
		return Volume{Filesystem: k.name}
	}
	return Volume{}
}

// trimmed returns a text that is padded with spaces or NULs.
func trimmed(b []byte) string {
	return strings.TrimRight(strings.TrimRight(string(b), "\x00"), " ")
}

func uuid(b []byte) string {
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// serial returns the volume serial number of a FAT file system.
func serial(b []byte) string {
	n := binary.LittleEndian.Uint32(b)
	return fmt.Sprintf("%04X-%04X", n>>16, n&0xffff)
}

// wholeDisk reports whether a disk may consist of the volume alone.
func (v Volume) wholeDisk() bool { return !v.Opaque() }

// readTree reads a file system.
func readTree(content rootfs.Blob, v Volume) (*rootfs.Inode, error) {
	r := io.NewSectionReader(content, 0, content.Size())
	switch v.Filesystem {
	case "ext4":
		return ext4.Read(r)
	case "xfs":
		return xfs.Read(r)
	case "fat12", "fat16", "fat32":
		return fat.Read(r)
	case "iso9660":
		return iso9660.Read(r, r.Size())
	case "squashfs":
		return squashfs.Read(r, r.Size())
	case "":
		return nil, errors.New("unknown file system")
	default:
		return nil, disk.Unsupported("%s is not read", v.Filesystem)
	}
}
