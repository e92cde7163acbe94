package main

import (
	"cmp"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/inspect"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/packages"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/diff"
)

// A difference is the result of diff.
type difference struct{ *diff.Diff }

// print shows a difference to a person. The mark of a line is - for A only, +
// for B only, and ~ for both, but not alike.
func (d difference) print(w io.Writer) {
	arch := ""
	if d.Arch != "" {
		arch = d.Arch + ": "
	}
	if d.Equal && d.Arches == nil {
		fmt.Fprintf(w, "%sno differences: %s\n", arch, sameParts(d.Same))
		return
	}
	if d.Arches == nil || !d.Equal {
		fmt.Fprintf(w, "- %s%s\n+ %[1]s%[3]s\n", arch, oneLine(d.A), oneLine(d.B))
	}
	section(w, "about", d.About, printChange)
	section(w, "images", d.Images, printImage)
	if d.Platform != "" {
		fmt.Fprintf(w, "\nwithin the images for %s\n", d.Platform)
	}
	section(w, "partitions", d.Partitions, printPartition)
	section(w, "kernel arguments", d.Kargs, printKargs)
	section(w, "packages", d.Packages, printPackage)
	section(w, "files", d.Files, printFile)
	section(w, "Ignition", d.Ignition, printChange)
	section(w, "sizes", d.Sizes, printSize)
	section(w, "not compared", d.NotCompared, func(w io.Writer, s string) { fmt.Fprintf(w, "  %s\n", oneLine(s)) })
	if d.Same != nil {
		fmt.Fprintf(w, "\nthe same: %s\n", sameParts(d.Same))
	}
	for _, one := range d.Arches {
		if !d.Equal {
			fmt.Fprintln(w)
		}
		difference{one}.print(w)
	}
}

// sameParts lists parts without differences: "4 partitions, kernel arguments".
func sameParts(all []diff.Same) string {
	var texts []string
	for _, s := range all {
		if s.Count > 0 {
			texts = append(texts, fmt.Sprintf("%d %s", s.Count, s.Part))
		} else {
			texts = append(texts, s.Part)
		}
	}
	return strings.Join(texts, ", ")
}

// section prints the differences of one kind under a heading.
func section[T any](w io.Writer, name string, all []T, print func(io.Writer, T)) {
	if len(all) > 0 {
		fmt.Fprintf(w, "\n%s (%d)\n", name, len(all))
	}
	for _, v := range all {
		print(w, v)
	}
}

func printSize(w io.Writer, c diff.SizeChange) {
	fmt.Fprintf(w, "  ~ %s: %s -> %s (%+d bytes)\n", c.Name, size(c.A), size(c.B), c.B-c.A)
}

// printChange shows a property. Long values get lines of their own.
func printChange(w io.Writer, c diff.Change) {
	a, b := cmp.Or(oneLine(c.A), "none"), cmp.Or(oneLine(c.B), "none")
	if len(a)+len(b) > 60 {
		fmt.Fprintf(w, "  ~ %s\n    - %s\n    + %s\n", c.Name, a, b)
		return
	}
	fmt.Fprintf(w, "  ~ %s: %s -> %s\n", c.Name, a, b)
}

func printImage(w io.Writer, c diff.ImageChange) {
	switch {
	case c.A == nil:
		fmt.Fprintf(w, "  + %s: %s, %s\n", c.Platform, c.B.Path, size(c.B.Size))
	case c.B == nil:
		fmt.Fprintf(w, "  - %s: %s, %s\n", c.Platform, c.A.Path, size(c.A.Size))
	default:
		what := imageChanges(c.A.File, c.B.File)
		if what == nil {
			what = []string{"other metadata"}
		}
		fmt.Fprintf(w, "  ~ %s: %s\n", c.Platform, strings.Join(what, ", "))
	}
}

// imageChanges describes the properties in which two image files differ.
func imageChanges(a, b cloud.File) (what []string) {
	note := func(name string, a, b any) {
		if a != b {
			what = append(what, fmt.Sprintf("%s %v -> %v", name, a, b))
		}
	}
	note("path", a.Name, b.Name)
	note("SHA-256", short(a.SHA256), short(b.SHA256))
	note("size", size(a.Size), size(b.Size))
	note("virtual size", size(a.VirtualSize), size(b.VirtualSize))
	note("format", a.Type.Format, b.Type.Format)
	note("compression", a.Type.Compression, b.Type.Compression)
	note("sectors of", a.SectorSize, b.SectorSize)
	return what
}

// short returns the first digits of a digest.
func short(sum string) string { return sum[:min(len(sum), 12)] }

