package coreos

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// The configuration files of a container belong to other programs: bootc,
// image-builder, coreos-assembler and systemd. New versions of these programs
// have new keys, which must not prevent an image. A table for each kind of file lists
// the known keys. Other keys cause a warning.

// A use is the effect of a key on an image.
type use int

const (
	used        use = iota + 1
	irrelevant      // does not concern a disk image
	unsupported     // concerns a disk image, but has no effect on ours
)

// A foreignKey is a known key. Keys below an irrelevant or unsupported one need
// no entry of their own.
type foreignKey struct {
	use    use
	reason string // why a key is not used
	fine   []any  // values of an unsupported key that change nothing
}

// foreignKeys are the known keys of a kind of file by their path, such as
// "install.ostree". The part "*" stands for any name. A list adds no part.
type foreignKeys map[string]foreignKey

// maxKeys is the largest number of warnings about the keys of one file.
const maxKeys = 20

// checkKeys warns of keys in a decoded file that have no effect.
func (c *Config) checkKeys(file string, known foreignKeys, value any) {
	warnings := slices.Sorted(maps.Keys(known.warnings("", "", value)))
	for _, w := range warnings[:min(len(warnings), maxKeys)] {
		c.warn("%s: %s", file, w)
	}
	if more := len(warnings) - maxKeys; more > 0 {
		c.warn("%s: %d more keys have no effect on an image", file, more)
	}
}

// warnings returns the warnings about the keys of the value at a path. It returns a set,
// because the elements of a list may have the same keys.
func (known foreignKeys) warnings(at, entry string, value any) map[string]bool {
	found := map[string]bool{}
	switch value := value.(type) {
	case []any:
		for _, v := range value {
			maps.Copy(found, known.warnings(at, entry, v))
		}
	case []map[string]any: // TOML's array of tables
		for _, v := range value {
			maps.Copy(found, known.warnings(at, entry, v))
		}
	case map[any]any: // YAML with a key that is not a string
		for name, v := range value {
			maps.Copy(found, known.warn(at, entry, fmt.Sprint(name), v))
		}
	case map[string]any:
		for name, v := range value {
			maps.Copy(found, known.warn(at, entry, name, v))
		}
	}
	return found
}

func (known foreignKeys) warn(at, entry, name string, value any) map[string]bool {
	name = keyPart(name)
	full := strings.TrimPrefix(at+"."+name, ".")
	next := strings.TrimPrefix(entry+"."+name, ".")
	key, ok := known[next]
	if !ok {
		next = strings.TrimPrefix(entry+".*", ".")
		key, ok = known[next]
	}
	switch {
	case !ok:
		effect := "which has no effect on an image"
		if meant := known.spelled(entry, name); meant != "" {
			effect = "is " + meant + " meant?" // a parser may take it for that, other programs do not
		}
		return map[string]bool{fmt.Sprintf("unknown key %s, %s", full, effect): true}
	case key.use == used:
		return known.warnings(full, next, value)
	case key.use == unsupported && !slices.ContainsFunc(key.fine, func(fine any) bool { return reflect.DeepEqual(fine, value) }):
		return map[string]bool{fmt.Sprintf("key %s has no effect on an image: %s", full, key.reason): true}
	}
	return nil
}

// spelled returns the known key below an entry that differs from a name only in
// capitals, dashes and underscores, or "".
func (known foreignKeys) spelled(entry, name string) string {
	fold := strings.NewReplacer("-", "", "_", "").Replace
	for _, key := range slices.Sorted(maps.Keys(known)) {
		at, last := "", key
		if i := strings.LastIndex(key, "."); i >= 0 {
			at, last = key[:i], key[i+1:]
		}
		if at == entry && strings.EqualFold(fold(last), fold(name)) {
			return last
		}
	}
	return ""
}

// keyPart returns a name in TOML's syntax for a part of a key, shortened for printing.
func keyPart(name string) string {
	if len(name) > 100 {
		name = name[:100] + "..."
	}
	bare := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-", r)
	}
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return !bare(r) }) {
		return strconv.Quote(name)
	}
	return name
}
