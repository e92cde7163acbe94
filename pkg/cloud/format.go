package cloud

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/gcp"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/kubevirt"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/ova"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/qcow2"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/vhd"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/vhdx"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/vmdk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/coreos"
)

// A Format is the form of a disk in a file. It has either Plan or Write.
type Format struct {
	Suffix string // of the file's name

	// Plan returns the file, itself an image. It reads no content.
	Plan func(*disk.Image, Metadata) (*disk.Image, error)
	// Write writes a file whose layout depends on compressed sizes, from start to end.
	Write func(io.Writer, *disk.Image, Metadata) error

	// Check returns why a disk of a size in bytes cannot be in this format; nil
	// if every disk can.
	Check func(size int64) error
	// Unit is the number of bytes that a disk's size is a multiple of; zero means a MiB.
	Unit int64
	// Manifest returns the digest of the container in a file; nil if the format is
	// not a container.
	Manifest func(io.Reader) (string, error)
}

// Metadata describes a disk, for the formats that record it.
type Metadata struct {
	ID      [16]byte // of the disk
	Time    rootfs.Time
	Name    string // of the file, without its suffix
	OS      string // name of the operating system
	Version string // of the operating system
	Arch    string // as the machine calls itself
	Cloud   coreos.Cloud
	Spool   Spool
}

// A Spool keeps compressed data until its size is known. It is an empty temporary
// file.
type Spool interface {
	io.ReaderAt
	io.WriterAt
}

// Type returns the type of the format's files.
func (f Format) Type() filetype.Format { return filetype.Format(f.Suffix) }

var (
	rawDisk = Format{Suffix: "raw", Plan: func(img *disk.Image, _ Metadata) (*disk.Image, error) { return img, nil }}

	qcow2Plain = Format{Suffix: "qcow2", Check: qcow2.Check, Plan: func(img *disk.Image, _ Metadata) (*disk.Image, error) {
		return qcow2.Format(img, qcow2.Options{})
	}}

	// Deflate is the compression that every reader of the format knows.
	qcow2Packed = Format{Suffix: "qcow2", Check: qcow2.Check, Write: func(w io.Writer, img *disk.Image, f Metadata) error {
		return qcow2.Write(w, img, qcow2.Options{Compression: qcow2.Deflate, Spool: f.Spool})
	}}

	vmdkStream = Format{Suffix: "vmdk", Check: ebsSize, Write: func(w io.Writer, img *disk.Image, f Metadata) error {
		return vmdk.Write(w, img, vmdk.Options{ID: f.contentID()})
	}}

	vhdFixed = Format{Suffix: "vhd", Check: azureSize, Plan: func(img *disk.Image, f Metadata) (*disk.Image, error) {
		return vhd.Format(img, vhd.Options{ID: f.ID, Time: f.Time})
	}}

	vhdxDynamic = Format{Suffix: "vhdx", Check: vhdx.Check, Plan: func(img *disk.Image, f Metadata) (*disk.Image, error) {
		return vhdx.Format(img, vhdx.Options{ID: f.ID})
	}}

	gcpTar = Format{Suffix: "tar.gz", Check: gcp.Check, Unit: 1 << 30, Write: func(w io.Writer, img *disk.Image, f Metadata) error {
		return gcp.Write(w, img, gcp.Options{Time: f.Time.Sec})
	}}

	containerDisk = Format{Suffix: "ociarchive", Check: qcow2.Check, Manifest: kubevirt.Digest, Plan: func(img *disk.Image, f Metadata) (*disk.Image, error) {
		return kubevirt.Format(img, kubevirt.Options{
			Name: f.Name + ".qcow2", Arch: rootfs.GoArch(f.Arch), Version: f.Version, Time: f.time(),
		})
	}}

	ovaVMware     = appliance(ova.VMware)
	ovaVirtualBox = appliance(ova.VirtualBox)
)

// contentID is the id that VMware's disks have.
func (f Metadata) contentID() uint32 {
	return binary.LittleEndian.Uint32(f.ID[:]) >> 1 // neither of the two reserved values
}

func (f Metadata) time() time.Time { return time.Unix(f.Time.Sec, int64(f.Time.Nsec)).UTC() }

// appliance returns the format of a hypervisor's OVA.
func appliance(h ova.Hypervisor) Format {
	return Format{Suffix: "ova", Check: vmdk.Check, Write: func(w io.Writer, img *disk.Image, f Metadata) error {
		return ova.Write(w, img, h, ova.Options{
			Name: f.OS + "-" + f.Version, Product: f.OS, Vendor: f.OS, Version: f.Version,
			OSType: f.Cloud.VMwareOSType, HardwareVersion: f.Cloud.VMwareHardware, SecureBoot: f.Cloud.VMwareSecureBoot,
			DiskID: f.contentID(), Time: f.time(), Spool: f.Spool,
		})
	}}
}

// azureSize is Azure's rule: "The virtual size must be a multiple of 1 MB" and
// no larger than 2040 GiB, which the format has for a limit, too.
func azureSize(size int64) error {
	if size%(1<<20) != 0 {
		return fmt.Errorf("a disk of %s: Azure takes whole MiB", rootfs.Bytes(size))
	}
	return vhd.Check(size)
}

// ebsSize is the rule of AWS: a snapshot has at most 64 TiB.
func ebsSize(size int64) error {
	if size > 64<<40 {
		return fmt.Errorf("a disk of %s: AWS takes at most 64 TiB", rootfs.Bytes(size))
	}
	return vmdk.Check(size)
}
