// Package upload makes documents that describe the upload of an image to its
// cloud.
//
// A [Document] is written beside each image as <image>.upload.json. It has the
// facts about the image, the requests of the cloud's API, and the commands that
// upload the image. This package never talks to a cloud.
//
// A command is given twice: as a list of arguments for programs, and as a line
// for a POSIX shell. Values that only the user knows, such as the name of a
// bucket, are placeholders in both, ${BUCKET}, and are listed with their
// meanings: set the variables, then run the lines. A line also sets the
// placeholder whose value its command prints.
//
// clouds.go has the table of the commands. [New] checks the rules that clouds
// have for images, so that an image is rejected before its upload.
package upload

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
)

// Schema is the JSON Schema of a [Document], made from the types.
//
//go:embed upload.schema.json
var Schema []byte

// FormatVersion is the version of the documents that this package writes.
const FormatVersion = 1

// FileName returns the name of the document of an image file.
func FileName(image string) string { return image + ".upload.json" }

// A Document describes how one image gets into its cloud.
type Document struct {
	// The version of this form: 1.
	FormatVersion int   `json:"format-version" jsonschema:"required,enum=1"`
	Image         Image `json:"image" jsonschema:"required"`
	// The values that replace ${NAME}.
	Placeholders []Placeholder `json:"placeholders"`
	// Requests of the cloud's API, by name of the call, as the commands have them.
	Requests map[string]any `json:"requests,omitempty"`
	// The commands, in their order.
	Steps []Step `json:"steps" jsonschema:"required,minItems=1"`
	// For EBS's direct APIs, which need neither a bucket nor a role: the blocks of the disk, and the commands that upload them.
	Snapshot *Snapshot `json:"ebs-snapshot,omitempty"`
}

// A Placeholder is a value that the user knows, or that a step prints.
type Placeholder struct {
	// The name, which stands in commands and requests as ${NAME}.
	Name string `json:"name" jsonschema:"required,pattern=^[A-Z][A-Z0-9_]*$"`
	// The meaning of the value.
	Meaning string `json:"meaning" jsonschema:"required"`
	// Whether a step prints the value.
	Printed bool `json:"printed,omitempty"`
}

// A Step is a command.
type Step struct {
	// The purpose of the command.
	What string `json:"what" jsonschema:"required"`
	// The command and its arguments.
	Argv []string `json:"argv" jsonschema:"required,minItems=1"`
	// The command as a line for a POSIX shell.
	Line string `json:"line" jsonschema:"required"`
	// The placeholder whose value the command prints.
	Gives string `json:"gives,omitempty"`
}

// An Image has the facts about an image file and its operating system.
type Image struct {
	// The platform, as in file names.
	Platform string `json:"platform" jsonschema:"required"`
	// The name of the file.
	File string `json:"file" jsonschema:"required"`
	// The file's SHA-256, in hexadecimal.
	SHA256 string `json:"sha256" jsonschema:"required,pattern=^[0-9a-f]{64}$"`
	// The file's size in bytes.
	Size int64 `json:"size" jsonschema:"required"`
	// The format of the file when it is not compressed: raw, qcow2, vmdk, vhd, vhdx, tar.gz, ova or ociarchive.
	Format filetype.Format `json:"format" jsonschema:"required"`
	// How the file is compressed: gzip, xz, zstd or zip.
	Compression filetype.Compression `json:"compression,omitempty" jsonschema:"enum=gzip,enum=xz,enum=zstd,enum=zip"`
	// The SHA-256 of the file when it is not compressed.
	UncompressedSHA256 string `json:"uncompressed-sha256,omitempty" jsonschema:"pattern=^[0-9a-f]{64}$"`
	// The size of the file when it is not compressed.
	UncompressedSize int64 `json:"uncompressed-size,omitempty"`
	// The size of the disk in bytes.
	VirtualSize int64 `json:"virtual-size" jsonschema:"required"`
	System
	// The digest of the container in the file: sha256:....
	Manifest string `json:"manifest,omitempty" jsonschema:"pattern=^sha256:[0-9a-f]{64}$"`
	// Where publish put the file, one for each repository.
	Published []Published `json:"published,omitempty"`
}

