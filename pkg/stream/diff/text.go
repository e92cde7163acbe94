package diff

import (
	"cmp"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/inspect"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/packages"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/plaintext"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/selinux"
)

// WriteText writes the differences for a person. A line is marked with - if only A
// has the thing, with + if only B has it, and with ~ if the two differ.
func (d *Diff) WriteText(w io.Writer) error {
	t := text{}
	t.diff(d)
	return t.Flush(w)
}

// A text collects differences for a person.
type text struct{ plaintext.Builder }

func (t *text) diff(d *Diff) {
	arch := ""
	if d.Arch != "" {
		arch = d.Arch + ": "
	}
	if d.Equal && d.Arches == nil {
		t.Printf("%sno differences: %s\n", arch, sameParts(d.Same))
		return
	}
	if d.Arches == nil || !d.Equal {
		t.Printf("- %s%s\n+ %[1]s%[3]s\n", arch, plaintext.OneLine(d.A), plaintext.OneLine(d.B))
	}
	section(t, "about", d.About, t.change)
	section(t, "images", d.Images, t.image)
	if d.Platform != "" {
		t.Printf("\nwithin the images for %s\n", d.Platform)
	}
	section(t, "partitions", d.Partitions, t.partition)
	section(t, "kernel arguments", d.Kargs, t.kargs)
	section(t, "packages", d.Packages, t.pkg)
	section(t, "files", d.Files, t.file)
	section(t, "Ignition", d.Ignition, t.change)
	section(t, "sizes", d.Sizes, t.size)
	section(t, "not compared", d.NotCompared, func(s string) { t.Printf("  %s\n", plaintext.OneLine(s)) })
	if d.Same != nil {
		t.Printf("\nthe same: %s\n", sameParts(d.Same))
	}
	for _, one := range d.Arches {
		if !d.Equal {
			t.Printf("\n")
		}
		t.diff(one)
	}
}

