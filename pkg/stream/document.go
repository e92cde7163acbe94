package stream

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxDocument bounds every document that is read, in bytes. Those of Fedora
// CoreOS are of some hundred KiB.
const MaxDocument = 4 << 20

// What else is bounded of a document: how deep its objects and arrays are
// nested, and how many values there are, each of which takes memory.
const (
	maxDepth  = 32
	maxValues = 1 << 17
)

// A Document is JSON as it stands in a file: with its order, and with the
// fields that this package has no name for. What is edited is a Document, so
// that nothing which somebody else wrote into it is lost.
type Document struct {
	Name string // where it is from, for errors

	root   *object
	indent string // of the file
}

// An object is a JSON object in its order. Its values are those of
// [encoding/json], but for objects, which are *object, and numbers, which are
// [json.Number].
type object struct {
	keys   []string
	values map[string]any
}

func newObject() *object { return &object{values: map[string]any{}} }

func (o *object) set(key string, value any) {
	if _, ok := o.values[key]; !ok {
		o.keys = append(o.keys, key)
	}
	o.values[key] = value
}

// MarshalJSON writes the object in its order.
func (o *object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	write(&b, o)
	return b.Bytes(), nil
}

func write(b *bytes.Buffer, v any) {
	switch v := v.(type) {
	case *object:
		b.WriteByte('{')
		for i, key := range v.keys {
			if i > 0 {
				b.WriteByte(',')
			}
			b.Write(compact(key))
			b.WriteByte(':')
			write(b, v.values[key])
		}
		b.WriteByte('}')
	case []any:
		b.WriteByte('[')
		for i := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			write(b, v[i])
		}
		b.WriteByte(']')
	default:
		b.Write(compact(v))
	}
}

