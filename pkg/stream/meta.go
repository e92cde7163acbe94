// Package stream holds the documents that say which images there are of an
// operating system: meta.json of one build, as coreos-assembler writes it,
// and the release and stream metadata of Fedora CoreOS.
package stream

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// MetaFile is the name of a build's [Meta] in its folder.
const MetaFile = "meta.json"

// maxDocument bounds every document that is read, in bytes.
const maxDocument = 16 << 20

// Meta is meta.json: one build of one architecture. Its schema is
// coreos-assembler's src/v1.json; fields of an image that this has not are our
// own, which that schema allows.
type Meta struct {
	BuildID         string              `json:"buildid"`
	Name            string              `json:"name"`
	OSTreeCommit    string              `json:"ostree-commit"`
	OSTreeTimestamp string              `json:"ostree-timestamp"` // RFC 3339, in UTC
	OSTreeVersion   string              `json:"ostree-version"`
	BaseArch        string              `json:"coreos-assembler.basearch"` // as the machine calls itself: x86_64
	Imported        bool                `json:"coreos-assembler.oci-imported"`
	Container       *Container          `json:"base-oscontainer,omitempty"`
	Images          map[string]Artifact `json:"images"` // by platform
}

// A Container is the operating system that a build was made of.
type Container struct {
	Image  string   `json:"image"`  // its repository
	Digest string   `json:"digest"` // of its manifest: sha256:...
	Tags   []string `json:"tags,omitempty"`
}

// An Artifact is a file of a build. Path, digest and size are those of the
// file as it is; what it is when it is decompressed is told where it differs.
type Artifact struct {
	Path               string `json:"path"` // relative to meta.json
	SHA256             string `json:"sha256"`
	Size               int64  `json:"size"`
	SkipCompression    bool   `json:"skip-compression,omitempty"` // it is published as it is
	UncompressedSHA256 string `json:"uncompressed-sha256,omitempty"`
	UncompressedSize   int64  `json:"uncompressed-size,omitempty"`

	Format      string `json:"format,omitempty"`       // of the uncompressed file: qcow2, raw, vmdk, ...
	Compression string `json:"compression,omitempty"`  // gzip, xz, zstd or zip
	VirtualSize int64  `json:"virtual-size,omitempty"` // of the disk in it, in bytes
	SectorSize  int    `json:"sector-size,omitempty"`  // of the disk in it, if it is not 512
	Ignition    bool   `json:"ignition,omitempty"`     // a config is embedded: the file is as secret as that
}

// Platforms returns what there are images for, in order.
func (m *Meta) Platforms() []string { return slices.Sorted(maps.Keys(m.Images)) }

// ReadMeta reads meta.json of a build's folder and sees that it names no file
// outside of it.
func ReadMeta(dir fs.FS) (*Meta, error) {
	f, err := dir.Open(MetaFile)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxDocument+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxDocument {
		return nil, fmt.Errorf("%s: more than %d bytes", MetaFile, maxDocument)
	}
	m := &Meta{}
	if err := json.Unmarshal(text, m); err != nil {
		return nil, fmt.Errorf("%s: %w", MetaFile, err)
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", MetaFile, err)
	}
	return m, nil
}

func (m *Meta) check() error {
	if m.BuildID == "" || m.Name == "" || m.OSTreeCommit == "" {
		return fmt.Errorf("not one of a build: buildid, name or ostree-commit is missing")
	}
	for _, p := range m.Platforms() {
		a := m.Images[p]
		if !fs.ValidPath(a.Path) || a.Path == "." || path.Base(a.Path) != a.Path || strings.ContainsAny(a.Path, "\x00\n\\") {
			return fmt.Errorf("images.%s.path: %q is no file of the folder", p, a.Path)
		}
		if b, err := hex.DecodeString(a.SHA256); err != nil || len(b) != 32 {
			return fmt.Errorf("images.%s.sha256: %q is no SHA-256", p, a.SHA256)
		}
	}
	return nil
}

// Marshal returns a document as it is written to a file.
func Marshal(v any) []byte {
	b, err := json.MarshalIndent(v, "", "    ")
	if err != nil {
		panic(err) // a type of this package that JSON has no form for
	}
	return append(b, '\n')
}
