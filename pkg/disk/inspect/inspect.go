// Package inspect looks into disk images without mounting them.
//
//	Open              a file of any format -> a [Disk]
//	Disk.Partitions   its partitions and their file systems
//	Disk.Tree         the tree of one partition
//	Disk.Booted       the [Tree] that the system on the disk sees when it is booted
//	Disk.Report       all of this as one value: the result of the command inspect
//	Deployments       the ostree deployments of a root file system
//
// [Open] reads raw disks, qcow2, VMDK in one file, VHD, VHDX, and the disk
// in an OVA, in Google's disk.raw tar archive and in an OCI archive of a
// containerDisk. A file may also be one file system without a partition table:
// ISO 9660, squashfs, FAT, ext4 or XFS. A file that is compressed as a whole cannot be
// read at any offset; the error matches [ErrCompressed].
//
// Nothing is read before it is needed, and content is never read: inodes refer
// to ranges of the file. Input is hostile: the readers of the formats bound
// their input, and report damage as an error that matches [ErrDamaged].
package inspect

import (
	"errors"
	"fmt"
	"io"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/gpt"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// A Disk is the disk in an image file.
type Disk struct {
	Format  string      // of the file: raw, qcow2, vmdk, vhd, vhdx, ova, tar or ociarchive
	Content rootfs.Blob // the bytes of the disk

	// Volume is the file system of a disk that is one file system as a whole. A
	// hybrid ISO image has both a volume and a partition table.
	Volume *Volume

	table    *gpt.Table // nil if the disk is only a volume
	tableErr error      // reason why a volume's partition table is not read
}

// A Volume is a file system, as its superblock describes it.
type Volume struct {
	Filesystem string `json:"filesystem,omitempty"` // ext4, xfs, fat12, fat16, fat32, iso9660, ..., or "" if it is not known
	Label      string `json:"label,omitempty"`
	UUID       string `json:"uuid,omitempty"` // in the form that blkid(8) prints
}

// A Partition is an entry of the partition table with its file system.
type Partition struct {
	Number int    `json:"number"`
	Name   string `json:"name"`
	Type   string `json:"type"`  // GUID
	GUID   string `json:"guid"`  // of the partition itself
	Start  int64  `json:"start"` // bytes
	Size   int64  `json:"size"`  // bytes
	Volume
}

// Open opens the disk in an image file of size bytes. The file must stay open
// as long as the disk is used.
//
// The error matches [ErrCompressed] if the file is compressed as a whole,
// [errors.ErrUnsupported] if it is intact but of a kind that is not read,
// [gpt.ErrNoTable] if it is not a disk, and [ErrDamaged] if it is damaged.
func Open(r io.ReaderAt, size int64) (*Disk, error) {
	d, err := open(io.NewSectionReader(r, 0, size))
	if err != nil {
		return nil, damage(err)
	}
	return d, nil
}

func open(file *io.SectionReader) (*Disk, error) {
	content, format, err := unwrap(file)
	if err != nil {
		return nil, err
	}
	d := &Disk{Format: format, Content: content}
	d.table, err = readTable(content)
	if v := identify(content); v.wholeDisk() && (v.Filesystem == "iso9660" || errors.Is(err, gpt.ErrNoTable)) {
		d.Volume = &v
		if d.table == nil && !errors.Is(err, gpt.ErrNoTable) {
			d.tableErr = err
		}
		err = nil
	}
	if err != nil {
		return nil, err
	}
	return d, nil
}

// Partitions returns the partitions in the order of their numbers.
func (d *Disk) Partitions() []Partition {
	parts := []Partition{}
	if d.table == nil {
		return parts
	}
	for _, e := range d.table.Partitions {
		parts = append(parts, Partition{
			Number: e.Number, Name: e.Name, Type: e.Type.String(), GUID: e.ID.String(), Start: e.Start, Size: e.Size,
			Volume: identify(io.NewSectionReader(d.Content, e.Start, e.Size)),
		})
	}
	return parts
}

// Section returns the bytes of a partition.
func (d *Disk) Section(p Partition) *io.SectionReader {
	return io.NewSectionReader(d.Content, p.Start, p.Size)
}

// Tree returns the tree of the file system in a partition.
func (d *Disk) Tree(p Partition) (*rootfs.Inode, error) {
	root, err := readTree(d.Section(p), p.Volume)
	if err != nil {
		return nil, fmt.Errorf("partition %d: %w", p.Number, damage(err))
	}
	return root, nil
}

// SectorSize returns the size of the sectors that the partition table counts
// in, and 0 if there is no table.
func (d *Disk) SectorSize() int {
	if d.table == nil {
		return 0
	}
	return d.table.SectorSize
}

// GUID returns the GUID of the disk, and "" if there is no partition table.
func (d *Disk) GUID() string {
	if d.table == nil {
		return ""
	}
	return d.table.DiskGUID.String()
}
