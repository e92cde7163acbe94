// Package diff compares disks, systems and builds, and returns the differences
// as a value.
//
//	Disks      two disk images
//	Systems    two containers, each deployed as a system
//	Compare    two [Side]s, each an image or a container
//	Trees      two trees of files
//	Builds     the records of two builds; [Diff.Add] adds the differences inside
//	           the images of one platform
//
// Timestamps and hard links are ignored. Everything else about a file counts:
// type, mode, owner, device, target, extended attributes, size, content, flags.
//
// The systems on two images are compared as they are when they are booted, with
// /boot and /boot/efi, but without the repository in /sysroot/ostree, which
// holds the same files again. An image and a container have the files of the
// deployment in common.
package diff

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/inspect"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/packages"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/system"
)

// A Diff holds the differences between A and B. Lists are empty, not nil, where
// nothing differs.
type Diff struct {
	Arch        string            `json:"arch,omitempty"` // of the builds, if a folder has several
	A           string            `json:"a"`              // name
	B           string            `json:"b"`
	Equal       bool              `json:"equal"`              // everything was compared, and nothing differs
	Platform    string            `json:"platform,omitempty"` // of two builds: whose images are compared inside
	About       []Change          `json:"about"`              // digest, commit, format and similar properties
	Images      []ImageChange     `json:"images"`             // of two builds
	Partitions  []PartitionChange `json:"partitions"`
	Kargs       []KargChange      `json:"kernel_arguments"`
	Packages    []packages.Change `json:"packages"`
	Files       []FileChange      `json:"files"`
	Ignition    []Change          `json:"ignition"`
	Sizes       []SizeChange      `json:"sizes"`
	NotCompared []string          `json:"not_compared"`            // parts that could not be compared, with the reason
	Arches      []*Diff           `json:"architectures,omitempty"` // of two builds of several: those that both have

	Same       []Same  `json:"-"` // parts that were compared and do not differ
	Compressed []error `json:"-"` // of [Folders]: for each compressed image in NotCompared an [inspect.OpenError]

	dirA, dirB string // folders of two builds
}

// A Change is a property with a value on each side. A missing property is "".
type Change struct {
	Name string `json:"name"`
	A    string `json:"a"`
	B    string `json:"b"`
}

// A SizeChange is a size in bytes.
type SizeChange struct {
	Name string `json:"name"` // one of the Size constants
	A    int64  `json:"a"`
	B    int64  `json:"b"`
}

// A Same is a part without differences.
type Same struct {
	Part  string // images, partitions, kernel arguments, Ignition, packages or files
	Count int    // of its members; 0 if the part is one thing
}

// Names of sizes.
const (
	SizeFile      = "file"
	SizeAllocated = "allocated" // on the disk of this machine: not a difference by itself
	SizeVirtual   = "virtual"
	SizeLayers    = "layers"  // of a container, compressed
	SizeContent   = "content" // of all files, each once
)

var sizeNames = []string{SizeFile, SizeAllocated, SizeVirtual, SizeLayers, SizeContent}

// New returns a Diff without differences.
func New(a, b string) *Diff {
	return &Diff{
		A: a, B: b, Equal: true,
		About: []Change{}, Images: []ImageChange{}, Partitions: []PartitionChange{}, Kargs: []KargChange{},
		Packages: []packages.Change{}, Files: []FileChange{}, Ignition: []Change{}, Sizes: []SizeChange{}, NotCompared: []string{},
	}
}

// A Side is one of the two things that [Compare] compares: a disk or a system.
type Side struct {
	Name      string         // in the Diff
	Disk      *inspect.Disk  // nil for a container
	System    *system.System // nil for an image
	File      int64          // size of an image's file in bytes, or 0
	Allocated int64          // bytes that the file takes on its disk, or 0
}

// Disks compares two disks.
func Disks(a, b *inspect.Disk) (*Diff, error) {
	return Compare(Side{Name: "a", Disk: a}, Side{Name: "b", Disk: b})
}

// Systems compares two systems.
func Systems(a, b *system.System) (*Diff, error) {
	return Compare(Side{Name: a.Container.Reference, System: a}, Side{Name: b.Container.Reference, System: b})
}

// Compare compares two images, two containers, or an image and a container. An
// error means that content could not be read. Parts that are damaged or of a
// kind that is not read are listed in NotCompared.
func Compare(sideA, sideB Side) (*Diff, error) {
	a, b := newView(sideA), newView(sideB)
	d := New(a.Name, b.Name)
	switch {
	case a.report != nil && b.report != nil:
		if err := d.disks(a, b); err != nil {
			return nil, err
		}
	case a.System != nil && b.System != nil:
		d.containers(a.System, b.System)
	default:
		d.about("commit", a.commit(), b.commit())
	}
	for _, v := range []*view{a, b} {
		if v.report != nil {
			for _, p := range v.report.Problems {
				d.skip(v, "", errors.New(p))
			}
		}
		if v.err != nil {
			d.skip(v, "files: ", v.err)
		}
	}
	if a.root != nil && b.root != nil {
		if err := d.trees(a, b); err != nil {
			return nil, err
		}
	}
	for _, name := range sizeNames {
		sizeA, inA := a.sizes[name]
		sizeB, inB := b.sizes[name]
		if inA && inB && sizeA != sizeB {
			d.Sizes = append(d.Sizes, SizeChange{name, sizeA, sizeB})
		}
	}
	d.judge()
	return d, nil
}

// Add adds the differences inside the images of one platform to those of their
// builds.
func (d *Diff) Add(inside *Diff) {
	d.About = append(d.About, inside.About...)
	d.Partitions = append(d.Partitions, inside.Partitions...)
	d.Kargs = append(d.Kargs, inside.Kargs...)
	d.Packages = append(d.Packages, inside.Packages...)
	d.Files = append(d.Files, inside.Files...)
	d.Ignition = append(d.Ignition, inside.Ignition...)
	d.Sizes = append(d.Sizes, inside.Sizes...)
	d.NotCompared = append(d.NotCompared, inside.NotCompared...)
	d.Same = append(d.Same, inside.Same...)
	d.judge()
}

// Skip records that a part could not be compared.
func (d *Diff) Skip(reason string) {
	d.NotCompared = append(d.NotCompared, reason)
	d.judge()
}

// skip records that a part of one side could not be compared.
func (d *Diff) skip(v *view, part string, err error) {
	d.NotCompared = append(d.NotCompared, fmt.Sprintf("%s: %s%v", v.Name, part, err))
}

// judge sets Equal.
func (d *Diff) judge() {
	if len(d.Sizes) == 1 && d.Sizes[0].Name == SizeAllocated {
		d.Sizes = d.Sizes[:0]
	}
	differences := len(d.About) + len(d.Images) + len(d.Partitions) + len(d.Kargs) + len(d.Packages) + len(d.Files) +
		len(d.Ignition) + len(d.Sizes) + len(d.NotCompared)
	d.Equal = differences == 0
	for _, one := range d.Arches {
		d.Equal = d.Equal && one.Equal
	}
}

// same records a part that has no differences.
func (d *Diff) same(differences int, part string, count int) {
	if differences == 0 {
		d.Same = append(d.Same, Same{part, count})
	}
}

func (d *Diff) about(name, a, b string) { d.About = compare(d.About, name, a, b) }

// compare adds a property to a list if its values differ.
func compare[T cmp.Ordered](to []Change, name string, a, b T) []Change {
	if a != b {
		to = append(to, Change{name, fmt.Sprint(a), fmt.Sprint(b)})
	}
	return to
}
