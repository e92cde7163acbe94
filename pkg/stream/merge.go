package stream

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// keyOf names the field that identifies the entries of an array, for the arrays
// that are merged entry by entry.
var keyOf = map[string]string{"releases": "version", "commits": "architecture", "oci-images": "architecture"}

// Merge returns the union of documents of one kind: the architectures of a
// release, the parts of a stream, the releases of an index. It is an error, with
// both names, if two documents disagree, except in metadata, where the later
// last-modified wins. The order is that of the first document.
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

// A merger records the document that each part of the union comes from.
type merger struct {
	name   string            // name of the document that is being merged
	origin map[string]string // name of the document of a path and of everything below it
	path   []string
}

// key returns the first n steps of the path as a key of origin.
func (m *merger) key(n int) string { return strings.Join(m.path[:n], "\x00") }

// metadata gives both documents the metadata of the later one.
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

// merge returns the union of two values. It changes the first value.
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
			return nil, fmt.Errorf("%san entry has no %s in %s", place(m.path), key, m.name)
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

// from returns the name of the document that the value at the path comes from.
func (m *merger) from() string {
	for n := len(m.path); ; n-- {
		if name, ok := m.origin[m.key(n)]; ok {
			return name
		}
	}
}

// clone copies the parts of a value that merging changes.
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
