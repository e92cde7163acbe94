// Package bls reads and writes boot loader entries, the files in loader/entries
// of a boot partition that say which kernel to start and how:
//
//	title Fedora CoreOS 44 (ostree:0)
//	version 1
//	options rw $ignition_firstboot ostree=/ostree/boot.1/fedora-coreos/…/0
//	linux /boot/ostree/fedora-coreos-…/vmlinuz-6.19
//	initrd /boot/ostree/fedora-coreos-…/initramfs-6.19.img
//
// Each line is a key, a blank and a value. Keys stand in the order that ostree
// writes them in, and nothing is empty: GRUB stops reading an entry at an empty
// line and at a key without a value.
//
// See https://uapi-group.org/specifications/specs/boot_loader_specification/.
package bls

import (
	"fmt"
	"slices"
	"strings"
)

// A Field is a line of an entry.
type Field struct{ Key, Value string }

// An Entry is one way to boot. Empty fields are left out.
type Entry struct {
	Title      string
	Version    string
	Options    Args
	Devicetree string
	Linux      string
	Initrd     []string
	Extra      []Field // whatever else, after the fields above
}

// Format returns the entry as a file. The kernel must be named.
func Format(e Entry) (string, error) {
	if e.Linux == "" {
		return "", fmt.Errorf("bls: entry %q has no kernel", e.Title)
	}
	fields := []Field{
		{"title", e.Title},
		{"version", e.Version},
		{"options", e.Options.String()},
		{"devicetree", e.Devicetree},
		{"linux", e.Linux},
	}
	for _, name := range e.Initrd {
		fields = append(fields, Field{"initrd", name})
	}
	var b strings.Builder
	for _, f := range append(fields, e.Extra...) {
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

// Parse reads an entry. Several options lines become one, as for a boot
// loader; any other key but initrd that is repeated is kept in Extra.
func Parse(text string) (Entry, error) {
	var e Entry
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		key, value := line, ""
		if i := strings.IndexAny(line, " \t"); i >= 0 {
			key, value = line[:i], strings.TrimSpace(line[i:])
		}
		if value == "" {
			return Entry{}, fmt.Errorf("bls: line %d: %q has no value", number, key)
		}
		e.set(key, value)
	}
	if e.Linux == "" {
		return Entry{}, fmt.Errorf("bls: entry %q has no kernel", e.Title)
	}
	return e, nil
}

func (e *Entry) set(key, value string) {
	single := map[string]*string{"title": &e.Title, "version": &e.Version, "devicetree": &e.Devicetree, "linux": &e.Linux}
	switch field := single[key]; {
	case key == "options":
		e.Options = append(e.Options, ParseArgs(value)...)
	case key == "initrd":
		e.Initrd = append(e.Initrd, value)
	case field != nil && *field == "":
		*field = value
	default:
		e.Extra = append(e.Extra, Field{key, value})
	}
}

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
