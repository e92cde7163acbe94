// Package cloud knows the platforms that an image can be made for.
//
// A platform is a line of a table: its Ignition platform id, the format of its
// image's file, how large the disk in it is, and how the file is published.
// What differs inside the image (kernel arguments, GRUB's console commands)
// comes from the operating system's own platforms.json. The table is that of
// coreos-assembler, so that images have the names and forms that clouds and
// their tools are used to. The last part of the table has further platforms that
// Ignition supports, in the form that their own documentation asks for.
package cloud

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/compress"
)

// A Platform is a kind of machine that an image is made for.
type Platform struct {
	ID        string // as in file names
	Ignition  string // value of ignition.platform.id and key of platforms.json, if it is not the ID
	Arches    string // that Fedora CoreOS has images for, as machines call themselves; "" for all
	Emerging  bool   // Fedora CoreOS has no images for it; Arches are the architectures of its machines
	Format    Format
	Published compress.Kind // how the file is compressed when it is published; "" for not at all
	Size      int64         // bytes of the disk, if it is not the size that image.json says
	Packed    bool          // the disk is as small as its content allows
	Sector    int           // bytes of a sector, 512 if zero
}

const gib = 1 << 30

// Platforms is the table of all platforms, in the order they are shown.
var Platforms = []Platform{
	{ID: "qemu", Format: qcow2Plain, Published: compress.Xz},
	{ID: "metal", Format: rawDisk, Published: compress.Xz, Packed: true},
	{ID: "metal4k", Ignition: "metal", Format: rawDisk, Published: compress.Xz, Packed: true, Sector: 4096},
	{ID: "aliyun", Arches: "x86_64", Format: qcow2Plain, Published: compress.Xz},
	{ID: "applehv", Arches: "x86_64 aarch64", Format: rawDisk, Published: compress.Gzip},
	{ID: "aws", Arches: "x86_64 aarch64", Format: vmdkStream, Published: compress.Xz},
	{ID: "azure", Arches: "x86_64 aarch64", Format: vhdFixed, Published: compress.Xz},
	{ID: "azurestack", Arches: "x86_64", Format: vhdFixed, Published: compress.Xz},
	{ID: "digitalocean", Arches: "x86_64", Format: qcow2Plain, Published: compress.Gzip},
	{ID: "exoscale", Arches: "x86_64", Format: qcow2Plain, Published: compress.Xz},
	{ID: "gcp", Arches: "x86_64 aarch64", Format: gcpTar},
	{ID: "hetzner", Arches: "x86_64 aarch64", Format: rawDisk, Published: compress.Xz},
	{ID: "hyperv", Arches: "x86_64 aarch64", Format: vhdxDynamic, Published: compress.Zip},
	{ID: "ibmcloud", Arches: "x86_64", Format: qcow2Plain, Published: compress.Xz, Size: 100 * gib},
	{ID: "kubevirt", Arches: "x86_64 aarch64", Format: containerDisk},
	{ID: "nutanix", Arches: "x86_64", Format: qcow2Packed},
	{ID: "openstack", Format: qcow2Plain, Published: compress.Xz},
	{ID: "oraclecloud", Arches: "x86_64 aarch64", Format: qcow2Plain, Published: compress.Xz},
	{ID: "proxmoxve", Arches: "x86_64", Format: qcow2Plain, Published: compress.Xz},
	{ID: "virtualbox", Arches: "x86_64", Format: ovaVirtualBox},
	{ID: "vmware", Arches: "x86_64", Format: ovaVMware},
	{ID: "vultr", Arches: "x86_64", Format: rawDisk, Published: compress.Xz},

	// Akamai takes at most 6 GiB, decompressed.
	{ID: "akamai", Emerging: true, Arches: "x86_64", Format: rawDisk, Published: compress.Gzip, Packed: true},
	{ID: "brightbox", Emerging: true, Arches: "x86_64", Format: qcow2Plain, Published: compress.Xz},
	// With the hypervisor KVM. For XenServer and VMware, CloudStack takes VHD and OVA.
	{ID: "cloudstack", Emerging: true, Arches: "x86_64 aarch64", Format: qcow2Plain, Published: compress.Xz},
	// The disk of the card. The boot stream (BFB) that coreos-assembler makes starts a live system instead.
	{ID: "nvidiabluefield", Emerging: true, Arches: "aarch64", Format: rawDisk, Published: compress.Xz, Packed: true},
	{ID: "packet", Emerging: true, Arches: "x86_64 aarch64", Format: rawDisk, Published: compress.Xz, Packed: true},
	// IBM's pvsadm makes the OVA that Power Virtual Server imports from a qcow2, compressed or not.
	{ID: "powervs", Emerging: true, Arches: "ppc64le", Format: qcow2Plain, Published: compress.Gzip},
	{ID: "scaleway", Emerging: true, Arches: "x86_64 aarch64", Format: qcow2Plain, Published: compress.Xz},
	{ID: "upcloud", Emerging: true, Arches: "x86_64", Format: rawDisk, Published: compress.Xz},
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
// as can be; usual is what the operating system wants of a virtual machine.
func (p Platform) DiskSize(usual int64) int64 {
	if p.Packed {
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

// FileName returns the name of an image's file in the form that
// coreos-assembler gives it; arch is the machine's name for itself (x86_64).
func (p Platform) FileName(name, version, arch string) string {
	return fmt.Sprintf("%s-%s-%s.%s.%s", name, version, p.ID, arch, p.Format.Suffix)
}
