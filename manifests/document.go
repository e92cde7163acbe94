package manifests

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

const (
	// maxText limits the memory of the YAML parser, which needs about 100 bytes
	// for each byte of text.
	maxText = 1 << 20

	// maxValues limits the expansion of aliases. A mapping, a list and a scalar
	// count as one value each, and once for every alias.
	maxValues = 1 << 14
)

// A document is the YAML document in a file.
type document struct {
	file   string
	root   *yaml.Node
	values int // decoded so far
}

// parse returns the only document of a file. Documents without content, such as
// one with a comment only, do not count.
func parse(text []byte, file string) (*document, error) {
	if len(text) > maxText {
		return nil, fmt.Errorf("%s: definition is larger than %d MiB", file, maxText>>20)
	}
	doc := &document{file: file}
	for d := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var n yaml.Node
		err := d.Decode(&n)
		switch {
		case errors.Is(err, io.EOF) && doc.root == nil:
			return nil, fmt.Errorf("%s: no definition in the file; definition init writes a first one", file)
		case errors.Is(err, io.EOF):
			return doc, nil
		case err != nil:
			return nil, syntaxError(err, text, file)
		case isEmpty(n.Content[0]):
		case doc.root != nil:
			return nil, doc.errorf(n.Content[0], "a second document; each definition needs a file of its own")
		default:
			doc.root = n.Content[0]
		}
	}
}

// isEmpty reports whether a node has no text.
func isEmpty(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" && n.Value == ""
}

var yamlLine = regexp.MustCompile(`^line (\d+): `)

// syntaxError adds the place to an error of the YAML parser. The parser reports no
// column, and often the line in which a value begins, or the line before it. The place
// is therefore the last character that the parser reads, at or soon after the error.
func syntaxError(err error, text []byte, file string) error {
	r := byteReader{text: text}
	for d := yaml.NewDecoder(&r); d.Decode(&yaml.Node{}) == nil; {
	}
	before := text[:max(0, r.n-1)]
	line := bytes.Count(before, []byte("\n")) + 1
	column := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
	problem, begins := strings.TrimPrefix(err.Error(), "yaml: "), ""
	if found := yamlLine.FindStringSubmatch(problem); found != nil {
		problem = problem[len(found[0]):]
		if found[1] != strconv.Itoa(line) {
			begins = ", in a value that begins near line " + found[1]
		}
	}
	return fmt.Errorf("%s:%d:%d: invalid YAML: %s%s", file, line, column, problem, begins)
}

// A byteReader returns one byte for each call, so that n is the number of bytes that
// the parser needed.
type byteReader struct {
	text []byte
	n    int
}

func (r *byteReader) Read(p []byte) (int, error) {
	if r.n == len(r.text) {
		return 0, io.EOF
	}
	p[0] = r.text[r.n]
	r.n++
	return 1, nil
}

// errorf returns an error at a node.
func (d *document) errorf(n *yaml.Node, format string, args ...any) error {
	return fmt.Errorf("%s: %s", d.place(n), fmt.Sprintf(format, args...))
}

// place returns the file, line and column of a node.
func (d *document) place(n *yaml.Node) string {
	return fmt.Sprintf("%s:%d:%d", d.file, n.Line, n.Column)
}

// find returns the key and the value at a path of keys and list indices. If the
// path ends early, it returns the last ones found.
func (d *document) find(path []string) (key, value *yaml.Node) {
	key, value = d.root, d.root
	for _, name := range path {
		k, v := child(follow(value), name)
		if v == nil {
			break
		}
		key, value = k, v
	}
	return key, value
}

// child returns the key and the value of an entry of a mapping, or an item of a
// list twice. They are nil if there is no such entry.
func child(n *yaml.Node, name string) (key, value *yaml.Node) {
	switch n.Kind {
	case yaml.MappingNode:
		for pair := range slices.Chunk(n.Content, 2) {
			if pair[0].Value == name {
				return pair[0], pair[1]
			}
		}
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(name); err == nil && i < len(n.Content) {
			return n.Content[i], n.Content[i]
		}
	}
	return nil, nil
}

// follow returns the node that an alias refers to. The parser resolves aliases of
// aliases.
func follow(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// value decodes a node to a value of JSON, for the schema.
func (d *document) value(n *yaml.Node) (any, error) {
	if d.values++; d.values > maxValues {
		return nil, d.errorf(n, "more than %d values, counted after expansion of aliases", maxValues)
	}
	switch n.Kind {
	case yaml.AliasNode:
		return d.value(n.Alias)
	case yaml.MappingNode:
		return d.mapping(n)
	case yaml.SequenceNode:
		return d.list(n)
	}
	return d.scalar(n)
}

// scalar decodes null, a boolean or a number. Everything else is a string, such as
// a date.
func (d *document) scalar(n *yaml.Node) (v any, err error) {
	switch n.ShortTag() {
	case "!!null":
		return nil, nil
	case "!!bool":
		v, err = decode[bool](n)
	case "!!int", "!!float":
		_, err = decode[float64](n)
		v = 0 // No key has a number, and JSON has no infinity.
	default:
		v, err = decode[string](n)
	}
	if err != nil {
		return nil, d.errorf(n, "%q is not a valid %s", n.Value, n.ShortTag())
	}
	return v, nil
}

func decode[T any](n *yaml.Node) (v T, err error) {
	return v, n.Decode(&v)
}

func (d *document) list(n *yaml.Node) (any, error) {
	items := make([]any, 0, len(n.Content))
	for _, item := range n.Content {
		v, err := d.value(item)
		if err != nil {
			return nil, err
		}
		items = append(items, v)
	}
	return items, nil
}

func (d *document) mapping(n *yaml.Node) (any, error) {
	m := map[string]any{}
	var merged any
	first := map[string]*yaml.Node{}
	for pair := range slices.Chunk(n.Content, 2) {
		key := pair[0]
		if key.Kind != yaml.ScalarNode {
			return nil, d.errorf(key, "a key must be a string")
		}
		if first[key.Value] != nil {
			return nil, d.errorf(key, "duplicate key %q, first in line %d", key.Value, first[key.Value].Line)
		}
		first[key.Value] = key
		v, err := d.value(pair[1])
		if err != nil {
			return nil, err
		}
		if key.Value == "<<" && key.ShortTag() == "!!merge" {
			merged = v
		} else {
			m[key.Value] = v
		}
	}
	return m, d.merge(m, merged, first["<<"])
}

// merge adds the entries of a mapping or of a list of mappings, the value of the
// key <<, to a mapping. Earlier entries take precedence.
func (d *document) merge(m map[string]any, from any, key *yaml.Node) error {
	switch from := from.(type) {
	case nil:
	case map[string]any:
		for name, v := range from {
			if _, ok := m[name]; !ok {
				m[name] = v
			}
		}
	case []any:
		for _, item := range from {
			if err := d.merge(m, item, key); err != nil {
				return err
			}
		}
	default:
		return d.errorf(key, "the value of << must be a mapping or a list of mappings")
	}
	return nil
}
