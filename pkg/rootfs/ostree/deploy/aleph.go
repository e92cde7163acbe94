package deploy

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Aleph says what a disk was made of. It stays on the disk forever, whatever
// the system on it is upgraded to.
type Aleph struct {
	Ref     string     `json:"ref"`     // where updates come from
	Version string     `json:"version"` // of the operating system; bootupd wants it
	Image   AlephImage `json:"container-image"`
	Commit  string     `json:"ostree-commit,omitempty"`
}

// AlephImage is the container of an [Aleph].
type AlephImage struct {
	Name   string            `json:"image-name"`
	Digest string            `json:"image-digest"`
	Labels map[string]string `json:"image-labels"`
}

func (a Aleph) text() (string, error) {
	if a.Image.Labels == nil {
		a.Image.Labels = map[string]string{}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "    ")
	if err := e.Encode(a); err != nil {
		return "", fmt.Errorf("aleph: %w", err)
	}
	return b.String(), nil
}
