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

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"go.yaml.in/yaml/v3"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/usage"
)

// compiled is the shipped schema, which editors and other programs use as well.
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

// A fault is a violation of the schema.
type fault struct {
	at   *yaml.Node
	text string
}

// validate validates the document against the schema and returns the fault that
// comes first in the file.
func (d *document) validate() error {
	v, err := d.value(d.root)
	if err != nil {
		return err
	}
	var failed *jsonschema.ValidationError
	if err := compiled().Validate(v); !errors.As(err, &failed) {
		return err
	}
	first := slices.MinFunc(d.faults(failed), func(a, b fault) int {
		return cmp.Or(a.at.Line-b.at.Line, a.at.Column-b.at.Column)
	})
	return d.errorf(first.at, "%s", first.text)
}

// faults returns the faults of an error of the validator and of its causes.
func (d *document) faults(e *jsonschema.ValidationError) (all []fault) {
	for _, cause := range e.Causes {
		all = append(all, d.faults(cause)...)
	}
	if all != nil {
		return all
	}
	path := e.InstanceLocation
	if k, ok := e.ErrorKind.(*kind.AdditionalProperties); ok {
		for _, name := range k.Properties {
			key, _ := d.find(append(slices.Clone(path), name))
			all = append(all, fault{key, unknown(name, path)})
		}
		return all
	}
	_, at := d.find(path)
	text := e.ErrorKind.LocalizedString(message.NewPrinter(language.English))
	switch k := e.ErrorKind.(type) {
	case *kind.UniqueItems:
		_, at = d.find(append(slices.Clone(path), strconv.Itoa(k.Duplicates[1])))
		text = fmt.Sprintf("duplicate item %q", follow(at).Value)
	case *kind.MinItems:
		text = "the list is empty, want at least one item"
	case *kind.Pattern:
		text = fmt.Sprintf("%q must match %s", k.Got, k.Want)
		if strings.Join(path, ".") == "spec.source" {
			text = checkSource(k.Got).Error()
		}
	}
	if len(path) > 0 {
		text = strings.Join(path, ".") + ": " + text
	}
	return []fault{{at, text}}
}

// unknown returns the message for an unknown key of the mapping at a path.
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

// keysOf returns the keys of a part of a definition, and of the parts in it: disk,
// disk.size.
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

// keyOf returns the key of a field.
func keyOf(f reflect.StructField) string {
	key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return key
}

// nearest returns the key whose last part is most similar to an unknown key, or "".
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
