package manifests

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/usage"
)

// compiled is the shipped schema: definitions are judged here by the same schema as in editors and
// other programs judge by.
var compiled = sync.OnceValue(func() *jsonschema.Schema {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema))
	if err != nil {
		panic(err) // it is embedded
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("image.schema.json", doc); err != nil {
		panic(err)
	}
	return c.MustCompile("image.schema.json")
})

// A fault is an error at a place.
type fault struct {
	at   ast.Node
	text string
}

// judge has the schema judge a definition, and returns the first fault in the
// file.
func (m *Image) judge(v any) error {
	var failed *jsonschema.ValidationError
	if err := compiled().Validate(v); !errors.As(err, &failed) {
		return err
	}
	first := slices.MinFunc(m.faults(failed), func(a, b fault) int {
		lineA, columnA := position(a.at)
		lineB, columnB := position(b.at)
		return cmp.Or(lineA-lineB, columnA-columnB)
	})
	return fmt.Errorf("%s: %s", place(m.file, first.at), first.text)
}

func (m *Image) faults(e *jsonschema.ValidationError) (all []fault) {
	for _, cause := range e.Causes {
		all = append(all, m.faults(cause)...)
	}
	if all != nil {
		return all
	}
	path := e.InstanceLocation
	_, value := find(m.body, path)
	text := e.ErrorKind.LocalizedString(message.NewPrinter(language.English))
	switch k := e.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		for _, name := range k.Properties {
			key, _ := find(m.body, append(slices.Clone(path), name))
			all = append(all, fault{key, unknown(name, path)})
		}
		return all
	case *kind.UniqueItems:
		_, value = find(m.body, append(slices.Clone(path), strconv.Itoa(k.Duplicates[1])))
		text = fmt.Sprintf("%s is there twice", value)
	case *kind.MinItems:
		text = "none is named: leave it out, or name one"
	case *kind.Pattern:
		text = fmt.Sprintf("%q must match %s", k.Got, k.Want)
		if strings.Join(path, ".") == "spec.source" {
			text = checkSource(k.Got).Error()
		}
	}
	if len(path) > 0 {
		text = strings.Join(path, ".") + ": " + text
	}
	return []fault{{value, text}}
}

// unknown returns the message about an unknown key.
func unknown(name string, path []string) string {
	t := reflect.TypeFor[Image]()
	for _, key := range path {
		for f := range t.Fields() {
			if key == keyOf(f) {
				t = f.Type
				break
			}
		}
	}
	text := fmt.Sprintf("unknown field %q", name)
	if meant := nearest(name, keysOf(t)); meant != "" {
		text += fmt.Sprintf(", is %q meant?", meant)
	}
	return text
}

// keysOf returns the keys of a part of a definition, and with dots between them
// those of the parts in it.
func keysOf(t reflect.Type) (all []string) {
	for f := range t.Fields() {
		if !f.IsExported() {
			continue
		}
		key := keyOf(f)
		all = append(all, key)
		if f.Type.Kind() == reflect.Struct {
			for _, below := range keysOf(f.Type) {
				all = append(all, key+"."+below)
			}
		}
	}
	return all
}

func keyOf(f reflect.StructField) string {
	key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return key
}

// nearest returns the key with the name that is most like a wrong one, or "".
func nearest(wrong string, keys []string) string {
	names := make([]string, len(keys))
	for i, key := range keys {
		names[i] = key[strings.LastIndex(key, ".")+1:]
	}
	if i := usage.Nearest(wrong, names); i >= 0 {
		return keys[i]
	}
	return ""
}

// At says where a key stands, or as much of it as there is: file, line, column
// and the key.
func (m *Image) At(key string) string {
	_, value := find(m.body, strings.Split(key, "."))
	return place(m.file, value) + ": " + key
}

// find returns the key and the value at a path of keys and numbers, or of as
// much of the path as there is.
func find(n ast.Node, path []string) (key, value ast.Node) {
	key, value = n, n
	for _, name := range path {
		switch in := bare(value).(type) {
		case *ast.MappingNode:
			i := slices.IndexFunc(in.Values, func(v *ast.MappingValueNode) bool { return v.Key.GetToken().Value == name })
			if i < 0 {
				return key, value
			}
			key, value = in.Values[i].Key, in.Values[i].Value
		case *ast.SequenceNode:
			i, err := strconv.Atoi(name)
			if err != nil || i >= len(in.Values) {
				return key, value
			}
			key, value = in.Values[i], in.Values[i]
		default:
			return key, value
		}
	}
	return key, value
}

// bare returns a node without the anchor and the tag that it may have.
func bare(n ast.Node) ast.Node {
	switch n := n.(type) {
	case *ast.AnchorNode:
		return bare(n.Value)
	case *ast.TagNode:
		return bare(n.Value)
	}
	return n
}

// position returns where a node begins.
func position(n ast.Node) (line, column int) {
	if in, ok := bare(n).(*ast.MappingNode); ok && !in.IsFlowStyle && len(in.Values) > 0 {
		n = in.Values[0].Key
	}
	if n == nil || n.GetToken() == nil {
		return 1, 1
	}
	at := n.GetToken().Position
	return at.Line, at.Column
}

func place(name string, n ast.Node) string {
	line, column := position(n)
	return fmt.Sprintf("%s:%d:%d", name, line, column)
}

// explain puts the place in front of an error.
func explain(err error, name string) error {
	var at yaml.Error
	if !errors.As(err, &at) || at.GetToken() == nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	where := at.GetToken().Position
	return fmt.Errorf("%s:%d:%d: %s", name, where.Line, where.Column, at.GetMessage())
}
