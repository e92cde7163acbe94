// Package manifests reads image definitions: what is to be made of which
// operating system, in a small YAML file that is reviewed in Git.
//
// The files in examples are definitions to start from; image.schema.json is
// their JSON Schema, for editors and other programs. A definition is strict: a
// key that is not known is an error, with its line and the name that was
// probably meant.
package manifests

import (
	_ "embed"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/opencontainers/go-digest"
)

// APIVersion and Kind are what every image definition begins with.
const (
	APIVersion = "ohp.dev/v1alpha1"
	Kind       = "Image"
)

// Schema is the JSON Schema of an image definition, made from [Image].
//
//go:embed image.schema.json
var Schema []byte

// Template is a definition to begin with.
//
//go:embed examples/minimal.yaml
var Template []byte

// An Image is the definition of a set of images of one operating system.
type Image struct {
	// The version of this form: ohp.dev/v1alpha1.
	APIVersion string `yaml:"apiVersion" jsonschema:"required,enum=ohp.dev/v1alpha1"`
	// What is defined: Image.
	Kind     string   `yaml:"kind" jsonschema:"required,enum=Image"`
	Metadata Metadata `yaml:"metadata,omitempty"`
	Spec     Spec     `yaml:"spec" jsonschema:"required"`
}

// Metadata names the images.
type Metadata struct {
	// The first part of the images' file names. Default: the operating system's name.
	Name string `yaml:"name,omitempty" jsonschema:"pattern=^[A-Za-z0-9_][A-Za-z0-9._+-]*$,maxLength=64"`
}

// Spec is what the images are made of.
type Spec struct {
	// The operating system's container, by digest.
	Source string `yaml:"source" jsonschema:"required,pattern=@sha256:[0-9a-f]{64}$"`
	// How layers on top of the base are merged: ostree, as the system will do at its next upgrade, or oci, as their author saw them. Default: ostree.
	Merge string `yaml:"merge,omitempty" jsonschema:"enum=ostree,enum=oci"`
	// Where the system takes its updates from, as in ostree's container-image-reference.
	Origin string `yaml:"origin,omitempty"`
	// The architectures to make images for, as in OCI. Default: that of this machine.
	Architectures []string `yaml:"architectures,omitempty" jsonschema:"minItems=1,uniqueItems=true"`
	// The platforms to make images for, or all.
	Platforms []string `yaml:"platforms" jsonschema:"required,minItems=1,uniqueItems=true"`
	Disk      Disk     `yaml:"disk,omitempty"`
	// More kernel arguments.
	KernelArguments []string `yaml:"kernelArguments,omitempty"`
	// Ignition configs, or Butane configs (.bu), to embed; several are merged. Paths are relative to the definition.
	Ignition []string `yaml:"ignition,omitempty"`
	// The folder of the files that Butane configs refer to, relative to the definition.
	FilesDir string `yaml:"filesDir,omitempty"`
	// How the images' files are compressed; platform is as the images of each platform are published. Default: none.
	Compression string `yaml:"compression,omitempty" jsonschema:"enum=none,enum=gzip,enum=xz,enum=zstd,enum=zip,enum=platform"`
	// Whether warnings are errors.
	Strict bool `yaml:"strict,omitempty"`
	// Whether a container may have no SELinux policy, or one that is disabled: no file of the images gets a label.
	NoSELinux bool    `yaml:"noSELinux,omitempty"`
	Publish   Publish `yaml:"publish,omitempty"`
}

// Disk is what the disk in the images is like.
type Disk struct {
	// The size of the disk, such as 10GiB. Default: the operating system's.
	Size string `yaml:"size,omitempty" jsonschema:"pattern=^[1-9][0-9]*([KMGT](iB)?)?$"`
	// The root file system: xfs or ext4. Default: the operating system's, or xfs.
	RootFilesystem string `yaml:"rootFilesystem,omitempty" jsonschema:"enum=xfs,enum=ext4"`
}

// Publish says where the images go.
type Publish struct {
	// A repository, with or without a tag, that publish -m puts the images into.
	Repository string `yaml:"repository,omitempty"`
	// The name of the stream, whose metadata is published with the images.
	Stream string `yaml:"stream,omitempty"`
}

// Parse reads a definition; name is the file's, for errors and for the paths
// in it, which are returned relative to the working directory as name is.
func Parse(text []byte, name string) (*Image, error) {
	m := &Image{}
	if err := yaml.UnmarshalWithOptions(text, m, yaml.Strict()); err != nil {
		return nil, explain(err, name)
	}
	if m.APIVersion != APIVersion || m.Kind != Kind {
		return nil, fmt.Errorf("%s: apiVersion %q, kind %q: want %s, %s", name, m.APIVersion, m.Kind, APIVersion, Kind)
	}
	if err := m.Spec.checkSource(); err != nil {
		return nil, fmt.Errorf("%s: spec.source: %w", name, err)
	}
	if len(m.Spec.Platforms) == 0 {
		return nil, fmt.Errorf("%s: spec.platforms: none", name)
	}
	for i, file := range m.Spec.Ignition {
		m.Spec.Ignition[i] = beside(name, file)
	}
	if m.Spec.FilesDir != "" {
		m.Spec.FilesDir = beside(name, m.Spec.FilesDir)
	}
	return m, nil
}

// checkSource sees that the source can never be another one: a definition is
// reviewed, and what was reviewed is what is built.
func (s *Spec) checkSource() error {
	at := strings.LastIndex(s.Source, "@")
	if at < 0 {
		return fmt.Errorf("%q has no digest: write NAME@sha256:... (inspect shows the digest of a reference)", s.Source)
	}
	if d := digest.Digest(s.Source[at+1:]); d.Validate() != nil || d.Algorithm() != digest.SHA256 {
		return fmt.Errorf("%q: %q is not a digest of SHA-256", s.Source, d)
	}
	return nil
}

func beside(name, file string) string {
	if filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(filepath.Dir(name), file)
}

// explain puts the place in front of an error, and the name that was meant
// behind it.
func explain(err error, name string) error {
	var at yaml.Error
	if !errors.As(err, &at) || at.GetToken() == nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	tok := at.GetToken()
	text := fmt.Sprintf("%s:%d:%d: %s", name, tok.Position.Line, tok.Position.Column, at.GetMessage())
	if unknown := (*yaml.UnknownFieldError)(nil); errors.As(err, &unknown) {
		if meant := nearest(tok.Value, keys(reflect.TypeFor[Image]())); meant != "" {
			text += fmt.Sprintf(", is %q meant?", meant)
		}
	}
	return errors.New(text)
}

// keys returns every key of a definition.
func keys(t reflect.Type) (all []string) {
	for f := range t.Fields() {
		key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		all = append(all, key)
		if f.Type.Kind() == reflect.Struct {
			all = append(all, keys(f.Type)...)
		}
	}
	return all
}

// nearest returns the name that takes the fewest edits to make of a wrong one,
// if it is not another word altogether.
func nearest(wrong string, names []string) string {
	best, fewest := "", len(wrong)/2+1
	for _, name := range names {
		if n := edits(strings.ToLower(wrong), strings.ToLower(name)); n < fewest {
			best, fewest = name, n
		}
	}
	return best
}

// edits is the Levenshtein distance of two words.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