// Parse reads a document, which is an object. It refuses what two readers could
// understand in two ways: a key that stands twice.
func Parse(name string, text []byte) (*Document, error) {
	if len(text) > MaxDocument {
		return nil, fmt.Errorf("%s: more than %d bytes", name, MaxDocument)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	p := parser{Decoder: d}
	v, err := p.value()
	if err == nil {
		if _, end := d.Token(); end != io.EOF {
			err = errors.New("more follows the document")
		}
	}
	if err != nil {
		line := 1 + bytes.Count(text[:min(d.InputOffset(), int64(len(text)))], []byte("\n"))
		return nil, fmt.Errorf("%s:%d: %s%w", name, line, place(p.path), err)
	}
	root, ok := v.(*object)
	if !ok {
		return nil, fmt.Errorf("%s: not a JSON object", name)
	}
	return &Document{name, root, indentOf(text)}, nil
}

// A parser reads JSON values and knows where it is.
type parser struct {
	*json.Decoder
	path   []string
	values int
}

func (p *parser) value() (any, error) {
	t, err := p.next()
	p.values++
	switch {
	case err != nil:
		return nil, err
	case p.values > maxValues:
		return nil, fmt.Errorf("more than %d values", maxValues)
	case len(p.path) > maxDepth:
		return nil, fmt.Errorf("nested deeper than %d", maxDepth)
	case t == json.Delim('{'):
		return p.object()
	case t == json.Delim('['):
		return p.array()
	}
	return t, nil
}

// next is the next token, where there must be one.
func (p *parser) next() (json.Token, error) {
	t, err := p.Token()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return t, err
}

func (p *parser) object() (*object, error) {
	o := newObject()
	for p.More() {
		t, err := p.next()
		if err != nil {
			return nil, err
		}
		key := t.(string) // the decoder takes nothing else here
		p.path = append(p.path, key)
		if _, twice := o.values[key]; twice {
			return nil, errors.New("stands there twice")
		}
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		o.set(key, v)
		p.path = p.path[:len(p.path)-1]
	}
	_, err := p.next()
	return o, err
}

func (p *parser) array() ([]any, error) {
	a := []any{}
	for p.More() {
		p.path = append(p.path, fmt.Sprint(len(a)))
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		a = append(a, v)
		p.path = p.path[:len(p.path)-1]
	}
	_, err := p.next()
	return a, err
}

// place is a path as it stands in front of an error.
func place(path []string) string {
	if len(path) == 0 {
		return ""
	}
	return fmt.Sprintf("%.200s: ", strings.Join(path, "."))
}

// indentOf returns what a document's first line in an object begins with.
func indentOf(text []byte) string {
	_, rest, ok := bytes.Cut(text, []byte("\n"))
	n := len(rest) - len(bytes.TrimLeft(rest, " \t"))
	if !ok || n == 0 || n > 8 {
		return indent
	}
	return string(rest[:n])
}

// indent is that of the documents that are made here.
const indent = "    "

// Marshal returns a document as it is written to a file.
func Marshal(v any) []byte { return marshal(v, indent) }

// Bytes returns the document as it is written to its file.
func (d *Document) Bytes() []byte { return marshal(d.root, d.indent) }

func marshal(v any, indent string) []byte {
	var b bytes.Buffer
	if err := json.Indent(&b, compact(v), "", indent); err != nil {
		panic(err) // what was just made
	}
	b.WriteByte('\n')
	return control.ReplaceAllFunc(b.Bytes(), func(c []byte) []byte {
		r, _ := utf8.DecodeRune(c)
		return fmt.Appendf(nil, `\u%04x`, r)
	})
}

// control are the characters that control a terminal which JSON lets stand in
// a string as they are.
var control = regexp.MustCompile(`[\x7f-\x{9f}]`)

// compact is json.Marshal that leaves the ampersands of URLs as they are.
func compact(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // a type of this package that JSON has no form for
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// NewDocument returns one of the types of this package as a document, if it is
// not too large for one.
func NewDocument(name string, v any) (*Document, error) { return Parse(name, Marshal(v)) }

// Decode reads the document into one of the types of this package.
func (d *Document) Decode(v any) error {
	err := json.Unmarshal(compact(d.root), v)
	if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) {
		return fmt.Errorf("%s: %s: got %s, want %s", d.Name, wrong.Field, wrong.Value, wrong.Type.Kind())
	}
	if err != nil {
		return fmt.Errorf("%s: %w", d.Name, err)
	}
	return nil
}

// A Kind is what a document is.
type Kind string

// The kinds of documents, by the file that each usually is.
const (
	KindMeta    Kind = "meta.json"
	KindRelease Kind = "release.json"
	KindIndex   Kind = "releases.json"
	KindStream  Kind = "stream.json"
)

// Kind tells what the document is by the fields that only this kind has.
func (d *Document) Kind() (Kind, error) {
	for _, k := range []struct {
		key  string
		kind Kind
	}{{"buildid", KindMeta}, {"releases", KindIndex}, {"release", KindRelease}, {"architectures", KindStream}} {
		if _, ok := d.root.values[k.key]; ok {
			return k.kind, nil
		}
	}
	return "", fmt.Errorf("%s: none of stream.json, release.json, releases.json and meta.json", d.Name)
}

// Want sees that the document is of a kind.
func (d *Document) Want(kind Kind) error {
	is, err := d.Kind()
	if err == nil && is != kind {
		err = fmt.Errorf("%s: this is a %s, not a %s", d.Name, is, kind)
	}
	return err
}

// Set puts a value in a document; objects on the way to it are made where they
// are missing.
func (d *Document) Set(value any, path ...string) error {
	o := d.root
	for i, key := range path[:len(path)-1] {
		if o.values[key] == nil { // null is as good as missing
			o.set(key, newObject())
		}
		next, ok := o.values[key].(*object)
		if !ok {
			return fmt.Errorf("%s: %snot an object", d.Name, place(path[:i+1]))
		}
		o = next
	}
	o.set(path[len(path)-1], value)
	return nil
}

// keyOf names the field that tells the entries of an array apart, for arrays
// whose entries are merged.
var keyOf = map[string]string{"releases": "version", "commits": "architecture", "oci-images": "architecture"}

// Merge returns the union of documents of one kind: of one release for several
// architectures, of one stream, of the releases of an index. Where two of them
// disagree, that is an error with both names; only in metadata the later one is
// right. The order is that of the first document.
func Merge(docs ...*Document) (*Document, error) {
	first := docs[0]
	kind, err := first.Kind()
	if err != nil {
		return nil, err
	}
	m := merger{origin: map[string]string{"": first.Name}}
	root := clone(first.root).(*object)
	for _, d := range docs[1:] {
		if err := d.Want(kind); err != nil {
			return nil, err
		}
		m.name = d.Name
		more := clone(d.root).(*object)
		if err := m.metadata(root, more); err != nil {
			return nil, err
		}
		if _, err := m.merge(root, more); err != nil {
			return nil, err
		}
	}
	return &Document{first.Name, root, first.indent}, nil
}

// A merger knows which document each part of the union is from.
type merger struct {
	name   string            // of the document that is being merged
	origin map[string]string // by path, of what is below it as well
	path   []string
}

// key is the first n steps of the path, as a key of origin.
func (m *merger) key(n int) string { return strings.Join(m.path[:n], "\x00") }

// metadata gives both documents the metadata of the later one, so that they
// agree.
func (m *merger) metadata(have, more *object) error {
	a, _ := have.values["metadata"].(*object)
	b, _ := more.values["metadata"].(*object)
	if a == nil || b == nil {
		return nil
	}
	const key = "last-modified"
	x, errX := parseTime(a.values[key])
	y, errY := parseTime(b.values[key])
	if err := cmp.Or(errX, errY); err != nil {
		return fmt.Errorf("metadata.last-modified of %s or %s: %w", m.origin[""], m.name, err)
	}
	for _, key := range b.keys {
		if _, ok := a.values[key]; !ok || y.After(x) {
			a.set(key, b.values[key])
		}
	}
	more.set("metadata", a)
	return nil
}

func parseTime(v any) (time.Time, error) {
	s, _ := v.(string)
	return time.Parse(time.RFC3339, s)
}

// merge returns the union of two values. It changes the first one.
func (m *merger) merge(have, more any) (any, error) {
	switch have := have.(type) {
	case *object:
		if more, ok := more.(*object); ok {
			return have, m.objects(have, more)
		}
	case []any:
		key := keyOf[m.path[len(m.path)-1]]
		if more, ok := more.([]any); ok && key != "" {
			return m.arrays(have, more, key)
		}
	}
	if a, b := compact(have), compact(more); !bytes.Equal(a, b) {
		return nil, fmt.Errorf("%s%.100s in %s, %.100s in %s", place(m.path), a, m.from(), b, m.name)
	}
	return have, nil
}

func (m *merger) objects(have, more *object) error {
	for _, key := range more.keys {
		m.path = append(m.path, key)
		v, ok := have.values[key]
		if !ok {
			m.origin[m.key(len(m.path))] = m.name
			v = more.values[key]
		}
		v, err := m.merge(v, more.values[key])
		if err != nil {
			return err
		}
		have.set(key, v)
		m.path = m.path[:len(m.path)-1]
	}
	return nil
}

func (m *merger) arrays(have, more []any, key string) ([]any, error) {
	for _, v := range more {
		id := idOf(v, key)
		if id == "" {
			return nil, fmt.Errorf("%sone has no %s in %s", place(m.path), key, m.name)
		}
		m.path = append(m.path, id)
		at := slices.IndexFunc(have, func(h any) bool { return idOf(h, key) == id })
		if at < 0 {
			m.origin[m.key(len(m.path))] = m.name
			have = append(have, v)
		} else if _, err := m.merge(have[at], v); err != nil {
			return nil, err
		}
		m.path = m.path[:len(m.path)-1]
	}
	return have, nil
}

func idOf(v any, key string) string {
	if o, ok := v.(*object); ok {
		id, _ := o.values[key].(string)
		return id
	}
	return ""
}

// from returns the name of the document that what stands at the path is from.
func (m *merger) from() string {
	for n := len(m.path); ; n-- {
		if name, ok := m.origin[m.key(n)]; ok {
			return name
		}
	}
}

// clone copies a value as far as merging changes it.
func clone(v any) any {
	switch v := v.(type) {
	case *object:
		o := newObject()
		for _, key := range v.keys {
			o.set(key, clone(v.values[key]))
		}
		return o
	case []any:
		a := slices.Clone(v)
		for i := range a {
			a[i] = clone(a[i])
		}
		return a
	}
	return v
}
