package stream

import (
	"bytes"
	"fmt"
	"regexp"

	"go.yaml.in/yaml/v3"
)

// A ConfigMap is coreos-bootimages, in which OpenShift's machine config operator
// finds the images of new machines.
type ConfigMap struct {
	APIVersion string            `json:"apiVersion" yaml:"apiVersion"`
	Kind       string            `json:"kind" yaml:"kind"`
	Metadata   ConfigMapMetadata `json:"metadata" yaml:"metadata"`
	Data       ConfigMapData     `json:"data" yaml:"data"`
}

// ConfigMapMetadata names a ConfigMap.
type ConfigMapMetadata struct {
	Name      string `json:"name" yaml:"name"`
	Namespace string `json:"namespace" yaml:"namespace"`
}

// ConfigMapData has the keys that the operator reads.
type ConfigMapData struct {
	ReleaseVersion string `json:"releaseVersion" yaml:"releaseVersion"`
	Stream         string `json:"stream" yaml:"stream"`                       // stream.json
	Streams        string `json:"streams,omitempty" yaml:"streams,omitempty"` // an object of several, by name
}

// NewConfigMap returns the ConfigMap of one or several streams. The first stream is
// the default of a cluster. version is the version of the cluster's release.
func NewConfigMap(version string, streams ...*Document) (*ConfigMap, error) {
	c := &ConfigMap{"v1", "ConfigMap", ConfigMapMetadata{"coreos-bootimages", "openshift-machine-config-operator"}, ConfigMapData{ReleaseVersion: version}}
	byName := newObject()
	for _, d := range streams {
		s := &Stream{}
		if err := d.Want(KindStream); err != nil {
			return nil, err
		}
		if err := d.Decode(s); err != nil {
			return nil, err
		}
		if _, twice := byName.values[s.Stream]; twice {
			return nil, fmt.Errorf("%s: a second stream %q", d.Name, s.Stream)
		}
		byName.set(s.Stream, d.root)
	}
	c.Data.Stream = string(streams[0].Bytes())
	if len(streams) > 1 {
		c.Data.Streams = string(Marshal(byName))
	}
	return c, nil
}

// YAML returns the ConfigMap in YAML, for kubectl.
func (c *ConfigMap) YAML() ([]byte, error) {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	err := e.Encode(c)
	return b.Bytes(), err
}

// ParseConfigMap reads a ConfigMap in YAML or JSON, and returns its streams. The
// first is that of the key stream.
func ParseConfigMap(name string, text []byte) ([]*Document, error) {
	if len(text) > MaxDocument {
		return nil, fmt.Errorf("%s: more than %d bytes", name, MaxDocument)
	}
	c := &ConfigMap{}
	if err := yaml.Unmarshal(text, c); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if c.Kind != "ConfigMap" || c.Data.Stream == "" {
		return nil, fmt.Errorf("%s: not a ConfigMap with data.stream", name)
	}
	first, err := Parse(name+": data.stream", []byte(c.Data.Stream))
	if err != nil || c.Data.Streams == "" {
		return []*Document{first}, err
	}
	all := []*Document{first}
	several, err := Parse(name+": data.streams", []byte(c.Data.Streams))
	if err != nil {
		return nil, err
	}
	for _, key := range several.root.keys {
		o, ok := several.root.values[key].(*object)
		if !ok {
			return nil, fmt.Errorf("%s: %s: not an object", several.Name, key)
		}
		all = append(all, &Document{several.Name + ": " + key, o, indent})
	}
	return all, nil
}

// ParseAll reads a document, or the documents in a ConfigMap.
func ParseAll(name string, text []byte) ([]*Document, error) {
	d, err := Parse(name, text)
	switch {
	case err == nil && d.root.values["kind"] != "ConfigMap":
		return []*Document{d}, nil
	case err != nil && !isConfigMap.Match(text):
		return nil, err
	}
	return ParseConfigMap(name, text)
}

var isConfigMap = regexp.MustCompile(`(?m)^kind: *["']?ConfigMap`)
