// Package upload says how an image gets into a cloud.
//
// For every platform there is a [Document], written beside the image as
// <image>.upload.json: what is known of the image, what its cloud must be
// told, and the commands that tell it. Nothing here talks to a cloud.
//
// A command is given as its arguments, for programs, and as a line for a
// POSIX shell. What only the user knows, such as the name of a bucket, stands
// in both as ${BUCKET}, and is listed: set the variables, run the lines. What
// a command prints and a later one needs is set by its line.
//
// Which commands there are is the table of clouds.go. The rules that clouds
// have for images are checked here, before anything is uploaded.
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

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/compress"
)

// Schema is the JSON Schema of a [Document], made from the types.
//
//go:embed upload.schema.json
var Schema []byte

// FormatVersion is that of the documents that are written.
const FormatVersion = 1

// FileName returns the name of an image's document.
func FileName(image string) string { return image + ".upload.json" }

// A Document says how one image gets into its cloud.
type Document struct {
	// The version of this form: 1.
	FormatVersion int   `json:"format-version" jsonschema:"required,enum=1"`
	Image         Image `json:"image" jsonschema:"required"`
	// What the user must put in the place of ${NAME}.
	Placeholders []Placeholder `json:"placeholders"`
	// Requests of the cloud's API, by name of the call, as the commands have them.
	Requests map[string]any `json:"requests,omitempty"`
	// The commands, in their order.
	Steps []Step `json:"steps" jsonschema:"required,minItems=1"`
	// For EBS's direct APIs, which need neither a bucket nor a role: what of the disk is uploaded, and by which commands.
	Snapshot *Snapshot `json:"ebs-snapshot,omitempty"`
}

// A Placeholder is a value that only the user knows, or that a step prints.
type Placeholder struct {
	// The name, which stands in commands and requests as ${NAME}.
	Name string `json:"name" jsonschema:"required,pattern=^[A-Z][A-Z0-9_]*$"`
	// What the value is.
	Meaning string `json:"meaning" jsonschema:"required"`
	// Whether a step prints the value.
	Printed bool `json:"printed,omitempty"`
}

// A Step is a command.
type Step struct {
	// What the command does.
	What string `json:"what" jsonschema:"required"`
	// The command and its arguments.
	Argv []string `json:"argv" jsonschema:"required,minItems=1"`
	// The command as a line for a POSIX shell.
	Line string `json:"line" jsonschema:"required"`
	// The placeholder whose value the command prints.
	Gives string `json:"gives,omitempty"`
}

// An Image is what is known of an image.
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
	Format string `json:"format" jsonschema:"required"`
	// How the file is compressed: gzip, xz, zstd or zip.
	Compression string `json:"compression,omitempty" jsonschema:"enum=gzip,enum=xz,enum=zstd,enum=zip"`
	// The SHA-256 of the file when it is not compressed.
	UncompressedSHA256 string `json:"uncompressed-sha256,omitempty" jsonschema:"pattern=^[0-9a-f]{64}$"`
	// The size of the file when it is not compressed.
	UncompressedSize int64 `json:"uncompressed-size,omitempty"`
	// The size of the disk in bytes.
	VirtualSize int64 `json:"virtual-size" jsonschema:"required"`
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
	// The digest of the container in the file: sha256:....
	Manifest string `json:"manifest,omitempty" jsonschema:"pattern=^sha256:[0-9a-f]{64}$"`
	// Where publish put the file, one for each repository.
	Published []Published `json:"published,omitempty"`
}

// Published is a place of the file in a registry.
type Published struct {
	// The repository, without a tag.
	Repository string `json:"repository" jsonschema:"required"`
	// The digest of the manifest that has the file alone: sha256:....
	Manifest string `json:"manifest" jsonschema:"required,pattern=^sha256:[0-9a-f]{64}$"`
}

// AWS is what an operating system chooses for AWS, in its image.json.
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

