// Package manifests reads image definitions: small YAML files, reviewed in Git,
// that name an operating system by digest and the images to make from it.
//
//	Parse, Load       a definition, validated by its JSON Schema
//	System, Request   a definition as options of packages system and assemble
//	Place             file, line and column of an option, for errors
//
// The files in examples are definitions to start from. image.schema.json is the
// JSON Schema, for editors, other programs and this package. Validation is strict:
// an unknown key is an error that has its line and suggests a known key.
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

	doc *document
}

// Metadata names the images.
type Metadata struct {
	// The first part of the images' file names. Default: the operating system's name.
	Name string `yaml:"name,omitempty" jsonschema:"pattern=^[A-Za-z0-9_][A-Za-z0-9._+-]*$,maxLength=64"`
}

// Spec has the sources and properties of the images.
type Spec struct {
	// The operating system's container, by digest.
	Source string `yaml:"source" jsonschema:"required,pattern=@sha256:[0-9a-f]{64}$"`
	// How layers on top of the base are merged: ostree, as the system will do at its next upgrade, or oci, as their author saw them. Default: ostree.
	Merge string `yaml:"merge,omitempty" jsonschema:"enum=ostree,enum=oci"`
	// Where the system takes its updates from, as in ostree's container-image-reference.
	Origin string `yaml:"origin,omitempty"`
	// The architectures to make images for, as in OCI. Default: that of this machine.
	Architectures []string `yaml:"architectures,omitempty" jsonschema:"minItems=1,uniqueItems=true,pattern=^[a-z0-9_]+$"`
	// The platforms to make images for, or all.
	Platforms []string `yaml:"platforms" jsonschema:"required,minItems=1,uniqueItems=true,pattern=^[a-z0-9]+$"`
	Disk      Disk     `yaml:"disk,omitempty"`
	// More kernel arguments.
	KernelArguments []string `yaml:"kernelArguments,omitempty" jsonschema:"minLength=1"`
	// Ignition configs, or Butane configs (.bu), to embed; several are merged. Paths are relative to the definition.
	Ignition []string `yaml:"ignition,omitempty" jsonschema:"minLength=1"`
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

// Disk has the properties of the disk in the images.
type Disk struct {
	// The size of the disk, such as 10GiB. Default: the operating system's.
	Size string `yaml:"size,omitempty" jsonschema:"pattern=^[1-9][0-9]*([KMGT](iB)?)?$"`
	// The size of the boot partition, such as 1GiB. Default: the operating system's, or 384MiB.
	BootSize string `yaml:"bootSize,omitempty" jsonschema:"pattern=^[1-9][0-9]*([KMGT](iB)?)?$"`
	// The size of the EFI system partition, such as 600MiB. Default: the operating system's, or 127MiB.
	ESPSize string `yaml:"espSize,omitempty" jsonschema:"pattern=^[1-9][0-9]*([KMGT](iB)?)?$"`
	// The root file system: xfs or ext4. Default: the operating system's, or xfs.
	RootFilesystem string `yaml:"rootFilesystem,omitempty" jsonschema:"enum=xfs,enum=ext4"`
}

// Publish says where the images go.
type Publish struct {
	// A repository with its registry, with or without a tag, that publish -m puts the images into.
	Repository string `yaml:"repository,omitempty" jsonschema:"pattern=^(docker://)?([^/@ ]*[.:][^/@ ]*|localhost)(/[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*)+(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?$"`
	// The name of the stream, whose metadata is published with the images.
	Stream string `yaml:"stream,omitempty"`
}

// Load reads a definition from a file.
func Load(name string) (*Image, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return Parse(text, name)
}

// Parse reads a definition; name is the file's, for errors and for the paths
// in it, which are returned relative to the working directory as name is.
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

// checkSource checks that the source has a digest: a definition is
// reviewed, and exactly the reviewed source is built.
func checkSource(source string) error {
	at := strings.LastIndex(source, "@")
	if at < 0 {
		return fmt.Errorf("%q has no digest: write NAME@sha256:... (inspect shows the digest of a reference)", source)
	}
	if d := digest.Digest(source[at+1:]); d.Validate() != nil || d.Algorithm() != digest.SHA256 {
		return fmt.Errorf("%q: %q is not a digest of SHA-256", source, d)
	}
	return nil
}

func beside(name, file string) string {
	if filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(filepath.Dir(name), file)
}
