package butane

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

const (
	// maxText limits the memory of the YAML parser, which needs about 100 bytes
	// for each byte of text.
	maxText = 16 << 20

	// maxNodes limits the expansion of aliases.
	maxNodes = 1 << 18
)

// parse parses the YAML and reads the config's version, which decides about the
// known keys.
func (t *translation) parse(text []byte) (*yaml.Node, error) {
	if len(text) > maxText {
		return nil, fmt.Errorf("%s: config is larger than %d MiB; refer to large contents with local", t.name, maxText>>20)
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	var doc, more yaml.Node
	if err := d.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: config is empty", t.name)
	} else if err != nil {
		return nil, t.yamlError(err)
	}
	if err := d.Decode(&more); err == nil {
		return nil, fmt.Errorf("%sa second document; a config has one", t.where(&more))
	} else if !errors.Is(err, io.EOF) {
		return nil, t.yamlError(err)
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%sconfig is not a mapping", t.where(root))
	}
	return root, t.version(root)
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// yamlError returns a syntax error with its place. The parser reports only a line.
func (t *translation) yamlError(err error) error {
	m := yamlLine.FindStringSubmatch(err.Error())
	if m == nil {
		return fmt.Errorf("%s: %w", t.name, err)
	}
	place := t.name + ": "
	if m[1] != "" {
		place = t.name + ":" + m[1] + ":1: "
	}
	return errors.New(place + "invalid YAML: " + err.Error()[len(m[0]):])
}

// version checks the variant and reads the version.
func (t *translation) version(root *yaml.Node) error {
	variant, version := child(root, "variant"), child(root, "version")
	switch {
	case variant == nil:
		return fmt.Errorf("%smissing variant, must be fcos", t.where(root))
	case variant.Value != "fcos":
		return fmt.Errorf("%sunsupported variant %q, must be fcos", t.where(variant), variant.Value)
	case version == nil:
		return fmt.Errorf("%smissing version, must be 1.0.0 to 1.%d.0", t.where(root), len(versions)-1)
	}
	for minor := range versions {
		if version.Value == fmt.Sprintf("1.%d.0", minor) {
			t.minor = minor
			return nil
		}
	}
	return fmt.Errorf("%sunsupported version %q, must be 1.0.0 to 1.%d.0", t.where(version), version.Value, len(versions)-1)
}

// child returns the value of a key, or nil. Duplicate keys are an error elsewhere.
func child(n *yaml.Node, name string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if k := follow(n.Content[i]); k.Kind == yaml.ScalarNode && k.Value == name {
			return follow(n.Content[i+1])
		}
	}
	return nil
}

// follow returns the node that an alias refers to. The parser resolves aliases of
// aliases.
func follow(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// value decodes a node of a shape to a string, int, bool, []any or object. It
// returns nil for null and after an error. name is the dotted name in the Butane
// config, path the path in the Ignition config.
func (t *translation) value(n *yaml.Node, s *shape, name, path string) any {
	n = follow(n)
	t.at[path] = n
	if t.nodes++; t.nodes > maxNodes {
		if t.nodes == maxNodes+1 {
			t.errorf(n, "more than %d values", maxNodes)
		}
		return nil
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		return nil
	}
	switch {
	case s.kind == mapping && n.Kind == yaml.MappingNode:
		return t.mapping(n, s, name, path)
	case s.kind == list && n.Kind == yaml.SequenceNode:
		return t.list(n, s, name, path)
	case s.kind < list && n.Kind == yaml.ScalarNode:
		if v := t.scalar(n, s.kind, name); v != nil {
			return v
		}
		return nil
	}
	t.errorf(n, "%s: must be a %s", or(name, "config"), kinds[s.kind])
	return nil
}

func (t *translation) scalar(n *yaml.Node, k kind, name string) any {
	var err error
	switch {
	case k == text:
		var v string
		if err = n.Decode(&v); err == nil && utf8.ValidString(v) {
			return v
		}
	case k == number && n.ShortTag() == "!!int":
		var v int
		if err = n.Decode(&v); err == nil {
			return v
		}
	case k == boolean:
		var v bool
		if err = n.Decode(&v); err == nil {
			return v
		}
	}
	t.errorf(n, "%s: invalid value %q, must be a %s", name, n.Value, kinds[k])
	return nil
}

func (t *translation) list(n *yaml.Node, s *shape, name, path string) any {
	items := make([]any, 0, len(n.Content))
	for i, c := range n.Content {
		errs := len(t.errs)
		v := t.value(c, s.item, name, fmt.Sprintf("%s.%d", path, i))
		if v == nil && len(t.errs) == errs && t.nodes <= maxNodes {
			t.errorf(c, "%s: empty item", name)
		}
		items = append(items, v)
	}
	return items
}

func (t *translation) mapping(n *yaml.Node, s *shape, name, path string) any {
	m := object{}
	seen := map[string]*yaml.Node{}
	errs := len(t.errs)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := follow(n.Content[i])
		if first := seen[k.Value]; first != nil && k.Kind == yaml.ScalarNode {
			t.errorf(n.Content[i], "duplicate key %q in %s, first in line %d", k.Value, or(name, "config"), first.Line)
			continue
		}
		seen[k.Value] = n.Content[i]
		known, ok := s.keys[k.Value]
		switch {
		case k.Kind != yaml.ScalarNode:
			t.errorf(n.Content[i], "keys of %s must be strings", or(name, "config"))
		case !ok:
			t.errorf(n.Content[i], "unknown key %q in %s%s", k.Value, or(name, "config"), hint(k, s))
		case known.since > t.minor:
			t.errorf(n.Content[i], "key %q in %s needs version 1.%d.0, but the config has 1.%d.0", k.Value, or(name, "config"), known.since, t.minor)
		default:
			within := strings.TrimPrefix(name+"."+k.Value, ".")
			if v := t.value(n.Content[i+1], known.shape, within, path+"."+camel(k.Value)); v != nil {
				m[camel(k.Value)] = v
			}
		}
	}
	if s.sugar != nil && len(t.errs) == errs {
		s.sugar(t, n, m, path)
	}
	return m
}

// hint returns advice for the two most frequent kinds of wrong keys: merge keys,
// and keys with other capitals, dashes or underscores.
func hint(k *yaml.Node, s *shape) string {
	if k.ShortTag() == "!!merge" {
		return ", merge keys are not supported"
	}
	for _, name := range slices.Sorted(maps.Keys(s.keys)) {
		if strings.EqualFold(strings.ReplaceAll(name, "_", ""), strings.NewReplacer("_", "", "-", "").Replace(k.Value)) {
			return fmt.Sprintf(", is %q meant?", name)
		}
	}
	return ""
}

// or returns a name, or otherwise if it is empty.
func or(name, otherwise string) string {
	if name == "" {
		return otherwise
	}
	return name
}
