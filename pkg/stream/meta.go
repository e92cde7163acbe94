package stream

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// Names of files in the folder of a build.
const (
	MetaFile    = "meta.json"   // its [Meta]
	DetailsFile = "images.json" // its [Details]
)

// Meta is meta.json: one build of one architecture. Its schema is
// coreos-assembler's src/v1.json, whose readers refuse all fields that it has
// not. What more there is to say of images is in [Details] beside it.
type Meta struct {
	BuildID         string              `json:"buildid" jsonschema:"required,minLength=1"`
	Name            string              `json:"name" jsonschema:"required,minLength=1"`
	OSTreeCommit    string              `json:"ostree-commit" jsonschema:"required,minLength=64"`
	OSTreeTimestamp string              `json:"ostree-timestamp" jsonschema:"required,format=date-time"` // in UTC
	OSTreeVersion   string              `json:"ostree-version" jsonschema:"required,minLength=1"`
	BaseArch        string              `json:"coreos-assembler.basearch" jsonschema:"required,minLength=1"` // as the machine calls itself: x86_64
	Imported        bool                `json:"coreos-assembler.oci-imported"`
	Container       *Container          `json:"base-oscontainer,omitempty"`
	Images          map[string]Artifact `json:"images" jsonschema:"required"` // by platform

	// What was put into clouds, and into a registry for KubeVirt.
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

// A Container is the operating system that a build was made of.
type Container struct {
	Image  string   `json:"image" jsonschema:"required,minLength=1"`                    // its repository
	Digest string   `json:"digest" jsonschema:"required,pattern=^sha256:[0-9a-f]{64}$"` // of its manifest
	Tags   []string `json:"tags,omitempty"`
}

// tagged names the container by the tag that moves, which is the one that the
// build is not part of, or by digest.
func (c *Container) tagged(build string) string {
	for _, tag := range c.Tags {
		if !strings.Contains(tag, build) {
			return c.Image + ":" + tag
		}
	}
	return c.pinned()
}

func (c *Container) pinned() string { return c.Image + "@" + c.Digest }

// An Artifact is a file of a build. Path, digest and size are those of the
// file as it is; what it is when it is decompressed is told where it differs.
type Artifact struct {
	Path               string `json:"path" jsonschema:"required,pattern=^[^/]+$"` // relative to meta.json
	SHA256             string `json:"sha256" jsonschema:"required,pattern=^[0-9a-f]{64}$"`
	Size               int64  `json:"size"`
	SkipCompression    bool   `json:"skip-compression,omitempty"` // it is published as it is
	UncompressedSHA256 string `json:"uncompressed-sha256,omitempty" jsonschema:"pattern=^[0-9a-f]{64}$"`
	UncompressedSize   int64  `json:"uncompressed-size,omitempty"`

	Detail   `json:"-"`
	Unlisted bool `json:"-"` // coreos-assembler has no name for the platform: images.json lists the artifact, not meta.json
}

// Details is images.json: what builds of ours know of an image besides, by the
// name of its file. Builds of others have none.
type Details map[string]FileDetail

// A FileDetail is the detail of one file. It has the artifact of a file that
// meta.json does not list.
type FileDetail struct {
	Detail
	Platform string    `json:"platform,omitempty"`
	Artifact *Artifact `json:"artifact,omitempty"`
}

// A Detail is what meta.json has no place for. Format and compression are those
// that the file's name tells, if there is nothing else.
type Detail struct {
	Format      string `json:"format"`                // of the uncompressed file: qcow2, raw, vmdk, ...
	Compression string `json:"compression,omitempty"` // gzip, xz, zstd or zip
	VirtualSize int64  `json:"virtual-size"`          // of the disk in it, in bytes
	SectorSize  int    `json:"sector-size,omitempty"` // of the disk in it, if it is not 512
	Ignition    bool   `json:"ignition,omitempty"`    // a config is embedded: the file is as secret as that

	Manifest  string  `json:"manifest,omitempty"`  // digest of the container that the file is an archive of
	Published []Place `json:"published,omitempty"` // where publish put the file, one for each repository
}

// A Place is where a file is in a registry.
type Place struct {
	Repository string `json:"repository"`
	Manifest   string `json:"manifest"` // digest of the manifest that has the file alone
}

// Publish records where the file was put. An earlier place in the same
// repository is forgotten.
func (d *Detail) Publish(p Place) {
	others := slices.DeleteFunc(slices.Clone(d.Published), func(q Place) bool { return q.Repository == p.Repository })
	d.Published = append(others, p)
}

// Details returns what there is to say besides.
func (m *Meta) Details() Details {
	d := Details{}
	for platform, a := range m.Images {
		f := FileDetail{Detail: a.Detail}
		if a.Unlisted {
			f.Platform, f.Artifact = platform, &a
		}
		d[a.Path] = f
	}
	return d
}

// Listed returns the build as meta.json lists it, without the images that its
// readers would refuse.
func (m *Meta) Listed() *Meta {
	listed := *m
	listed.Images = maps.Clone(m.Images)
	maps.DeleteFunc(listed.Images, func(_ string, a Artifact) bool { return a.Unlisted })
	return &listed
}

// Platforms returns what there are images for, in order.
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

// ReadMeta reads meta.json of a build's folder, and images.json if there is
// one, and sees that they name no file outside of it.
func ReadMeta(dir fs.FS) (*Meta, error) {
	text, err := readFile(dir, MetaFile)
	if err != nil {
		return nil, err
	}
	m, err := ParseMeta(MetaFile, text)
	if err != nil {
		return nil, err
	}
	details := Details{}
	text, err = readFile(dir, DetailsFile)
	if err == nil {
		err = json.Unmarshal(text, &details)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", DetailsFile, err)
	}
	for _, file := range slices.Sorted(maps.Keys(details)) {
		f := details[file]
		if f.Artifact == nil {
			continue
		}
		if m.Images == nil {
			m.Images = map[string]Artifact{}
		}
		if _, listed := m.Images[f.Platform]; listed || f.Platform == "" || f.Artifact.Path != file {
			return nil, fmt.Errorf("%s: %s: platform %q and path %q do not fit", DetailsFile, file, f.Platform, f.Artifact.Path)
		}
		f.Artifact.Unlisted = true
		m.Images[f.Platform] = *f.Artifact
	}
	if err := m.Check(); err != nil {
		return nil, fmt.Errorf("%s: %w", MetaFile, err)
	}
	for platform, a := range m.Images {
		if a.Detail = details[a.Path].Detail; a.Format == "" {
			a.Format, a.Compression = encoding(platform, a.Path)
		}
		m.Images[platform] = a
	}
	return m, nil
}

// readFile reads a document of a folder, which [Parse] refuses if it is too large.
func readFile(dir fs.FS, name string) ([]byte, error) {
	f, err := dir.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, MaxDocument+1))
}

