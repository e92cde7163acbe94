package inspect

import (
	"errors"
	"fmt"
	"path"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/bls"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ignition"
)

// A Report describes a disk. Damage that leaves the disk readable is in
// Problems.
type Report struct {
	Format      string       `json:"format"`
	VirtualSize int64        `json:"virtual_size"` // of the disk, in bytes
	SectorSize  int          `json:"sector_size"`  // 0 without a partition table
	DiskGUID    string       `json:"disk_guid"`
	Volume      *Volume      `json:"volume,omitempty"` // file system of the whole disk
	Partitions  []Partition  `json:"partitions"`
	Entries     []BootEntry  `json:"boot_entries"`
	FirstBoot   bool         `json:"first_boot"` // the next boot runs Ignition
	Ignition    int64        `json:"ignition"`   // size of the embedded config in bytes, 0 for none
	Deployments []Deployment `json:"deployments"`
	Problems    []string     `json:"problems,omitempty"` // damage
	Notes       []string     `json:"notes,omitempty"`    // parts that are intact, but missing or not read
}

// A BootEntry is a file of the Boot Loader Specification.
type BootEntry struct {
	File    string      `json:"file"` // path in the boot file system
	Title   string      `json:"title"`
	Linux   string      `json:"linux"`
	Initrd  []string    `json:"initrd"`
	Options string      `json:"options"`         // kernel arguments of all options lines
	Other   []bls.Field `json:"other,omitempty"` // all other lines, in order
}

// NewBootEntry returns the entry in a file.
func NewBootEntry(file string, e bls.Entry) BootEntry {
	b := BootEntry{File: file, Title: e.Get("title"), Linux: e.Get("linux"), Initrd: e.Values("initrd"), Options: e.Options().String()}
	for i, f := range e {
		shown := f.Key == "initrd" || f.Key == "options"
		if f.Key == "title" || f.Key == "linux" { // the first one counts
			shown = len(e[:i].Values(f.Key)) == 0
		}
		if !shown {
			b.Other = append(b.Other, f)
		}
	}
	return b
}

// Report reads the file systems of the system on a disk and describes it.
func (d *Disk) Report() *Report {
	r := &Report{
		Format: d.Format, VirtualSize: d.Content.Size(), SectorSize: d.SectorSize(), DiskGUID: d.GUID(), Volume: d.Volume,
		Partitions: d.Partitions(), Entries: []BootEntry{}, Deployments: []Deployment{},
	}
	if d.table != nil {
		r.note("primary partition table", d.table.PrimaryErr)
		r.note("backup partition table", d.table.BackupErr)
	}
	if d.tableErr != nil {
		r.Notes = append(r.Notes, "partition table: "+d.tableErr.Error())
	}
	if d.Volume != nil {
		_, err := readTree(d.Content, *d.Volume)
		r.note(d.Volume.Filesystem+" file system", err)
	}
	for _, p := range r.Partitions {
		if label := p.role(); label != "" {
			root, err := readTree(d.Section(p), p.Volume)
			if err == nil {
				err = r.read(label, root)
			}
			r.note(label+" file system", err)
		}
	}
	return r
}

// note adds an error to the problems, or to the notes if the part is intact.
func (r *Report) note(where string, err error) {
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		r.Notes = append(r.Notes, fmt.Sprintf("%s: %v", where, err))
	case err != nil:
		r.Problems = append(r.Problems, fmt.Sprintf("%s: %v", where, err))
	}
}

// read adds the contents of the file system of a label. The EFI system
// partition only has to be readable.
func (r *Report) read(label string, root *rootfs.Inode) error {
	switch label {
	case labelBoot:
		return r.readBoot(root)
	case labelRoot:
		return r.readRoot(root)
	}
	return nil
}

// readBoot adds the boot entries and Ignition's files of the boot file system.
func (r *Report) readBoot(root *rootfs.Inode) error {
	const dir = "loader/entries"
	if entries := root.Resolve(dir); entries != nil {
		for _, base := range entries.Names() {
			name := path.Join(dir, base)
			text, err := root.ReadFile(name, readLimit)
			if err != nil {
				return err
			}
			e, err := bls.Parse(string(text))
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			r.Entries = append(r.Entries, NewBootEntry(name, e))
		}
	}
	if len(r.Entries) == 0 {
		return disk.Unsupported("no boot entries")
	}
	r.FirstBoot = root.Lookup("ignition.firstboot") != nil
	if config := root.Lookup(ignition.Path); config != nil {
		r.Ignition = config.Size()
	}
	return nil
}

// readRoot adds the deployments in the root file system.
func (r *Report) readRoot(root *rootfs.Inode) error {
	if root.Lookup("ostree/deploy") == nil {
		return disk.Unsupported("no ostree/deploy: not a system deployed by ostree")
	}
	for _, one := range Deployments(root) {
		var err error
		if one.Origin, err = one.origin(); err != nil {
			return err
		}
		r.Deployments = append(r.Deployments, one)
	}
	return nil
}
