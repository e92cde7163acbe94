// Package manifests reads image definitions: small YAML files, reviewed in Git,
// that name an operating system by digest and the images to make from it.
//
//	Parse, Load       a definition, validated by its JSON Schema
//	System, Request   a definition as options of packages system and assemble
//	Place             file, line and column of an option, for errors
//
// The files in examples are definitions to start from. image.schema.json is the
// JSON Schema, for editors, other programs and this package. Validation is strict.
// Errors have file, line and column; for an unknown key, they suggest a known one.
//
//	document.go   YAML: parsing, places of nodes, limits
//	schema.go     validation by the schema
//	options.go    conversion to options
package manifests

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
)

// APIVersion and Kind are the first keys of every image definition.
const (
	APIVersion = "ohp.dev/v1alpha1"
	Kind       = "Image"
)

// Schema is the JSON Schema of an image definition, made from [Image].
//
//go:embed image.schema.json
var Schema []byte

// Template is a definition to start from.
//
//go:embed examples/minimal.yaml
var Template []byte

// An Image is the definition of a set of images of one operating system.
type Image struct {
	// The version of the definition's format: ohp.dev/v1alpha1.
	APIVersion string `yaml:"apiVersion" jsonschema:"required,enum=ohp.dev/v1alpha1"`
	// The kind of the definition: Image.
	Kind     string   `yaml:"kind" jsonschema:"required,enum=Image"`
	Metadata Metadata `yaml:"metadata,omitempty"`
	Spec     Spec     `yaml:"spec" jsonschema:"required"`

	doc *document
}

// Metadata names the images.
type Metadata struct {
	// The first part of the file names of the images. Default: the name of the operating system.
	Name string `yaml:"name,omitempty" jsonschema:"pattern=^[A-Za-z0-9_][A-Za-z0-9._+-]*$,maxLength=64"`
}

// Spec has the sources and properties of the images.
type Spec struct {
	// The container of the operating system, by digest.
	Source string `yaml:"source" jsonschema:"required,pattern=@sha256:[0-9a-f]{64}$"`
	// The rules for merging layers on top of the base: ostree, as in the system's next upgrade, or oci, as in container runtimes. Default: ostree.
	Merge string `yaml:"merge,omitempty" jsonschema:"enum=ostree,enum=oci"`
	// The source of the system's updates, in the form of ostree's container-image-reference.
	Origin string `yaml:"origin,omitempty"`
	// The architectures to make images for, as in OCI. Default: the architecture of this machine.
	Architectures []string `yaml:"architectures,omitempty" jsonschema:"minItems=1,uniqueItems=true,pattern=^[a-z0-9_]+$"`
	// The platforms to make images for, or all: those of Fedora CoreOS for the architecture.
	Platforms []string `yaml:"platforms" jsonschema:"required,minItems=1,uniqueItems=true,pattern=^[a-z0-9]+$"`
	Disk      Disk     `yaml:"disk,omitempty"`
	// Additional kernel arguments.
	KernelArguments []string `yaml:"kernelArguments,omitempty" jsonschema:"minLength=1"`
	// Ignition configs, or Butane configs (.bu), to embed; several are merged, the last one wins. Paths are relative to the definition.
	Ignition []string `yaml:"ignition,omitempty" jsonschema:"minLength=1"`
	// The folder of the files that Butane configs refer to, relative to the definition.
	FilesDir string `yaml:"filesDir,omitempty"`
	// The compression of the files; platform is the usual one of each platform. Default: none.
	Compression string `yaml:"compression,omitempty" jsonschema:"enum=none,enum=gzip,enum=xz,enum=zstd,enum=zip,enum=platform"`
	// Treat warnings as errors.
	Strict bool `yaml:"strict,omitempty"`
	// Accept a container without an SELinux policy, or with a disabled one; the files of the images get no labels.
	NoSELinux bool    `yaml:"noSELinux,omitempty"`
	Publish   Publish `yaml:"publish,omitempty"`
}

// Disk has the properties of the disk in the images.
type Disk struct {
	// The size of the disk, such as 10GiB. Default: the size set by the operating system.
	Size string `yaml:"size,omitempty" jsonschema:"pattern=^[1-9][0-9]*([KMGT](iB)?)?$"`
	// The size of the boot partition, such as 1GiB. Default: the size set by the operating system, or 384MiB.
	BootSize string `yaml:"bootSize,omitempty" jsonschema:"pattern=^[1-9][0-9]*([KMGT](iB)?)?$"`
	// The size of the EFI system partition, such as 600MiB. Default: the size set by the operating system, or 127MiB.
	ESPSize string `yaml:"espSize,omitempty" jsonschema:"pattern=^[1-9][0-9]*([KMGT](iB)?)?$"`
	// The root file system: xfs or ext4. Default: the one set by the operating system, or xfs.
	RootFilesystem string `yaml:"rootFilesystem,omitempty" jsonschema:"enum=xfs,enum=ext4"`
}

// Publish has the destination of the images.
type Publish struct {
	// The repository for publish -m, with its registry, and optionally with a tag.
	Repository string `yaml:"repository,omitempty" jsonschema:"pattern=^(docker://)?([^/@ ]*[.:][^/@ ]*|localhost)(/[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*)+(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?$"`
	// The name of the stream. Its metadata is published with the images.
	Stream string `yaml:"stream,omitempty"`
}

// Load reads a definition from a file, see [Parse].
func Load(name string) (*Image, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return Parse(text, name)
}

// Parse parses and validates a definition. name is the path of its file, for errors.
// Paths in the definition are relative to the file; Parse joins them with its folder.
func Parse(text []byte, name string) (*Image, error) {
	doc, err := parse(text, name)
	if err != nil {
		return nil, err
	}
	if err := doc.validate(); err != nil {
		return nil, err
	}
	m := &Image{doc: doc}
	if err := doc.root.Decode(m); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for i, file := range m.Spec.Ignition {
		m.Spec.Ignition[i] = beside(name, file)
	}
	if m.Spec.FilesDir != "" {
		m.Spec.FilesDir = beside(name, m.Spec.FilesDir)
	}
	return m, nil
}

// checkSource checks that the source has a digest, so that the built source is the
// reviewed one.
func checkSource(source string) error {
	at := strings.LastIndex(source, "@")
	if at < 0 {
		return fmt.Errorf("%q has no digest, must be NAME@sha256:... (inspect shows the digest of a reference)", source)
	}
	if d := digest.Digest(source[at+1:]); d.Validate() != nil || d.Algorithm() != digest.SHA256 {
		return fmt.Errorf("%q: invalid digest %q, must be sha256: and 64 hexadecimal digits", source, d)
	}
	return nil
}

// beside returns the path of a file that is relative to the folder of another one.
func beside(name, file string) string {
	if filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(filepath.Dir(name), file)
}