// A System has the facts about an operating system that are the same for all of
// its images.
type System struct {
	// The architecture, as the machine calls itself: x86_64.
	Arch string `json:"arch" jsonschema:"required"`
	// The name of the operating system: fedora-coreos.
	OS string `json:"os" jsonschema:"required"`
	// The version of the operating system.
	Version string `json:"version" jsonschema:"required"`
	// Whether the boot loader is signed for Secure Boot.
	SecureBoot bool `json:"secure-boot,omitempty"`
	// The operating system's choices for AWS.
	AWS AWS `json:"aws,omitzero"`
}

// Published is a place of the file in a registry.
type Published struct {
	// The repository, without a tag.
	Repository string `json:"repository" jsonschema:"required"`
	// The digest of the manifest that has the file alone: sha256:....
	Manifest string `json:"manifest" jsonschema:"required,pattern=^sha256:[0-9a-f]{64}$"`
}

// AWS has the settings for AWS of an operating system's image.json.
type AWS struct {
	// The type of the root volume. Default: gp3.
	VolumeType string `json:"volume-type,omitempty"`
	// The boot mode on x86_64. Default: uefi-preferred.
	BootMode string `json:"x86-boot-mode,omitempty" jsonschema:"enum=legacy-bios,enum=uefi,enum=uefi-preferred"`
	// Whether machines have only version 2 of the metadata service.
	IMDSv2Only bool `json:"imdsv2-only,omitempty"`
}

const (
	mib = 1 << 20
	gib = 1 << 30
)

// gibibytes returns the size of the disk in GiB, rounded up.
func (m *Image) gibibytes() int64 { return (m.VirtualSize + gib - 1) / gib }

// uncompressed returns the name of the file when it is not compressed.
func (m *Image) uncompressed() string { return strings.TrimSuffix(m.File, m.Compression.Suffix()) }

// name returns the name of the image in clouds that have no rule for names: the
// file's name without the suffix of its type.
func (m *Image) name() string { return strings.TrimSuffix(m.uncompressed(), m.Format.Suffix()) }

