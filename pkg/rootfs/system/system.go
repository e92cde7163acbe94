// Package system turns a pulled container into an operating system that is ready
// to be put on a disk.
//
//	oci.Image ── container.Import ──> repository ── deploy.New ──> System
//	                                  checks, names, the origin of updates
//
// A [System] is a pure function of the container and [Options]. It is immutable:
// any number of goroutines can plan disks from one System at once. File content
// is not in memory. It is read from the layers, so the [oci.Image] must stay
// open while the System, or a disk made from it, is read.
package system

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/coreos"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/oci"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree/container"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree/deploy"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/usage"
)

// Options change how a container is deployed. The zero value deploys it as an
// upgrade of the running system would.
type Options struct {
	// Origin is the source of the system's updates, in the form of ostree's
	// container-image-reference: "ostree-image-signed:docker://quay.io/os:stable".
	// The default is the place that the container was pulled from.
	Origin string
	// Name is the first part of the names of image files. The default is the name
	// of the operating system.
	Name string
	// Merge is the rule for layers on top of the base. The default is
	// [container.MergeOSTree].
	Merge container.Merge
	// NoSELinux accepts a container without an SELinux policy, or with a disabled
	// one. The files of the system then have no labels.
	NoSELinux bool
}

// Check returns an error of the type [usage.Error] for a wrong value.
func (o Options) Check() error {
	if o.Name != fileName(o.Name) {
		return usage.Error{Field: "Name", Err: fmt.Errorf("%q cannot be part of a file name: at most 64 letters, digits, dots, dashes, underscores and plus signs", o.Name)}
	}
	if o.Merge != "" {
		if err := usage.Check(o.Merge, container.MergeOSTree, container.MergeOCI); err != nil {
			return usage.Error{Field: "Merge", Err: err}
		}
	}
	if o.Origin == "" {
		return nil
	}
	_, err := container.Reference(o.Origin)
	return usage.Wrap("Origin", err)
}

// A System is a deployed operating system.
type System struct {
	Container  Container
	Options    Options // that the system was made with
	Deployment *deploy.Deployment
	Config     *coreos.Config // the container's own configuration of its images

	Name      string          // of the operating system, in file names: fedora-coreos
	Version   string          // of the operating system, in file names
	Arch      string          // as uname -m prints it: x86_64
	Stateroot string          // name below /ostree/deploy
	Origin    string          // source of updates, ostree's container-image-reference
	Commit    ostree.Checksum // the deployed commit
	Time      rootfs.Time     // of new files: the container's creation, within the range of all file systems
	ACL       string          // first path with an access control list; "" for none

	Warnings []string // about faults of the container that do not prevent an image
	Notes    []string // about unusual properties of the container
}

// A Container identifies the container of a system.
type Container struct {
	Reference string        // with a digest
	Digest    digest.Digest // of the manifest of one architecture
	Labels    map[string]string
	Created   time.Time // zero if the container does not say
	Layers    []Layer   // lowest first
}

// A Layer is a layer of a [Container].
type Layer struct {
	Digest digest.Digest // of the compressed blob
	DiffID digest.Digest // of the tar archive
	Size   int64         // of the compressed blob, in bytes
}

// New deploys a container. It fails if the container lacks files that every
// image needs; the error lists all of them. The error is a [usage.Error] if an
// option is wrong.
func New(img *oci.Image, o Options) (*System, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	reference, err := container.Reference(cmp.Or(o.Origin, DefaultOrigin(img)))
	if err != nil {
		return nil, usage.Error{Field: "Origin", Err: err}
	}
	tree, err := container.Import(ContainerImage(img), container.Options{Reference: reference, Merge: o.Merge})
	if err != nil {
		return nil, err
	}
	if err := coreos.Preflight(tree.Root, o.NoSELinux); err != nil {
		return nil, err
	}
	config, err := coreos.ReadConfig(tree.Root, img.Arch)
	if err != nil {
		return nil, err
	}
	s := describe(img, o, config)
	s.ACL, s.Commit = tree.ACL, tree.Deployed
	var untrusted error
	s.Origin, untrusted = updateOrigin(o.Origin, reference, tree.Root)
	if s.Deployment, err = s.deploy(tree, reference); err != nil {
		return nil, err
	}
	s.Warnings, s.Notes = s.warnings(tree, untrusted), s.notes(img, tree)
	return s, nil
}

