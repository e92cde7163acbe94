package deploy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// Aleph names the origin of a disk. It stays on the disk through all upgrades.
type Aleph struct {
	Ref     string     `json:"ref"`     // where updates come from
	Version string     `json:"version"` // of the operating system; bootupd wants it
	Image   AlephImage `json:"container-image"`
	Commit  string     `json:"ostree-commit,omitempty"`

	Bootc   bool      `json:"-"` // the form that "bootc install" writes
	Created time.Time `json:"-"` // time of the container, in bootc's form
}

// AlephImage is the container of an [Aleph].
type AlephImage struct {
	Name   string            `json:"image-name"`
	Digest string            `json:"image-digest"`
	Labels map[string]string `json:"image-labels"`
}

// bootcAleph is bootc's InstallAleph, crates/lib/src/install/aleph.rs. Readers
// of the classic form, such as coreos-assembler's live stage, find their fields
// beside bootc's; both forms have the version under the same name.
type bootcAleph struct {
	Image     string            `json:"image"` // without transport
	Digest    string            `json:"digest"`
	Target    string            `json:"target-image"` // where updates come from
	Labels    map[string]string `json:"labels,omitempty"`
	Timestamp *time.Time        `json:"timestamp"`
	Kernel    string            `json:"kernel"`  // in bootc that of the installing machine, here that of the container
	SELinux   string            `json:"selinux"` // whether the files have labels
	Aleph
}

// The names of the aleph file. Where bootc's is the file, the others are links
// to it.
const (
	classicName = ".aleph-version.json"
	coreosName  = ".coreos-aleph-version.json"
	bootcName   = ".bootc-aleph.json"
)

// addAleph adds the aleph file and the links to it to the physical root.
func (d *Deployment) addAleph(root *rootfs.Inode) error {
	a := d.options.Aleph
	if a.Image.Labels == nil {
		a.Image.Labels = map[string]string{}
	}
	file, links, document := classicName, []string{coreosName}, any(a)
	if a.Bootc {
		b := bootcAleph{
			Image: strings.TrimPrefix(a.Image.Name, "docker://"), Digest: a.Image.Digest, Target: a.Ref, Labels: a.Image.Labels,
			Kernel: d.Kernel, SELinux: "disabled", Aleph: a,
		}
		if d.Policy != nil {
			b.SELinux = "enabled"
		}
		if !a.Created.IsZero() {
			created := a.Created.UTC()
			b.Timestamp = &created
		}
		file, links, document = bootcName, []string{coreosName, classicName}, b
	}
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.SetIndent("", "    ")
	if err := e.Encode(document); err != nil {
		return fmt.Errorf("aleph: %w", err)
	}
	root.Children[file] = d.text(text.String(), d.labels.of("/"+file, rootfs.ModeFile))
	for _, name := range links {
		root.Children[name] = d.link(file, d.labels.of("/"+name, rootfs.ModeLink))
	}
	return nil
}