// gibibytes returns how many GiB the disk needs.
func (m *Image) gibibytes() int64 { return (m.VirtualSize + gib - 1) / gib }

// suffixes are those of the file names of compressed files.
var suffixes = map[string]string{"gzip": ".gz", "xz": ".xz", "zstd": ".zst", "zip": ".zip"}

// uncompressed returns the name of the file when it is not compressed.
func (m *Image) uncompressed() string { return strings.TrimSuffix(m.File, suffixes[m.Compression]) }

// name returns the image's name in clouds that have no rule for names: the
// file's, without what tells the format.
func (m *Image) name() string { return strings.TrimSuffix(m.uncompressed(), "."+m.Format) }

// bare is a file name that no shell and no program takes for anything else.
var bare = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._+-]*$`)

// New returns the document of an image.
func New(m Image) (*Document, error) {
	d, err := newDocument(m)
	if err != nil {
		return nil, fmt.Errorf("upload: %s: %w", m.File, err)
	}
	return d, nil
}

func newDocument(m Image) (*Document, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	i := slices.IndexFunc(clouds, func(c cloud) bool { return slices.Contains(c.platforms, m.Platform) })
	if i < 0 {
		return nil, fmt.Errorf("platform %q is not known", m.Platform)
	}
	c := clouds[i]
	if m.Format != c.format {
		return nil, fmt.Errorf("platform %s takes %s, not %s", m.Platform, c.format, m.Format)
	}
	arch, ok := c.arches[m.Arch]
	if c.arches != nil && !ok {
		return nil, fmt.Errorf("platform %s has no machines of %s", m.Platform, m.Arch)
	}
	d := &Document{FormatVersion: FormatVersion, Image: m, Placeholders: []Placeholder{}}
	file := m.File
	if m.Compression != "" && !slices.Contains(c.compressions, m.Compression) {
		file = m.uncompressed()
		d.Steps = append(d.Steps, decompressing(m))
	}
	w := words{
		"file": file, "name": m.name(), "os": m.OS, "version": m.Version, "title": m.OS + " " + m.Version,
		"arch": m.Arch, "cloud-arch": arch, "gib": strconv.FormatInt(m.gibibytes(), 10),
		"compression": m.Compression, "dns-name": dnsName(m.name()),
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

// check sees that an image is one, whatever its cloud.
func (m *Image) check() error {
	for name, value := range map[string]string{"file": m.File, "os": m.OS, "version": m.Version} {
		if !bare.MatchString(value) {
			return fmt.Errorf("%s %q: must be letters, digits and . _ + -", name, value)
		}
	}
	if m.Compression != "" && (suffixes[m.Compression] == "" || m.uncompressed() == m.File) {
		return fmt.Errorf("compression %q is not that of the file's name", m.Compression)
	}
	if m.VirtualSize <= 0 {
		return fmt.Errorf("a disk of %d bytes", m.VirtualSize)
	}
	return nil
}

func decompressing(m Image) Step {
	return step{what: "Decompress the image.", command: compress.Kind(m.Compression).Command() + " {file}"}.made(words{"file": m.File})
}

// words are what stands for {word} in a command. A word that stands alone as
// an argument may be any number of them: those between its line feeds.
type words map[string]string

// list makes a word that stands for arguments.
func list(args ...string) string { return strings.Join(args, "\n") }

var word = regexp.MustCompile(`\{[a-z-]+\}`)

// made returns a step of the table for one image.
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

// placeholder is how one is written.
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

// plain is what a shell takes for itself.
var plain = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// quote returns a command as a shell reads it. Its placeholders are the
// shell's variables.
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

// Marshal returns a document as it is written to a file.
func (d *Document) Marshal() []byte { return append(encode(d, "    "), '\n') }

func encode(v any, indent string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	if err := e.Encode(v); err != nil {
		panic(err) // a type of this package that JSON has no form for
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
