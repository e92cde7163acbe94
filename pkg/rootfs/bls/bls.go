// Package bls reads and writes boot loader entries, the files in loader/entries
// of a boot partition that say which kernel to start and how:
//
//	title Fedora CoreOS 44 (ostree:0)
//	version 1
//	options rw $ignition_firstboot ostree=/ostree/boot.1/fedora-coreos/…/0
//	linux /boot/ostree/fedora-coreos-…/vmlinuz-6.19
//	initrd /boot/ostree/fedora-coreos-…/initramfs-6.19.img
//
// Each line is a key, a blank and a value. An [Entry] keeps all lines in their
// order, those with an unknown key too: ostree, systemd and others add keys of
// their own.
//
// See https://uapi-group.org/specifications/specs/boot_loader_specification/.
package bls

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Field is a line of an entry.
type Field struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// An Entry is one way to boot: the lines of its file, without comments.
type Entry []Field

// Format returns the entry as a file. GRUB stops reading at an empty line and
// at a key without a value, so fields without a value are left out. The kernel
// must be named.
func Format(e Entry) (string, error) {
	if e.Get("linux") == "" {
		return "", fmt.Errorf("bls: entry %q has no kernel", e.Get("title"))
	}
	var b strings.Builder
	for _, f := range e {
		if f.Value == "" {
			continue
		}
		if f.Key == "" || strings.ContainsAny(f.Key, " \t#") || strings.ContainsAny(f.Key+f.Value, "\n\r\x00") {
			return "", fmt.Errorf("bls: %q %q does not fit on a line", f.Key, f.Value)
		}
		b.WriteString(f.Key + " " + f.Value + "\n")
	}
	return b.String(), nil
}

var (
	bootable = []string{"linux", "uki", "uki-url", "efi"} // an entry has one of these
	files    = append([]string{"initrd", "devicetree"}, bootable...)
)

// Parse reads an entry. Empty lines and comments are skipped.
func Parse(text string) (Entry, error) {
	var e Entry
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		f := Field{Key: line}
		if i := strings.IndexAny(line, " \t"); i >= 0 {
			f = Field{line[:i], strings.TrimSpace(line[i:])}
		}
		if f.Value == "" && slices.Contains(files, f.Key) {
			return nil, fmt.Errorf("bls: line %d: %q has no value", number, f.Key)
		}
		e = append(e, f)
	}
	if !slices.ContainsFunc(e, func(f Field) bool { return slices.Contains(bootable, f.Key) }) {
		return nil, errors.New("bls: the entry names nothing to boot: want one of " + strings.Join(bootable, ", "))
	}
	return e, nil
}

// Get returns the first value of a key, "" if there is none.
func (e Entry) Get(key string) string {
	for _, f := range e {
		if f.Key == key {
			return f.Value
		}
	}
	return ""
}

// Values returns all values of a key, in order.
func (e Entry) Values(key string) []string {
	var values []string
	for _, f := range e {
		if f.Key == key {
			values = append(values, f.Value)
		}
	}
	return values
}

// Options returns the kernel command line. Several options lines are one, as
// they are for a boot loader.
func (e Entry) Options() Args { return ParseArgs(strings.Join(e.Values("options"), " ")) }

// Args is a kernel command line. Quotes have no meaning here: an argument that
// is quoted because of a blank in it is several, which join up again as they
// were.
type Args []string

// ParseArgs splits a command line at its blanks.
func ParseArgs(line string) Args { return strings.Fields(line) }

// String joins the arguments with blanks.
func (a Args) String() string { return strings.Join(a, " ") }

// Append returns the command line with more behind it. Arguments may be
// repeated: console= often is.
func (a Args) Append(args ...string) Args { return slices.Concat(a, args) }

// Delete returns the command line without an argument: all that equal
// "key=value" or "flag", or, given a key alone, all that have it, with
// whatever value.
func (a Args) Delete(arg string) Args {
	return slices.DeleteFunc(slices.Clone(a), func(have string) bool {
		key, _, _ := strings.Cut(have, "=")
		return have == arg || key == arg
	})
}

// Values returns the values of a key in order, "" for one that has none.
func (a Args) Values(key string) []string {
	var values []string
	for _, arg := range a {
		if k, v, _ := strings.Cut(arg, "="); k == key {
			values = append(values, v)
		}
	}
	return values
}

// Get returns the last value of a key, which is the one that the kernel takes
// of most, and whether the key is there at all.
func (a Args) Get(key string) (value string, ok bool) {
	values := a.Values(key)
	if len(values) == 0 {
		return "", false
	}
	return values[len(values)-1], true
}
