package stream

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// Schemas are the JSON Schemas of the documents, made from their Go types; that of
// stream.json is schema/stream.json. Unknown fields are valid.
//
//go:embed schema/*.json
var Schemas embed.FS

// Check returns the problems of a document, each with the path of the field: those
// that its schema finds, or else those that only code can find.
func Check(d *Document) ([]string, error) {
	kind, err := d.Kind()
	if err != nil {
		return nil, err
	}
	wrong, err := checkSchema(d, kind)
	if err != nil || len(wrong) > 0 {
		return wrong, err
	}
	c := &checker{}
	switch kind {
	case KindMeta:
		m := &Meta{}
		if err := d.Decode(m); err != nil {
			return nil, err
		}
		c.wrong("", m.Check())
	case KindStream:
		err = c.stream(d)
	case KindRelease:
		err = c.release(d)
	case KindIndex:
		err = c.index(d)
	}
	return c.all, err
}

// checkSchema returns the problems that the schema finds. A null field counts as
// missing, because coreos-assembler writes null.
func checkSchema(d *Document, kind Kind) ([]string, error) {
	invalid := (*jsonschema.ValidationError)(nil)
	if err := compiled()[kind].Validate(plain(d.root)); !errors.As(err, &invalid) {
		return nil, err
	}
	var all []string
	for _, e := range leaves(invalid) {
		all = append(all, place(e.InstanceLocation)+e.ErrorKind.LocalizedString(message.NewPrinter(language.English)))
	}
	slices.Sort(all)
	return all, nil
}

// compiled returns the compiled schemas.
var compiled = sync.OnceValue(func() map[Kind]*jsonschema.Schema {
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	all := map[Kind]*jsonschema.Schema{}
	for _, kind := range []Kind{KindMeta, KindRelease, KindIndex, KindStream} {
		name := "schema/" + string(kind)
		text, err := Schemas.ReadFile(name)
		if err != nil {
			panic(err) // embedded
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			panic(err) // made from the types
		}
		if err := c.AddResource(name, doc); err != nil {
			panic(err)
		}
		all[kind] = c.MustCompile(name)
	}
	return all
})

// leaves returns the errors that are not lists of other errors.
func leaves(e *jsonschema.ValidationError) (all []*jsonschema.ValidationError) {
	for _, cause := range e.Causes {
		all = append(all, leaves(cause)...)
	}
	if len(e.Causes) == 0 {
		all = append(all, e)
	}
	return all
}

// plain returns a value with the types that the validator accepts.
func plain(v any) any {
	switch v := v.(type) {
	case *object:
		m := map[string]any{}
		for key, v := range v.values {
			if v != nil {
				m[key] = plain(v)
			}
		}
		return m
	case []any:
		a := make([]any, len(v))
		for i := range v {
			a[i] = plain(v[i])
		}
		return a
	}
	return v
}

// A checker collects problems.
type checker struct{ all []string }

// wrong adds an error, unless it is nil.
func (c *checker) wrong(at string, err error) {
	if err != nil {
		c.all = append(c.all, at+err.Error())
	}
}

func (c *checker) stream(d *Document) error {
	s := &Stream{}
	if err := d.Decode(s); err != nil {
		return err
	}
	c.time(s.Metadata)
	c.some("architectures", len(s.Architectures))
	for name, arch := range inOrder(s.Architectures) {
		at := "architectures." + name
		c.some(at+".artifacts", len(arch.Artifacts))
		for platform, p := range inOrder(arch.Artifacts) {
			c.formats(at+".artifacts."+platform+".formats", p.Formats)
		}
	}
	return c.installer(d)
}

func (c *checker) release(d *Document) error {
	r := &Release{}
	if err := d.Decode(r); err != nil {
		return err
	}
	if r.Metadata != (Metadata{}) {
		c.time(r.Metadata)
	}
	c.some("architectures", len(r.Architectures))
	for name, arch := range inOrder(r.Architectures) {
		at := "architectures." + name + ".media"
		c.some(at, len(arch.Media))
		for platform, m := range inOrder(arch.Media) {
			if len(m.Artifacts) > 0 {
				c.formats(at+"."+platform+".artifacts", m.Artifacts)
			}
		}
	}
	return nil
}