// sameParts lists parts without differences: "4 partitions, kernel arguments".
func sameParts(all []Same) string {
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
func section[T any](t *text, name string, all []T, print func(T)) {
	if len(all) > 0 {
		t.Printf("\n%s (%d)\n", name, len(all))
	}
	for _, v := range all {
		print(v)
	}
}

func (t *text) size(c SizeChange) {
	t.Printf("  ~ %s: %s -> %s (%+d bytes)\n", c.Name, rootfs.Size(c.A), rootfs.Size(c.B), c.B-c.A)
}

// change shows a property. Long values get lines of their own.
func (t *text) change(c Change) {
	a, b := cmp.Or(plaintext.OneLine(c.A), "none"), cmp.Or(plaintext.OneLine(c.B), "none")
	if len(a)+len(b) > 60 {
		t.Printf("  ~ %s\n    - %s\n    + %s\n", c.Name, a, b)
		return
	}
	t.Printf("  ~ %s: %s -> %s\n", c.Name, a, b)
}

func (t *text) image(c ImageChange) {
	switch {
	case c.A == nil:
		t.Printf("  + %s: %s, %s\n", c.Platform, c.B.Path, rootfs.Size(c.B.Size))
	case c.B == nil:
		t.Printf("  - %s: %s, %s\n", c.Platform, c.A.Path, rootfs.Size(c.A.Size))
	default:
		what := imageChanges(c.A.File, c.B.File)
		if what == nil {
			what = []string{"other metadata"}
		}
		t.Printf("  ~ %s: %s\n", c.Platform, strings.Join(what, ", "))
	}
}

// imageChanges describes the properties in which two image files differ.
func imageChanges(a, b cloud.File) (what []string) {
	what = plaintext.Note(what, "path", a.Name, b.Name)
	what = plaintext.Note(what, "SHA-256", short(a.SHA256), short(b.SHA256))
	what = plaintext.Note(what, "size", rootfs.Size(a.Size), rootfs.Size(b.Size))
	what = plaintext.Note(what, "virtual size", rootfs.Size(a.VirtualSize), rootfs.Size(b.VirtualSize))
	what = plaintext.Note(what, "format", a.Type.Format, b.Type.Format)
	what = plaintext.Note(what, "compression", a.Type.Compression, b.Type.Compression)
	what = plaintext.Note(what, "sectors of", a.SectorSize, b.SectorSize)
	return what
}

// short returns the first digits of a digest.
func short(sum string) string { return sum[:min(len(sum), 12)] }

func (t *text) partition(c PartitionChange) {
	switch {
	case c.A == nil:
		t.Printf("  + %d %s: %s at %s\n", c.Number, c.B.Name, rootfs.Size(c.B.Size), rootfs.Size(c.B.Start))
	case c.B == nil:
		t.Printf("  - %d %s: %s at %s\n", c.Number, c.A.Name, rootfs.Size(c.A.Size), rootfs.Size(c.A.Start))
	default:
		what := partitionChanges(c.A, c.B)
		if c.Content {
			what = append(what, "content")
		}
		t.Printf("  ~ %d %s: %s\n", c.Number, c.A.Name, strings.Join(what, ", "))
	}
}

// partitionChanges describes the properties in which two partitions differ.
func partitionChanges(a, b *inspect.Partition) (what []string) {
	what = plaintext.Note(what, "name", a.Name, b.Name)
	what = plaintext.Note(what, "type", a.Type, b.Type)
	what = plaintext.Note(what, "GUID", a.GUID, b.GUID)
	what = plaintext.Note(what, "start", rootfs.Size(a.Start), rootfs.Size(b.Start))
	what = plaintext.Note(what, "size", rootfs.Size(a.Size), rootfs.Size(b.Size))
	what = plaintext.Note(what, "file system", a.Filesystem, b.Filesystem)
	what = plaintext.Note(what, "label", a.Label, b.Label)
	what = plaintext.Note(what, "UUID", a.UUID, b.UUID)
	return what
}

func (t *text) kargs(c KargChange) {
	t.Printf("  ~ %s\n", plaintext.OneLine(c.Entry))
	for _, arg := range c.Removed {
		t.Printf("    - %s\n", plaintext.OneLine(arg))
	}
	for _, arg := range c.Added {
		t.Printf("    + %s\n", plaintext.OneLine(arg))
	}
	for _, o := range c.Other {
		t.Printf("    ~ %s: %s -> %s\n", o.Name, plaintext.OneLine(cmp.Or(o.A, "none")), plaintext.OneLine(cmp.Or(o.B, "none")))
	}
}

func (t *text) pkg(c packages.Change) {
	name := plaintext.OneLine(strings.TrimSuffix(c.Name+"."+c.Arch, "."))
	a, b := plaintext.OneLine(strings.Join(c.A, " ")), plaintext.OneLine(strings.Join(c.B, " "))
	switch {
	case len(c.A) == 0:
		t.Printf("  + %s %s\n", name, b)
	case len(c.B) == 0:
		t.Printf("  - %s %s\n", name, a)
	default:
		t.Printf("  ~ %s %s -> %s\n", name, a, b)
	}
}

func (t *text) file(c FileChange) {
	switch {
	case c.A == nil:
		t.oneFile("+", c.Path, c.B)
	case c.B == nil:
		t.oneFile("-", c.Path, c.A)
	default:
		var what []string
		for _, name := range c.What {
			if name != "content" || !slices.Contains(c.What, "size") { // another size means other content
				what = append(what, fileProperty(c, name))
			}
		}
		t.Printf("  ~ %s: %s\n", plaintext.OneLine(path.Join("/", c.Path)), strings.Join(what, ", "))
	}
}

// oneFile shows a file that only one side has.
func (t *text) oneFile(mark, name string, f *File) {
	rest := ""
	switch {
	case f.Target != "":
		rest = " -> " + f.Target
	case f.Below > 0:
		rest = fmt.Sprintf("/ and %d more in it", f.Below)
	case f.Mode[0] == '-':
		rest = ", " + rootfs.Size(f.Size)
	}
	t.Printf("  %s %s\n", mark, plaintext.OneLine("/"+name+rest))
}

// fileProperty shows a property in which two files differ, with both values if
// they are short.
func fileProperty(c FileChange, what string) string {
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
		return plaintext.OneLine(what)
	}
	return fmt.Sprintf("%s %s -> %s", what, plaintext.OneLine(a), plaintext.OneLine(b))
}

// label returns the SELinux label of a file.
func label(f *File) string {
	return cmp.Or(strings.TrimRight(f.Xattrs[selinux.Xattr], "\x00"), "none")
}
