package stream

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A Cloud is a cloud that a stream can name an image of. The path of an image
// in [Images] is the cloud's name and, if it has any, its region.
type Cloud struct {
	Name   string
	Values []string // names of the fields; region is the place, family may be left out
}

// Clouds returns those that there are.
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

// An Image is what a cloud's entry in a stream is to say.
type Image struct {
	cloud  Cloud
	values []string
}

// How some values look; others may be anything.
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
			return nil, fmt.Errorf("%s takes %s, %d values were given", cloud, strings.Join(c.Values, ", "), len(values))
		}
		for i, v := range values {
			field := cloud + "." + c.Values[i]
			if form := valueForm[field]; v == "" || form != nil && !form.MatchString(v) {
				return nil, fmt.Errorf("%s %q: it does not look like one", field, v)
			}
		}
		return &Image{c, values}, nil
	}
	return nil, fmt.Errorf("cloud %q is not known, these are: %s", cloud, strings.Join(names, ", "))
}

// SetImage writes an image into a stream. Without a release it is that of the
// files for the platform.
func (d *Document) SetImage(arch, release string, image *Image) error {
	if err := d.Want(KindStream); err != nil {
		return err
	}
	s := &Stream{}
	if err := d.Decode(s); err != nil {
		return err
	}
	if _, ok := s.Architectures[arch]; !ok {
		return fmt.Errorf("%s: architectures: there is no %s", d.Name, arch)
	}
	if release == "" {
		if release = s.Architectures[arch].Artifacts[image.cloud.Name].Release; release == "" {
			return fmt.Errorf("%s: of which release is the image? architectures.%s.artifacts has no %s to tell", d.Name, arch, image.cloud.Name)
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
