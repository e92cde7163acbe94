package stream

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"
)

// MaxDocument is the maximum size of a document in bytes. The documents of Fedora
// CoreOS have some hundred KiB.
const MaxDocument = 4 << 20

// Further limits of a document.
const (
	maxDepth  = 32      // of nested objects and arrays
	maxValues = 1 << 17 // each takes memory
)

// A Document is a JSON object as it is in a file: with the order of its fields,
// and with fields that this package does not know. Editing a Document therefore
// keeps the additions of other programs.
type Document struct {
	Name string // of the file or the place, for errors

	root   *object
	indent string // of one level in the file
}

// An object is a JSON object with the order of its fields. Its values have the
// types of [encoding/json], except that objects are *object and numbers are
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

// MarshalJSON writes the fields in their order.
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

// Parse reads a document. The document must be a JSON object of at most
// [MaxDocument] bytes. A repeated key is an error, because readers disagree about
// its meaning. name is the name of the document in errors.
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
			err = errors.New("data after the end of the document")
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

// A parser reads JSON values and records their path.
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

// next returns the next token. The end of the text is an error.
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
		key := t.(string) // the decoder accepts only strings here
		p.path = append(p.path, key)
		if _, twice := o.values[key]; twice {
			return nil, errors.New("repeated key")
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

// place formats a path as the prefix of an error.
func place(path []string) string {
	if len(path) == 0 {
		return ""
	}
	return fmt.Sprintf("%.200s: ", strings.Join(path, "."))
}

// indentOf returns the indentation of the first field of a document.
func indentOf(text []byte) string {
	_, rest, ok := bytes.Cut(text, []byte("\n"))
	n := len(rest) - len(bytes.TrimLeft(rest, " \t"))
	if !ok || n == 0 || n > 8 {
		return indent
	}
	return string(rest[:n])
}

// indent is the indentation of new documents.
const indent = "    "

// Marshal returns the content of a file with the document v, one of the types of
// this package.
func Marshal(v any) []byte { return marshal(v, indent) }

// Bytes returns the content of the document's file.
func (d *Document) Bytes() []byte { return marshal(d.root, d.indent) }

func marshal(v any, indent string) []byte {
	var b bytes.Buffer
	if err := json.Indent(&b, compact(v), "", indent); err != nil {
		panic(err) // not JSON, although compact wrote it
	}
	b.WriteByte('\n')
	return control.ReplaceAllFunc(b.Bytes(), func(c []byte) []byte {
		r, _ := utf8.DecodeRune(c)
		return fmt.Appendf(nil, `\u%04x`, r)
	})
}

// control matches the control characters of terminals that JSON does not require to
// be escaped.
var control = regexp.MustCompile(`[\x7f-\x{9f}]`)

// compact is json.Marshal without the escapes for HTML: URLs have ampersands.
func compact(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // a type of this package without a JSON form
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// NewDocument returns one of the types of this package as a document. It fails if
// the document exceeds the limits of [Parse].
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

// A Kind is the kind of a document, named by its usual file name.
type Kind string

// The kinds of documents.
const (
	KindMeta    Kind = "meta.json"
	KindRelease Kind = "release.json"
	KindIndex   Kind = "releases.json"
	KindStream  Kind = "stream.json"
)

// Kind tells the kind of the document by a field that only this kind has.
func (d *Document) Kind() (Kind, error) {
	for _, k := range []struct {
		key  string
		kind Kind
	}{{"buildid", KindMeta}, {"releases", KindIndex}, {"release", KindRelease}, {"architectures", KindStream}} {
		if _, ok := d.root.values[k.key]; ok {
			return k.kind, nil
		}
	}
	return "", fmt.Errorf("%s: unknown document, must be stream.json, release.json, releases.json or meta.json", d.Name)
}

// Want returns an error if the document is not of a kind.
func (d *Document) Want(kind Kind) error {
	is, err := d.Kind()
	if err == nil && is != kind {
		err = fmt.Errorf("%s: got %s, want %s", d.Name, is, kind)
	}
	return err
}

// Set sets the value at a path. It makes missing objects on the way.
func (d *Document) Set(value any, path ...string) error {
	o := d.root
	for i, key := range path[:len(path)-1] {
		if o.values[key] == nil { // null means missing
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
