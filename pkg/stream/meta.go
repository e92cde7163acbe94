package stream

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// Meta is meta.json: one build of one architecture. Its schema is
// coreos-assembler's src/v1.json, whose readers reject all other fields.
type Meta struct {
	BuildID         string              `json:"buildid" jsonschema:"required,minLength=1"`
	Name            string              `json:"name" jsonschema:"required,minLength=1"`
	OSTreeCommit    string              `json:"ostree-commit" jsonschema:"required,minLength=64"`
	OSTreeTimestamp string              `json:"ostree-timestamp" jsonschema:"required,format=date-time"` // in UTC
	OSTreeVersion   string              `json:"ostree-version" jsonschema:"required,minLength=1"`
	BaseArch        string              `json:"coreos-assembler.basearch" jsonschema:"required,minLength=1"` // as uname -m prints it: x86_64
	Imported        bool                `json:"coreos-assembler.oci-imported"`
	Container       *Container          `json:"base-oscontainer,omitempty"`
	Images          map[string]Artifact `json:"images" jsonschema:"required"` // by platform

	// The images in clouds, and in a registry for KubeVirt.
	Amis     []CloudUpload `json:"amis,omitempty"`
	AwsWinLi []CloudUpload `json:"aws-winli,omitempty"`
	Aliyun   []CloudUpload `json:"aliyun,omitempty"`
	Ibmcloud []CloudUpload `json:"ibmcloud,omitempty"`
	PowerVS  []CloudUpload `json:"powervs,omitempty"`
	Azure    *CloudUpload  `json:"azure,omitempty"`
	Gcp      *CloudUpload  `json:"gcp,omitempty"`
	KubeVirt *Container    `json:"kubevirt,omitempty"`
}

// A CloudUpload is an image in a cloud. Each cloud has some of the fields.
type CloudUpload struct {
	Name     string `json:"name,omitempty"` // of the region: aws and aliyun
	HVM      string `json:"hvm,omitempty"`  // the image: aws
	Snapshot string `json:"snapshot,omitempty"`
	ID       string `json:"id,omitempty"`     // the image: aliyun
	Region   string `json:"region,omitempty"` // ibmcloud and powervs
	Object   string `json:"object,omitempty"`
	Bucket   string `json:"bucket,omitempty"`
	Image    string `json:"image,omitempty"` // its name: gcp and azure
	Family   string `json:"family,omitempty"`
	Project  string `json:"project,omitempty"`
	URL      string `json:"url,omitempty"`
}

// A Container is the container of the operating system.
type Container struct {
	Image  string   `json:"image" jsonschema:"required,minLength=1"`                    // its repository
	Digest string   `json:"digest" jsonschema:"required,pattern=^sha256:[0-9a-f]{64}$"` // of its manifest
	Tags   []string `json:"tags,omitempty"`
}

// tagged returns the container with its moving tag, which does not contain the ID of the
// build, or with its digest if there is no such tag.
func (c *Container) tagged(build string) string {
	for _, tag := range c.Tags {
		if !strings.Contains(tag, build) {
			return c.Image + ":" + tag
		}
	}
	return c.pinned()
}

func (c *Container) pinned() string { return c.Image + "@" + c.Digest }

// An Artifact is a file of a build.
type Artifact struct {
	Path               string `json:"path" jsonschema:"required,pattern=^[^/]+$"` // relative to meta.json
	SHA256             string `json:"sha256" jsonschema:"required,pattern=^[0-9a-f]{64}$"`
	Size               int64  `json:"size"`
	SkipCompression    bool   `json:"skip-compression,omitempty"`                                        // the file is published as it is
	UncompressedSHA256 string `json:"uncompressed-sha256,omitempty" jsonschema:"pattern=^[0-9a-f]{64}$"` // if the file is compressed
	UncompressedSize   int64  `json:"uncompressed-size,omitempty"`
}

// Platforms returns the platforms of the images, sorted.
func (m *Meta) Platforms() []string { return slices.Sorted(maps.Keys(m.Images)) }

// ParseMeta reads meta.json; name is its name in errors. The caller must call
// [Meta.Check].
func ParseMeta(name string, text []byte) (*Meta, error) {
	d, err := Parse(name, text)
	if err != nil {
		return nil, err
	}
	m := &Meta{}
	return m, d.Decode(m)
}

// Check returns an error if a required field is missing, if a path leads out of the
// folder, or if a digest is invalid.
func (m *Meta) Check() error {
	if m.BuildID == "" || m.Name == "" || m.OSTreeCommit == "" {
		return errors.New("not the meta.json of a build: buildid, name or ostree-commit is missing")
	}
	for _, p := range m.Platforms() {
		a := m.Images[p]
		if !fs.ValidPath(a.Path) || a.Path == "." || path.Base(a.Path) != a.Path || strings.ContainsAny(a.Path, "\x00\n\\") {
			return fmt.Errorf("images.%s.path: %q is not a file in the folder", p, a.Path)
		}
		if b, err := hex.DecodeString(a.SHA256); err != nil || len(b) != 32 {
			return fmt.Errorf("images.%s.sha256: %q is not a SHA-256 in hexadecimal", p, a.SHA256)
		}
	}
	return nil
}
