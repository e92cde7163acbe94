// Package cloud has the table of platforms that images are made for.
//
// A platform is a line of a table: its Ignition platform id, the format of its
// image's file, how large the disk in it is, and how the file is published.
// Differences inside the image (kernel arguments, GRUB's console commands)
// come from the operating system's own platforms.json. The table is that of
// coreos-assembler, so that images have the names and forms that clouds and
// their tools are used to. The last part of the table has further platforms that
// Ignition supports, in the form that their own documentation asks for.
package cloud

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
)

// A Platform is a kind of machine that an image is made for.
type Platform struct {
	ID          string // as in file names
	Ignition    string // value of ignition.platform.id and key of platforms.json, if it is not the ID
	Arches      string // that Fedora CoreOS has images for, as machines call themselves; "" for all
	Emerging    bool   // Fedora CoreOS has no images for it; Arches are the architectures of its machines
	Format      Format
	Compression filetype.Compression // of the published file; None if the format compresses its content
	Size        int64                // bytes of the disk, if it is not the size that image.json says
	Minimal     bool                 // the disk is as small as its content allows
	Sector      int                  // bytes of a sector, 512 if zero
}

const gib = 1 << 30

// Platforms is the table of all platforms, in the order they are shown.
var Platforms = []Platform{
	{ID: "qemu", Format: qcow2Plain, Compression: filetype.Xz},
	{ID: "metal", Format: rawDisk, Compression: filetype.Xz, Minimal: true},
	{ID: "metal4k", Ignition: "metal", Format: rawDisk, Compression: filetype.Xz, Minimal: true, Sector: 4096},
	{ID: "aliyun", Arches: "x86_64", Format: qcow2Plain, Compression: filetype.Xz},
	{ID: "applehv", Arches: "x86_64 aarch64", Format: rawDisk, Compression: filetype.Gzip},
	{ID: "aws", Arches: "x86_64 aarch64", Format: vmdkStream, Compression: filetype.Xz},
	{ID: "azure", Arches: "x86_64 aarch64", Format: vhdFixed, Compression: filetype.Xz},
	{ID: "azurestack", Arches: "x86_64", Format: vhdFixed, Compression: filetype.Xz},
	{ID: "digitalocean", Arches: "x86_64", Format: qcow2Plain, Compression: filetype.Gzip},
	{ID: "exoscale", Arches: "x86_64", Format: qcow2Plain, Compression: filetype.Xz},
	{ID: "gcp", Arches: "x86_64 aarch64", Format: gcpTar},
	{ID: "hetzner", Arches: "x86_64 aarch64", Format: rawDisk, Compression: filetype.Xz},
	{ID: "hyperv", Arches: "x86_64 aarch64", Format: vhdxDynamic, Compression: filetype.Zip},
	{ID: "ibmcloud", Arches: "x86_64", Format: qcow2Plain, Compression: filetype.Xz, Size: 100 * gib},
	{ID: "kubevirt", Arches: "x86_64 aarch64", Format: containerDisk},
	{ID: "nutanix", Arches: "x86_64", Format: qcow2Packed},
	{ID: "openstack", Format: qcow2Plain, Compression: filetype.Xz},
	{ID: "oraclecloud", Arches: "x86_64 aarch64", Format: qcow2Plain, Compression: filetype.Xz},
	{ID: "proxmoxve", Arches: "x86_64", Format: qcow2Plain, Compression: filetype.Xz},
	{ID: "virtualbox", Arches: "x86_64", Format: ovaVirtualBox},
	{ID: "vmware", Arches: "x86_64", Format: ovaVMware},
	{ID: "vultr", Arches: "x86_64", Format: rawDisk, Compression: filetype.Xz},

	// Akamai takes at most 6 GiB, decompressed.
	{ID: "akamai", Emerging: true, Arches: "x86_64", Format: rawDisk, Compression: filetype.Gzip, Minimal: true},
	{ID: "brightbox", Emerging: true, Arches: "x86_64", Format: qcow2Plain, Compression: filetype.Xz},
	// With the hypervisor KVM. For XenServer and VMware, CloudStack takes VHD and OVA.
	{ID: "cloudstack", Emerging: true, Arches: "x86_64 aarch64", Format: qcow2Plain, Compression: filetype.Xz},
	// The disk of the card. The boot stream (BFB) that coreos-assembler makes starts a live system instead.
	{ID: "nvidiabluefield", Emerging: true, Arches: "aarch64", Format: rawDisk, Compression: filetype.Xz, Minimal: true},
	{ID: "packet", Emerging: true, Arches: "x86_64 aarch64", Format: rawDisk, Compression: filetype.Xz, Minimal: true},
	// IBM's pvsadm makes the OVA that Power Virtual Server imports from a qcow2, compressed or not.
	{ID: "powervs", Emerging: true, Arches: "ppc64le", Format: qcow2Plain, Compression: filetype.Gzip},
	{ID: "scaleway", Emerging: true, Arches: "x86_64 aarch64", Format: qcow2Plain, Compression: filetype.Xz},
	{ID: "upcloud", Emerging: true, Arches: "x86_64", Format: rawDisk, Compression: filetype.Xz},
}

