package inspect

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/plaintext"
)

// A FileReport is the report of the disk in a file.
type FileReport struct {
	File string `json:"file"` // name
	*Report
}

// WriteText writes the report for a person.
func (r *FileReport) WriteText(w io.Writer) error {
	var b plaintext.Builder
	b.Printf("%s: %s, %s", r.File, r.Format, rootfs.Size(r.VirtualSize))
	if r.DiskGUID != "" {
		b.Printf(", %d-byte sectors, disk GUID %s", r.SectorSize, r.DiskGUID)
	}
	b.Printf("\n")
	if v := r.Volume; v != nil {
		b.Printf("file system %s, label %s, UUID %s\n", v.Filesystem, v.Label, v.UUID)
	}
	r.addPartitions(&b)
	r.addSystem(&b)
	b.List("problem: ", r.Problems)
	b.List("note: ", r.Notes)
	return b.Flush(w)
}

// addPartitions adds the partition table, if there is one.
func (r *Report) addPartitions(b *plaintext.Builder) {
	if len(r.Partitions) == 0 {
		return
	}
	rows := [][]string{{"#", "NAME", "START", "SIZE", "FILE SYSTEM", "LABEL", "UUID"}}
	for _, p := range r.Partitions {
		rows = append(rows, []string{fmt.Sprint(p.Number), p.Name, rootfs.Size(p.Start), rootfs.Size(p.Size), p.Filesystem, p.Label, p.UUID})
	}
	b.Printf("\n")
	b.Table(rows)
}

// addSystem adds the boot entries, the deployments and the state of Ignition.
func (r *Report) addSystem(b *plaintext.Builder) {
	for _, e := range r.Entries {
		b.Printf("\n%s\n  title   %s\n  linux   %s\n  initrd  %s\n  options %s\n", e.File, e.Title, e.Linux, strings.Join(e.Initrd, " "), e.Options)
		for _, f := range e.Other {
			b.Printf("  %-7s %s\n", f.Key, f.Value)
		}
	}
	for _, d := range r.Deployments {
		b.Printf("\ndeployment of %s\n  commit  %s\n  origin  %s\n", d.Stateroot, d.Commit, d.Origin)
	}
	if len(r.Partitions) > 0 {
		b.Printf("\nfirst boot    %s\nIgnition      %s\n",
			map[bool]string{true: "still to come", false: "over"}[r.FirstBoot],
			map[bool]string{true: "embedded, " + rootfs.Bytes(r.Ignition), false: "not embedded"}[r.Ignition > 0])
	}
}

// A Listing is the files of a directory.
type Listing []File

// WriteText writes the listing for a person, like ls -l.
func (l Listing) WriteText(w io.Writer) error {
	var rows [][]string
	for _, f := range l {
		name := f.Name
		if f.Target != "" {
			name += " -> " + f.Target
		}
		rows = append(rows, []string{f.Mode, fmt.Sprint(f.UID), fmt.Sprint(f.GID), fmt.Sprint(f.Size), f.MTime.Format(time.RFC3339), plaintext.OneLine(name)})
	}
	var b plaintext.Builder
	b.Table(rows)
	return b.Flush(w)
}