func (c *checker) index(d *Document) error {
	i := &Index{}
	if err := d.Decode(i); err != nil {
		return err
	}
	c.time(i.Metadata)
	seen := map[string]bool{}
	for n, r := range i.Releases {
		at := fmt.Sprintf("releases.%d.", n)
		c.wrong(at+"metadata: ", checkURL(r.MetadataURL))
		if seen[r.Version] {
			c.wrong(at+"version: ", fmt.Errorf("%q is listed twice", r.Version))
		}
		seen[r.Version] = true
		if len(r.Commits)+len(r.OciImages) == 0 {
			c.wrong(at, errors.New("missing commits or oci-images, which updaters need"))
		}
	}
	return nil
}

func (c *checker) time(m Metadata) {
	t, err := time.Parse(time.RFC3339, m.LastModified)
	if err == nil && t.Location() != time.UTC {
		err = fmt.Errorf("%q is not in UTC", m.LastModified)
	}
	c.wrong("metadata.last-modified: ", err)
}

func (c *checker) some(at string, n int) {
	if n == 0 {
		c.wrong(at+": ", errors.New("empty"))
	}
}

// formats checks the images of a platform.
func (c *checker) formats(at string, formats map[string]ImageFormat) {
	c.some(at, len(formats))
	for name, f := range inOrder(formats) {
		at := at + "." + name
		switch {
		case f.Disk == nil && f.Kernel == nil && f.Initramfs == nil && f.Rootfs == nil:
			c.some(at, 0)
		case f.Disk == nil && (f.Kernel == nil || f.Initramfs == nil):
			c.wrong(at+": ", errors.New("missing kernel or initramfs, which a network boot needs"))
		}
		for i, a := range f.artifacts() {
			if a != nil {
				c.download(at+"."+artifactNames[i]+".", a)
			}
		}
	}
}

// Notes returns remarks about a valid document for its readers.
func Notes(d *Document) []string {
	s := &Stream{}
	if kind, err := d.Kind(); err != nil || kind != KindStream || d.Decode(s) != nil {
		return nil
	}
	n := 0
	for _, e := range s.Entries() {
		if strings.HasPrefix(e.Location, docker) {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%d locations are containers in a registry, which no plain HTTP client such as coreos-installer can fetch", n)}
}

func (c *checker) download(at string, d *Download) {
	if d.OCI == nil || d.Location != docker+d.OCI.DigestRef { // not in a container
		c.urls(at, d)
	}
	if o := d.OCI; o != nil {
		if repository, _, _ := strings.Cut(o.DigestRef, "@"); repository != o.Image {
			c.wrong(at+"oci: ", fmt.Errorf("digest-ref %q is not of image %q", o.DigestRef, o.Image))
		}
	}
}

func (c *checker) urls(at string, d *Download) {
	err := checkURL(d.Location)
	if u, _ := url.Parse(d.Location); err == nil && (path.Base(u.Path) == "/" || strings.HasSuffix(u.Path, "/") || u.Path == "") {
		err = fmt.Errorf("%q: no file name at the end", d.Location)
	}
	c.wrong(at+"location: ", err)
	if d.Signature != "" {
		c.wrong(at+"signature: ", checkURL(d.Signature))
	}
}

// installer reads a stream as coreos-installer does. That program requires every
// field that it knows, for all files of the document. See its source.rs.
func (c *checker) installer(d *Document) error {
	var s struct {
		Architectures map[string]struct {
			Artifacts map[string]struct {
				Formats map[string]map[string]struct{ Location, Signature *string }
			}
		}
	}
	if err := d.Decode(&s); err != nil {
		return fmt.Errorf("as coreos-installer reads it: %w", err)
	}
	for name, arch := range inOrder(s.Architectures) {
		for platform, p := range inOrder(arch.Artifacts) {
			for format, files := range inOrder(p.Formats) {
				for artifact, f := range inOrder(files) {
					if f.Location == nil || f.Signature == nil || *f.Signature == "" {
						at := place([]string{"architectures", name, "artifacts", platform, "formats", format, artifact})
						c.wrong(at, errors.New("missing location or signature, which coreos-installer needs for every file of the stream"))
					}
				}
			}
		}
	}
	return nil
}

// inOrder yields a map in the order of its keys.
func inOrder[V any](m map[string]V) func(yield func(string, V) bool) {
	return func(yield func(string, V) bool) {
		for _, key := range slices.Sorted(maps.Keys(m)) {
			if !yield(key, m[key]) {
				return
			}
		}
	}
}