// ContainerImage returns a pulled image in the form that container.Import reads.
func ContainerImage(img *oci.Image) *container.Image {
	pulled := &container.Image{Digest: img.Digest.String(), Manifest: img.Raw, Config: img.Config, Cache: img.Imports()}
	for _, l := range img.Layers {
		pulled.Layers = append(pulled.Layers, container.Layer{
			Digest: l.Digest.String(), DiffID: l.DiffID.String(), Index: l.Index, Blob: l.Blob,
		})
	}
	return pulled
}

// describe returns the part of a system that follows from metadata alone.
func describe(img *oci.Image, o Options, config *coreos.Config) *System {
	s := &System{
		Container: Container{Reference: img.Reference, Digest: img.Digest, Labels: img.Labels, Created: img.Created},
		Config:    config, Options: o, Arch: rootfs.MachineArch(img.Arch), Time: fileTime(img.Created),
	}
	for _, l := range img.Layers {
		s.Container.Layers = append(s.Container.Layers, Layer{l.Digest, l.DiffID, l.Size})
	}
	label := func(name string) string { return img.Labels[name] }
	s.Stateroot = cmp.Or(config.Stateroot, label(labelOSName), coreos.DefaultStateroot)
	s.Name = cmp.Or(o.Name, fileName(label(labelOSName)), fileName(s.Stateroot), "os")
	s.Version = cmp.Or(fileName(label("org.opencontainers.image.version")), fileName(label("version")), img.Digest.Encoded()[:12])
	return s
}

// deploy checks the commit of a container out.
func (s *System) deploy(tree *container.Tree, reference string) (*deploy.Deployment, error) {
	return deploy.New(tree.Repo, deploy.Options{
		Commit: tree.Deployed, System: tree.Root, Composefs: tree.Composefs, Stateroot: s.Stateroot, Origin: s.Origin, BLSAppend: s.Config.BLSAppend, Time: s.Time,
		Aleph: deploy.Aleph{
			Ref: s.Origin, Version: s.Version, Commit: tree.Deployed.String(),
			Image: deploy.AlephImage{Name: reference, Digest: s.Container.Digest.String(), Labels: s.Container.Labels},
			Bootc: container.IsBootc(s.Container.Labels), Created: s.Container.Created,
		},
	})
}

// warnings returns the faults of a container that do not prevent an image.
func (s *System) warnings(tree *container.Tree, untrusted error) (all []string) {
	if untrusted != nil {
		all = append(all, fmt.Sprintf("origin %s: the system will refuse its updates: %v", s.Origin, untrusted))
	}
	if !container.Bootable(s.Container.Labels) {
		all = append(all, "the container has neither the label containers.bootc nor ostree.bootable: the system will refuse its updates")
	}
	all = append(all, s.Config.Warnings...)
	if s.Deployment.Policy == nil {
		all = append(all, "the container has no SELinux policy: no file of the image has a label")
	}
	for _, w := range tree.Warnings {
		all = append(all, w.String())
	}
	return all
}

// notes returns the unusual properties of a container.
func (s *System) notes(img *oci.Image, tree *container.Tree) (all []string) {
	all = append(all, img.Notes...)
	all = append(all, tree.Notes...)
	if s.Options.Origin == "" && strings.Contains(s.Origin, "@") { // a digest never changes
		all = append(all, "the system has no source of updates, because its origin is a digest")
	}
	if t := img.Created; !t.IsZero() && t.Unix() != s.Time.Sec {
		all = append(all, fmt.Sprintf("the container's config: created: %s is before 1970 or too late for file systems, using %s",
			t.Format(time.RFC3339), time.Unix(s.Time.Sec, 0).UTC().Format(time.RFC3339)))
	}
	return all
}