// bare matches a file name that no shell and no program takes for anything else.
var bare = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._+-]*$`)

// New returns the document of a file. It returns an error if the image breaks a
// rule of its cloud, or if the platform has no document. For AWS, see
// [Document.Direct] as well; the settings of s.AWS are used for no other cloud.
func New(f cloud.File, s System) (*Document, error) {
	d, err := newDocument(imageOf(f, s))
	if err != nil {
		return nil, fmt.Errorf("upload: %s: %w", f.Name, err)
	}
	return d, nil
}

// imageOf returns the facts about a file in the form of the document.
func imageOf(f cloud.File, s System) Image {
	if f.Platform != "aws" {
		s.AWS = AWS{}
	}
	m := Image{
		Platform: f.Platform, File: f.Name, SHA256: f.SHA256, Size: f.Size, Format: f.Type.Format, Compression: f.Type.Compression,
		VirtualSize: f.VirtualSize, System: s, Manifest: f.Manifest,
	}
	if m.Compression != filetype.None {
		m.UncompressedSHA256, m.UncompressedSize = f.Plain.SHA256, f.Plain.Size
	}
	for _, p := range f.Published {
		m.Published = append(m.Published, Published(p))
	}
	return m
}

func newDocument(m Image) (*Document, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	i := slices.IndexFunc(clouds, func(c recipe) bool { return slices.Contains(c.platforms, m.Platform) })
	if i < 0 {
		return nil, fmt.Errorf("platform %q is unknown", m.Platform)
	}
	c := clouds[i]
	if want := cloud.Named(m.Platform)[0].Format.Type(); m.Format != want {
		return nil, fmt.Errorf("platform %s takes %s, not %s", m.Platform, want, m.Format)
	}
	arch, ok := c.arches[m.Arch]
	if c.arches != nil && !ok {
		return nil, fmt.Errorf("platform %s has no machines of %s", m.Platform, m.Arch)
	}
	d := &Document{FormatVersion: FormatVersion, Image: m, Placeholders: []Placeholder{}}
	file := m.File
	if m.Compression != filetype.None && !slices.Contains(c.compressions, m.Compression) {
		file = m.uncompressed()
		d.Steps = append(d.Steps, decompressing(m))
	}
	w := words{
		"file": file, "name": m.name(), "os": m.OS, "version": m.Version, "title": m.OS + " " + m.Version,
		"arch": m.Arch, "cloud-arch": arch, "gib": strconv.FormatInt(m.gibibytes(), 10),
		"compression": string(m.Compression), "dns-name": dnsName(m.name()),
	}
	if c.prepare != nil {
		if err := c.prepare(d, w); err != nil {
			return nil, err
		}
	}
	for _, s := range c.steps {
		if s.arch == "" || s.arch == m.Arch {
			d.Steps = append(d.Steps, s.made(w))
		}
	}
	return d, d.list()
}

// check checks the rules that are the same for all clouds.
func (m *Image) check() error {
	for name, value := range map[string]string{"file": m.File, "os": m.OS, "version": m.Version} {
		if !bare.MatchString(value) {
			return fmt.Errorf("%s %q: must be letters, digits and . _ + -", name, value)
		}
	}
	if m.Compression != filetype.None && m.uncompressed() == m.File {
		return fmt.Errorf("compression %q does not match the suffix of the file name", m.Compression)
	}
	if m.VirtualSize <= 0 {
		return fmt.Errorf("invalid disk size of %d bytes", m.VirtualSize)
	}
	return nil
}

func decompressing(m Image) Step {
	return step{what: "Decompress the image.", command: m.Compression.Command() + " {file}"}.made(words{"file": m.File})
}

// words are the values of {word} in commands. A word that is a whole argument may
// have several arguments as its value, separated by line feeds.
type words map[string]string

// list returns the value of a word for several arguments.
func list(args ...string) string { return strings.Join(args, "\n") }

var word = regexp.MustCompile(`\{[a-z-]+\}`)

// made returns a step of the table with the words of one image.
func (s step) made(w words) Step {
	var argv []string
	for arg := range strings.FieldsSeq(s.command) {
		arg = word.ReplaceAllStringFunc(arg, func(name string) string {
			value, ok := w[strings.Trim(name, "{}")]
			if !ok {
				panic("upload: the table has the word " + name + " in " + s.command)
			}
			return value
		})
		if arg != "" {
			argv = append(argv, strings.Split(arg, "\n")...)
		}
	}
	line := quote(argv)
	if s.gives != "" {
		line = s.gives + "=$(" + line + ")"
	}
	return Step{What: s.what, Argv: argv, Line: line, Gives: s.gives}
}

// placeholder matches a placeholder.
var placeholder = regexp.MustCompile(`\$\{([A-Z][A-Z0-9_]*)\}`)

// list lists the placeholders of the steps, in the order of their use.
func (d *Document) list() error {
	printed := map[string]bool{}
	steps := d.Steps
	if d.Snapshot != nil {
		steps = slices.Concat(steps, d.Snapshot.Steps)
	}
	for _, s := range steps {
		for _, found := range placeholder.FindAllStringSubmatch(strings.Join(s.Argv, " "), -1) {
			name := found[1]
			if slices.ContainsFunc(d.Placeholders, func(p Placeholder) bool { return p.Name == name }) {
				continue
			}
			meaning, ok := meanings[name]
			if !ok {
				return fmt.Errorf("placeholder %s has no meaning", name)
			}
			d.Placeholders = append(d.Placeholders, Placeholder{name, meaning, printed[name]})
		}
		printed[s.Gives] = true
	}
	return nil
}

// plain matches text that needs no quoting in a shell.
var plain = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// quote returns a command as a line for a shell. Placeholders become variables of
// the shell.
func quote(argv []string) string {
	var line []string
	for _, arg := range argv {
		if plain.MatchString(arg) {
			line = append(line, arg)
			continue
		}
		var b strings.Builder
		for {
			at := placeholder.FindStringIndex(arg)
			if at == nil {
				break
			}
			b.WriteString(quoteText(arg[:at[0]]) + `"` + arg[at[0]:at[1]] + `"`)
			arg = arg[at[1]:]
		}
		line = append(line, b.String()+quoteText(arg))
	}
	return strings.Join(line, " ")
}

func quoteText(s string) string {
	if s == "" || plain.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// Marshal returns the content of the document's file.
func (d *Document) Marshal() []byte { return append(encode(d, "    "), '\n') }

func encode(v any, indent string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	if err := e.Encode(v); err != nil {
		panic(err) // a type of this package without a JSON form
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