// unsupported are the platforms of Ignition without images, and the reasons.
var unsupported = map[string]string{
	"zvm": "z/VM has machines of s390x only, and images for s390x cannot be made",
}

// All means every platform that Fedora CoreOS has images for on an architecture.
const All = "all"

// Lookup returns the platforms of the given ids, in their order and each once.
// The architecture is named as the machine does.
func Lookup(arch string, ids ...string) (list []Platform, err error) {
	add := func(p Platform) {
		if !slices.ContainsFunc(list, func(q Platform) bool { return q.ID == p.ID }) {
			list = append(list, p)
		}
	}
	for _, id := range ids {
		i := slices.IndexFunc(Platforms, func(p Platform) bool { return p.ID == id })
		switch {
		case id == All:
			for _, p := range Platforms {
				if p.Has(arch) && !p.Emerging {
					add(p)
				}
			}
		case unsupported[id] != "":
			return nil, fmt.Errorf("platform %q: %s", id, unsupported[id])
		case i < 0:
			return nil, fmt.Errorf("platform %q is not known, these are: %s", id, strings.Join(append(IDs(), All), ", "))
		default:
			add(Platforms[i])
		}
	}
	return list, nil
}

// Named returns the platforms of ids that are written in a program. It panics if
// one is unknown; see [Lookup] for ids that a user chooses.
func Named(ids ...string) (list []Platform) {
	for _, id := range ids {
		i := slices.IndexFunc(Platforms, func(p Platform) bool { return p.ID == id })
		if i < 0 {
			panic("cloud: unknown platform " + id)
		}
		list = append(list, Platforms[i])
	}
	return list
}

// IDs returns the ids of all platforms.
func IDs() (ids []string) {
	for _, p := range Platforms {
		ids = append(ids, p.ID)
	}
	return ids
}

// Has reports whether Fedora CoreOS has images of an architecture for the platform.
// For an emerging platform it reports whether the platform has such machines.
func (p Platform) Has(arch string) bool {
	return p.Arches == "" || slices.Contains(strings.Fields(p.Arches), arch)
}

// IgnitionID is the platform's name for Ignition and in platforms.json.
func (p Platform) IgnitionID() string { return cmp.Or(p.Ignition, p.ID) }

// DiskSize returns the size of the platform's disk in bytes, zero for as small
// as can be; usual is the operating system's size for a virtual machine.
func (p Platform) DiskSize(usual int64) int64 {
	if p.Minimal {
		return 0
	}
	return cmp.Or(p.Size, usual)
}

// Check returns why a disk of a size in bytes cannot be one of the platform.
func (p Platform) Check(size int64) error {
	if p.Format.Check == nil {
		return nil
	}
	return p.Format.Check(size)
}

// FileCompression returns the compression of the platform's file if all files are
// to be compressed in one way, or as they are published. Formats that compress
// their content are never compressed again.
func (p Platform) FileCompression(want filetype.Compression, asPublished bool) filetype.Compression {
	if p.Compression == filetype.None || asPublished {
		return p.Compression
	}
	return want
}

// BaseName returns the name of an image file as coreos-assembler forms it, without
// the suffix of its type: NAME-VERSION-PLATFORM.ARCH. The architecture is in the
// words of uname -m: x86_64.
func (p Platform) BaseName(name, version, arch string) string {
	return fmt.Sprintf("%s-%s-%s.%s", name, version, p.ID, arch)
}
