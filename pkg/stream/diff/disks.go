package diff

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/inspect"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// A PartitionChange is a partition that differs, is new, or is gone.
type PartitionChange struct {
	Number  int                `json:"number"`
	A       *inspect.Partition `json:"a"` // null if it is missing
	B       *inspect.Partition `json:"b"`
	Content bool               `json:"content"` // the bytes of a partition differ whose file system is not read
}

// A KargChange is a boot entry that differs, is new, or is gone.
type KargChange struct {
	Entry   string   `json:"entry"` // its file
	Removed []string `json:"removed"`
	Added   []string `json:"added"`
	Other   []Change `json:"other"` // title, linux, initrd, any other key, or the order of the arguments
}

// disks compares the parts of images that containers do not have.
func (d *Diff) disks(a, b *view) error {
	d.about("format", a.report.Format, b.report.Format)
	d.About = compare(d.About, "sector size", a.report.SectorSize, b.report.SectorSize)
	d.about("disk GUID", a.report.DiskGUID, b.report.DiskGUID)
	d.deployments(a.report.Deployments, b.report.Deployments)
	if err := d.bootCode(a, b); err != nil {
		return err
	}
	if err := d.partitions(a, b); err != nil {
		return err
	}
	d.kargs(a.report.Entries, b.report.Entries)
	return nil
}

// deployments compares the names of the deployments, several as one text.
func (d *Diff) deployments(a, b []inspect.Deployment) {
	all := func(list []inspect.Deployment, field func(inspect.Deployment) string) string {
		var texts []string
		for _, one := range list {
			texts = append(texts, field(one))
		}
		return strings.Join(texts, " ")
	}
	for _, of := range []struct {
		name  string
		field func(inspect.Deployment) string
	}{
		{"stateroot", func(d inspect.Deployment) string { return d.Stateroot }},
		{"commit", func(d inspect.Deployment) string { return d.Commit }},
		{"origin", func(d inspect.Deployment) string { return d.Origin }},
	} {
		d.about(of.name, all(a, of.field), all(b, of.field))
	}
}

// bootCodeSize is the part of the first sector before its partition table.
const bootCodeSize = 440

// bootCode compares the BIOS boot code by its SHA-256.
func (d *Diff) bootCode(a, b *view) error {
	var sums [2]string
	for i, v := range []*view{a, b} {
		var err error
		if sums[i], err = contentSum(rootfs.File(0, io.NewSectionReader(v.Disk.Content, 0, bootCodeSize))); err != nil {
			return err
		}
	}
	d.about("boot code", sums[0], sums[1])
	return nil
}

// partitions compares partitions by number: their places, and the bytes of those
// whose file systems are not read.
func (d *Diff) partitions(a, b *view) error {
	partsA, partsB := byNumber(a.report.Partitions), byNumber(b.report.Partitions)
	for _, number := range union(partsA, partsB) {
		c := PartitionChange{Number: number}
		if p, ok := partsA[number]; ok {
			c.A = &p
		}
		if p, ok := partsB[number]; ok {
			c.B = &p
		}
		if c.A == nil || c.B == nil {
			d.Partitions = append(d.Partitions, c)
			continue
		}
		if c.A.Opaque() && c.B.Opaque() && c.A.Size == c.B.Size {
			same, err := rootfs.SameContent(rootfs.File(0, a.Disk.Section(*c.A)), rootfs.File(0, b.Disk.Section(*c.B)))
			if err != nil {
				return fmt.Errorf("partition %d: %w", number, err)
			}
			c.Content = !same
		}
		if *c.A != *c.B || c.Content {
			d.Partitions = append(d.Partitions, c)
		}
	}
	if len(partsA) > 0 {
		d.same(len(d.Partitions), "partitions", len(partsA))
	}
	return nil
}

func byNumber(parts []inspect.Partition) map[int]inspect.Partition {
	all := map[int]inspect.Partition{}
	for _, p := range parts {
		all[p.Number] = p
	}
	return all
}

// kargs compares boot entries by file.
func (d *Diff) kargs(a, b []inspect.BootEntry) {
	entriesA, entriesB := byFile(a), byFile(b)
	for _, file := range union(entriesA, entriesB) {
		if c := entryChange(file, entriesA[file], entriesB[file]); len(c.Removed)+len(c.Added)+len(c.Other) > 0 {
			d.Kargs = append(d.Kargs, c)
		}
	}
	if len(a)+len(b) > 0 {
		d.same(len(d.Kargs), "kernel arguments", 0)
	}
}

func byFile(entries []inspect.BootEntry) map[string]inspect.BootEntry {
	all := map[string]inspect.BootEntry{}
	for _, e := range entries {
		all[e.File] = e
	}
	return all
}

// entryChange compares two boot entries.
func entryChange(file string, a, b inspect.BootEntry) KargChange {
	wordsA, wordsB := strings.Fields(a.Options), strings.Fields(b.Options)
	c := KargChange{Entry: file, Removed: without(wordsA, wordsB), Added: without(wordsB, wordsA), Other: []Change{}}
	c.Other = compare(c.Other, "title", a.Title, b.Title)
	c.Other = compare(c.Other, "linux", a.Linux, b.Linux)
	c.Other = compare(c.Other, "initrd", strings.Join(a.Initrd, " "), strings.Join(b.Initrd, " "))
	otherA, otherB := otherFields(a), otherFields(b)
	for _, key := range union(otherA, otherB) {
		c.Other = compare(c.Other, key, otherA[key], otherB[key])
	}
	if len(c.Removed)+len(c.Added) == 0 {
		c.Other = compare(c.Other, "order", a.Options, b.Options)
	}
	return c
}

// otherFields returns the values of an entry's other keys. Several values of one
// key are lines.
func otherFields(e inspect.BootEntry) map[string]string {
	m := map[string]string{}
	for _, f := range e.Other {
		if have, ok := m[f.Key]; ok {
			f.Value = have + "\n" + f.Value
		}
		m[f.Key] = f.Value
	}
	return m
}

// without returns the words that are not in others, in order. A repeated word
// has to be there as often.
func without(words, others []string) []string {
	count := map[string]int{}
	for _, w := range others {
		count[w]++
	}
	left := []string{}
	for _, w := range words {
		if count[w]--; count[w] < 0 {
			left = append(left, w)
		}
	}
	return left
}

// union returns the keys of both maps, in order.
func union[K interface{ ~int | ~string }, V any](a, b map[K]V) []K {
	all := maps.Collect(maps.All(a))
	maps.Copy(all, b)
	return slices.Sorted(maps.Keys(all))
}