func printPartition(w io.Writer, c diff.PartitionChange) {
	switch {
	case c.A == nil:
		fmt.Fprintf(w, "  + %d %s: %s at %s\n", c.Number, c.B.Name, size(c.B.Size), size(c.B.Start))
	case c.B == nil:
		fmt.Fprintf(w, "  - %d %s: %s at %s\n", c.Number, c.A.Name, size(c.A.Size), size(c.A.Start))
	default:
		what := partitionChanges(c.A, c.B)
		if c.Content {
			what = append(what, "content")
		}
		fmt.Fprintf(w, "  ~ %d %s: %s\n", c.Number, c.A.Name, strings.Join(what, ", "))
	}
}

// partitionChanges describes the properties in which two partitions differ.
func partitionChanges(a, b *inspect.Partition) (what []string) {
	note := func(name, a, b string) {
		if a != b {
			what = append(what, fmt.Sprintf("%s %s -> %s", name, cmp.Or(a, "none"), cmp.Or(b, "none")))
		}
	}
	note("name", a.Name, b.Name)
	note("type", a.Type, b.Type)
	note("GUID", a.GUID, b.GUID)
	note("start", size(a.Start), size(b.Start))
	note("size", size(a.Size), size(b.Size))
	note("file system", a.Filesystem, b.Filesystem)
	note("label", a.Label, b.Label)
	note("UUID", a.UUID, b.UUID)
	return what
}

func printKargs(w io.Writer, c diff.KargChange) {
	fmt.Fprintf(w, "  ~ %s\n", oneLine(c.Entry))
	for _, arg := range c.Removed {
		fmt.Fprintf(w, "    - %s\n", oneLine(arg))
	}
	for _, arg := range c.Added {
		fmt.Fprintf(w, "    + %s\n", oneLine(arg))
	}
	for _, o := range c.Other {
		fmt.Fprintf(w, "    ~ %s: %s -> %s\n", o.Name, oneLine(cmp.Or(o.A, "none")), oneLine(cmp.Or(o.B, "none")))
	}
}

func printPackage(w io.Writer, c packages.Change) {
	name := oneLine(strings.TrimSuffix(c.Name+"."+c.Arch, "."))
	a, b := oneLine(strings.Join(c.A, " ")), oneLine(strings.Join(c.B, " "))
	switch {
	case len(c.A) == 0:
		fmt.Fprintf(w, "  + %s %s\n", name, b)
	case len(c.B) == 0:
		fmt.Fprintf(w, "  - %s %s\n", name, a)
	default:
		fmt.Fprintf(w, "  ~ %s %s -> %s\n", name, a, b)
	}
}

func printFile(w io.Writer, c diff.FileChange) {
	switch {
	case c.A == nil:
		printOneFile(w, "+", c.Path, c.B)
	case c.B == nil:
		printOneFile(w, "-", c.Path, c.A)
	default:
		var what []string
		for _, name := range c.What {
			if name != "content" || !slices.Contains(c.What, "size") { // another size means other content
				what = append(what, fileProperty(c, name))
			}
		}
		fmt.Fprintf(w, "  ~ %s: %s\n", oneLine(path.Join("/", c.Path)), strings.Join(what, ", "))
	}
}

// printOneFile shows a file that only one side has.
func printOneFile(w io.Writer, mark, name string, f *diff.File) {
	rest := ""
	switch {
	case f.Target != "":
		rest = " -> " + f.Target
	case f.Below > 0:
		rest = fmt.Sprintf("/ and %d more in it", f.Below)
	case f.Mode[0] == '-':
		rest = ", " + size(f.Size)
	}
	fmt.Fprintf(w, "  %s %s\n", mark, oneLine("/"+name+rest))
}

// fileProperty shows a property in which two files differ, with both values if
// they are short.
func fileProperty(c diff.FileChange, what string) string {
	a, b := "", ""
	switch what {
	case "mode", "type":
		a, b = c.A.Mode, c.B.Mode
	case "owner":
		a, b = fmt.Sprintf("%d:%d", c.A.UID, c.A.GID), fmt.Sprintf("%d:%d", c.B.UID, c.B.GID)
	case "size":
		a, b = fmt.Sprint(c.A.Size), fmt.Sprintf("%d bytes", c.B.Size)
	case "target":
		a, b = cmp.Or(c.A.Target, "none"), cmp.Or(c.B.Target, "none")
	case "xattr security.selinux":
		a, b = label(c.A), label(c.B)
	}
	if a == b {
		return oneLine(what)
	}
	return fmt.Sprintf("%s %s -> %s", what, oneLine(a), oneLine(b))
}

// label returns the SELinux label of a file.
func label(f *diff.File) string {
	return cmp.Or(strings.TrimRight(f.Xattrs["security.selinux"], "\x00"), "none")
}
