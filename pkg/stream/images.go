package stream

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A Cloud is a cloud whose images a stream lists. The path of an image in [Images]
// is the name of the cloud, followed by the region if the cloud has regions.
type Cloud struct {
	Name   string
	Values []string // names of the fields; region is part of the path, family is optional
}

// Clouds returns all clouds.
func Clouds() []Cloud {
	return []Cloud{
		{"aliyun", []string{"region", "image"}},
		{"aws", []string{"region", "image"}},
		{"gcp", []string{"project", "name", "family"}},
		{"ibmcloud", []string{"region", "object", "bucket", "url"}},
		{"kubevirt", []string{"image", "digest-ref"}},
		{"powervs", []string{"region", "object", "bucket", "url"}},
	}
}

// An Image is the entry of an image in a cloud.
type Image struct {
	cloud  Cloud
	values []string
}

// valueForm has the form of some values. Other values are free.
var valueForm = map[string]*regexp.Regexp{
	"aws.image":           regexp.MustCompile(`^ami-[0-9a-f]{8,17}$`),
	"ibmcloud.url":        regexp.MustCompile(`^https?://.`),
	"powervs.url":         regexp.MustCompile(`^https?://.`),
	"kubevirt.digest-ref": regexp.MustCompile(`^.+@sha256:[0-9a-f]{64}$`),
}

// NewImage returns the image of a cloud by the values of its fields.
func NewImage(cloud string, values ...string) (*Image, error) {
	var names []string
	for _, c := range Clouds() {
		if names = append(names, c.Name); c.Name != cloud {
			continue
		}
		least := len(c.Values)
		if slices.Contains(c.Values, "family") {
			least--
		}
		if len(values) < least || len(values) > len(c.Values) {
			return nil, fmt.Errorf("%s: want the values %s, got %d values", cloud, strings.Join(c.Values, ", "), len(values))
		}
		for i, v := range values {
			field := cloud + "." + c.Values[i]
			if form := valueForm[field]; v == "" || form != nil && !form.MatchString(v) {
				return nil, fmt.Errorf("%s: invalid value %q", field, v)
			}
		}
		return &Image{c, values}, nil
	}
	return nil, fmt.Errorf("cloud %q is unknown, must be one of: %s", cloud, strings.Join(names, ", "))
}

// SetImage sets the image of a cloud in a stream. An empty release means the
// release of the stream's files for the platform.
func (d *Document) SetImage(arch, release string, image *Image) error {
	if err := d.Want(KindStream); err != nil {
		return err
	}
	s := &Stream{}
	if err := d.Decode(s); err != nil {
		return err
	}
	if _, ok := s.Architectures[arch]; !ok {
		return fmt.Errorf("%s: architectures: missing %s", d.Name, arch)
	}
	if release == "" {
		if release = s.Architectures[arch].Artifacts[image.cloud.Name].Release; release == "" {
			return fmt.Errorf("%s: unknown release of the image: architectures.%s.artifacts has no %s", d.Name, arch, image.cloud.Name)
		}
	}
	path := []string{"architectures", arch, "images", image.cloud.Name}
	fields, values := image.cloud.Values, image.values
	if fields[0] == "region" {
		path = append(path, "regions", values[0])
		fields, values = fields[1:], values[1:]
	}
	if err := d.Set(release, append(path, "release")...); err != nil {
		return err
	}
	for i, v := range values {
		if err := d.Set(v, append(path, fields[i])...); err != nil {
			return err
		}
	}
	return nil
}
