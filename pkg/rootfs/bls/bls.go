// Package bls reads and writes boot loader entries: the files in loader/entries of a
// boot partition. Each has the kernel, the initramfs and the command line of a boot
// menu entry:
//
//	title Fedora CoreOS 44 (ostree:0)
//	version 1
//	options rw $ignition_firstboot ostree=/ostree/boot.1/fedora-coreos/…/0
//	linux /boot/ostree/fedora-coreos-…/vmlinuz-6.19
//	initrd /boot/ostree/fedora-coreos-…/initramfs-6.19.img
//
// Each line has a key, a space and a value. An [Entry] keeps the order of the lines,
// and lines with unknown keys, because ostree, systemd and other programs add their
// own.
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

// An Entry is a boot menu entry: the lines of its file, without comments.
type Entry []Field

// Format returns the text of the file of an entry. It omits fields without a value,
// because GRUB stops reading at a key without a value. An entry without the key
// linux is an error.
func Format(e Entry) (string, error) {
	if e.Get("linux") == "" {
		return "", fmt.Errorf("bls: entry %q: missing key linux", e.Get("title"))
	}
	var b strings.Builder
	for _, f := range e {
		if f.Value == "" {
			continue
		}
		if f.Key == "" || strings.ContainsAny(f.Key, " \t#") || strings.ContainsAny(f.Key+f.Value, "\n\r\x00") {
			return "", fmt.Errorf("bls: key %q, value %q: invalid character for one line of an entry", f.Key, f.Value)
		}
		b.WriteString(f.Key + " " + f.Value + "\n")
	}
	return b.String(), nil
}

var (
	bootable = []string{"linux", "uki", "uki-url", "efi"} // an entry has one of these
	files    = append([]string{"initrd", "devicetree"}, bootable...)
)

// Parse parses the text of a file. It skips empty lines and comments.
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
			return nil, fmt.Errorf("bls: line %d: key %q has no value", number, f.Key)
		}
		e = append(e, f)
	}
	if !slices.ContainsFunc(e, func(f Field) bool { return slices.Contains(bootable, f.Key) }) {
		return nil, errors.New("bls: entry without a kernel, must have one of the keys " + strings.Join(bootable, ", "))
	}
	return e, nil
}

// Get returns the first value of a key, or "".
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

// Options returns the kernel command line. Like a boot loader, it joins several
// options lines.
func (e Entry) Options() Args { return ParseArgs(strings.Join(e.Values("options"), " ")) }

// Args is a kernel command line. Quotes have no meaning: a quoted argument with
// spaces becomes several arguments, and String restores it.
type Args []string

// ParseArgs splits a command line at its spaces.
func ParseArgs(line string) Args { return strings.Fields(line) }

// String joins the arguments with spaces.
func (a Args) String() string { return strings.Join(a, " ") }

// Append returns the command line with more arguments at the end. It keeps
// duplicates, because some arguments may be repeated, such as console=.
func (a Args) Append(args ...string) Args { return slices.Concat(a, args) }

// Delete returns the command line without the arguments that equal arg, which is
// "key=value" or "flag", and without those that have arg as their key.
func (a Args) Delete(arg string) Args {
	return slices.DeleteFunc(slices.Clone(a), func(have string) bool {
		key, _, _ := strings.Cut(have, "=")
		return have == arg || key == arg
	})
}

// Values returns the values of a key in order. The value of a flag is "".
func (a Args) Values(key string) []string {
	var values []string
	for _, arg := range a {
		if k, v, _ := strings.Cut(arg, "="); k == key {
			values = append(values, v)
		}
	}
	return values
}

// Get returns the last value of a key, which is the effective one for most keys, and
// reports whether the key exists.
func (a Args) Get(key string) (value string, ok bool) {
	values := a.Values(key)
	if len(values) == 0 {
		return "", false
	}
	return values[len(values)-1], true
}