// compressions are the endings that coreos-assembler gives compressed files.
var compressions = map[string]string{".gz": "gzip", ".xz": "xz", ".zst": "zstd", ".zip": "zip"}

// encoding returns the format and compression that the name of a file tells.
func encoding(platform, name string) (format, compression string) {
	if part, ok := strings.CutPrefix(platform, "live-"); ok && part != "iso" {
		return part, "" // kernel, initramfs or rootfs
	}
	if strings.HasSuffix(name, ".tar.gz") {
		return "tar.gz", ""
	}
	if compression = compressions[path.Ext(name)]; compression != "" {
		name = strings.TrimSuffix(name, path.Ext(name))
	}
	return strings.TrimPrefix(path.Ext(name), "."), compression
}

// A Build is a Meta and the folder it was read from.
type Build struct {
	Dir string // "." or that of an architecture
	*Meta
}

// ErrNoBuild is the error of a folder that build has not made.
var ErrNoBuild = errors.New("no " + MetaFile + " in it, nor in a folder in it")

// ReadBuilds reads the builds of a folder: its own, or those of the folders in
// it, which are the architectures.
func ReadBuilds(dir fs.FS) ([]Build, error) {
	m, err := ReadMeta(dir)
	if err == nil {
		return []Build{{".", m}}, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	names, err := fs.Glob(dir, "*/"+MetaFile)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, ErrNoBuild
	}
	var all []Build
	for _, name := range names {
		sub, err := fs.Sub(dir, path.Dir(name))
		if err != nil {
			return nil, err
		}
		m, err := ReadMeta(sub)
		if err != nil {
			return nil, fmt.Errorf("%s/%w", path.Dir(name), err)
		}
		all = append(all, Build{path.Dir(name), m})
	}
	return all, nil
}

// Check returns an error if a field without which there is no build is missing, if a
// path leads out of the folder, or if a digest is invalid.
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
