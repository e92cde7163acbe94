package main

import (
	"cmp"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/packages"
)

// print shows a difference to a person: - is what only A has, + what only B
// has, and ~ what both have and not alike.
func (d *difference) print(w io.Writer) {
	of := ""
	if d.Arch != "" {
		of = d.Arch + ": "
	}
	if d.Equal && d.Arches == nil {
		fmt.Fprintf(w, "%sno differences: %s\n", of, strings.Join(d.same, ", "))
		return
	}
	if d.Arches == nil || !d.Equal {
		fmt.Fprintf(w, "- %s%s\n+ %[1]s%[3]s\n", of, oneLine(d.A), oneLine(d.B))
	}
	section(w, "about", d.About, func(c change) { c.print(w) })
	section(w, "images", d.Images, func(c imageChange) { c.print(w) })
	if d.Platform != "" {
		fmt.Fprintf(w, "\nwithin the images for %s\n", d.Platform)
	}
	section(w, "partitions", d.Partitions, func(c partitionChange) { c.print(w) })
	section(w, "kernel arguments", d.Kargs, func(c kargChange) { c.print(w) })
	section(w, "packages", d.Packages, func(c packages.Change) { printPackage(w, c) })
	section(w, "files", d.Files, func(c fileChange) { c.print(w) })
	section(w, "Ignition", d.Ignition, func(c change) { c.print(w) })
	section(w, "sizes", d.Sizes, func(c sizeChange) {
		fmt.Fprintf(w, "  ~ %s: %s -> %s (%+d bytes)\n", c.Name, size(c.A), size(c.B), c.B-c.A)
	})
	section(w, "not compared", d.NotCompared, func(s string) { fmt.Fprintf(w, "  %s\n", oneLine(s)) })
	if d.same != nil {
		fmt.Fprintf(w, "\nthe same: %s\n", strings.Join(d.same, ", "))
	}
	for _, one := range d.Arches {
		if !d.Equal {
			fmt.Fprintln(w)
		}
		one.print(w)
	}
}

// section prints what there is of one kind, under a heading.
func section[T any](w io.Writer, name string, all []T, print func(T)) {
	if len(all) > 0 {
		fmt.Fprintf(w, "\n%s (%d)\n", name, len(all))
	}
	for _, v := range all {
		print(v)
	}
}

// print shows a property, in lines of its own if it is long.
func (c change) print(w io.Writer) {
	a, b := cmp.Or(oneLine(c.A), "none"), cmp.Or(oneLine(c.B), "none")
	if len(a)+len(b) > 60 {
		fmt.Fprintf(w, "  ~ %s\n    - %s\n    + %s\n", c.Name, a, b)
		return
	}
	fmt.Fprintf(w, "  ~ %s: %s -> %s\n", c.Name, a, b)
}

func (c imageChange) print(w io.Writer) {
	switch {
	case c.A == nil:
		fmt.Fprintf(w, "  + %s: %s, %s\n", c.Platform, c.B.Path, size(c.B.Size))
	case c.B == nil:
		fmt.Fprintf(w, "  - %s: %s, %s\n", c.Platform, c.A.Path, size(c.A.Size))
	default:
		var what []string
		note := func(name string, a, b any) {
			if a != b {
				what = append(what, fmt.Sprintf("%s %v -> %v", name, a, b))
			}
		}
		note("path", c.A.Path, c.B.Path)
		note("SHA-256", short(c.A.SHA256), short(c.B.SHA256))
		note("size", size(c.A.Size), size(c.B.Size))
		note("virtual size", size(c.A.VirtualSize), size(c.B.VirtualSize))
		note("format", c.A.Format, c.B.Format)
		note("compression", cmp.Or(c.A.Compression, "none"), cmp.Or(c.B.Compression, "none"))
		note("sectors of", c.A.SectorSize, c.B.SectorSize)
		if what == nil {
			what = []string{"other metadata"}
		}
		fmt.Fprintf(w, "  ~ %s: %s\n", c.Platform, strings.Join(what, ", "))
	}
}

// short is enough of a digest to tell two apart.
func short(sum string) string { return sum[:min(len(sum), 12)] }

func (c partitionChange) print(w io.Writer) {
	switch {
	case c.A == nil:
		fmt.Fprintf(w, "  + %d %s: %s at %s\n", c.Number, c.B.Name, size(c.B.Size), size(c.B.Start))
	case c.B == nil:
		fmt.Fprintf(w, "  - %d %s: %s at %s\n", c.Number, c.A.Name, size(c.A.Size), size(c.A.Start))
	default:
		var what []string
		note := func(name, a, b string) {
			if a != b {
				what = append(what, fmt.Sprintf("%s %s -> %s", name, cmp.Or(a, "none"), cmp.Or(b, "none")))
			}
		}
		note("name", c.A.Name, c.B.Name)
		note("type", c.A.Type, c.B.Type)
		note("GUID", c.A.GUID, c.B.GUID)
		note("start", size(c.A.Start), size(c.B.Start))
		note("size", size(c.A.Size), size(c.B.Size))
		note("file system", c.A.Filesystem, c.B.Filesystem)
		note("label", c.A.Label, c.B.Label)
		note("UUID", c.A.UUID, c.B.UUID)
		if c.Content {
			what = append(what, "content")
		}
		fmt.Fprintf(w, "  ~ %d %s: %s\n", c.Number, c.A.Name, strings.Join(what, ", "))
	}
}

func (c kargChange) print(w io.Writer) {
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

func (c fileChange) print(w io.Writer) {
	one := func(mark string, f *diffedFile) {
		rest := ""
		switch {
		case f.Target != "":
			rest = " -> " + f.Target
		case f.Below > 0:
			rest = fmt.Sprintf("/ and %d more in it", f.Below)
		case f.Mode[0] == '-':
			rest = ", " + size(f.Size)
		}
		fmt.Fprintf(w, "  %s %s\n", mark, oneLine("/"+c.Path+rest))
	}
	switch {
	case c.A == nil:
		one("+", c.B)
	case c.B == nil:
		one("-", c.A)
	default:
		var what []string
		for _, name := range c.What {
			if name != "content" || !slices.Contains(c.What, "size") { // it goes without saying
				what = append(what, c.told(name))
			}
		}
		fmt.Fprintf(w, "  ~ %s: %s\n", oneLine(path.Join("/", c.Path)), strings.Join(what, ", "))
	}
}

// told is what differs of a file, with both values where they are short.
func (c fileChange) told(what string) string {
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

// label is the SELinux label of a file.
func label(f *diffedFile) string {
	return cmp.Or(strings.TrimRight(f.Xattrs["security.selinux"], "\x00"), "none")
}
