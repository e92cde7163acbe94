// Package ova makes virtual appliances for the hypervisors of VMware and VirtualBox, as
// the Open Virtualization Format Specification (DMTF DSP0243, version 1.1) describes
// them.
//
// A file is a tar archive in the form ustar of
//
//	coreos.ovf   the machine, in XML: made from templates.xml
//	coreos.mf    the SHA-256 of the other two
//	disk.vmdk    the disk
//
// in this order, one of two in the specification: the manifest follows the descriptor
// or is at the end. The first order lets an importer verify the disk while it arrives,
// and ovftool uses it.
//
// The digests are SHA-256, like those of ovftool. Version 1.1 has only SHA-1, but
// current hypervisors require SHA-256.
//
// The descriptor and the manifest stand before the disk and record its size and digest.
// [Write] compresses the disk into a spool first. [Format] does not compress, so the
// archive is an image, and the digest is computed when it is read.
package ova

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/template"
	"time"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/archive"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/vmdk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// A Hypervisor is the kind of machine that imports an appliance.
type Hypervisor string

// The hypervisors.
const (
	VMware     Hypervisor = "vmware"
	VirtualBox Hypervisor = "virtualbox"
)

// Defaults, which are those of Fedora CoreOS.
const (
	DefaultOSType          = "fedora64Guest"
	DefaultHardwareVersion = 17
)

// Options describe an appliance.
type Options struct {
	Name    string // of the machine, such as fedora-coreos-44.20260801.1.0
	Product string // of the operating system
	Vendor  string
	Version string

	// VMware's settings.
	OSType          string // DefaultOSType if empty
	HardwareVersion int    // DefaultHardwareVersion if zero
	SecureBoot      bool   // the firmware verifies the boot loader

	DiskID uint32    // content id of the disk, see vmdk.Options
	Time   time.Time // of the files; the epoch if zero

	Spool Spool // for Write, which requires it
}

// A Spool keeps the disk until its size is known: a temporary file. Its previous content
// does not matter. The caller removes it.
type Spool interface {
	io.ReaderAt
	io.WriterAt
}

//go:embed templates.xml
var templates string

// descriptors has a template for each hypervisor.
var descriptors = template.Must(template.New("").Funcs(template.FuncMap{"xml": escape}).Parse(templates))

// escape returns a text in XML.
func escape(s string) (string, error) {
	var b strings.Builder
	err := xml.EscapeText(&b, []byte(s))
	return b.String(), err
}

// Write writes an appliance with the disk, compressed, to w from start to end.
func Write(w io.Writer, img *disk.Image, h Hypervisor, o Options) error {
	if o.Spool == nil {
		return errors.New("ova: missing spool for the disk")
	}
	spooled, sum := io.NewOffsetWriter(o.Spool, 0), sha256.New()
	if err := vmdk.Write(io.MultiWriter(spooled, sum), img, vmdk.Options{ID: o.DiskID}); err != nil {
		return fmt.Errorf("ova: %w", err)
	}
	size, err := spooled.Seek(0, io.SeekCurrent)
	if err != nil {
		panic(err) // which only returns the current offset
	}
	file, err := appliance(io.NewSectionReader(o.Spool, 0, size), "streamOptimized", img, h, o, func() ([]byte, error) { return sum.Sum(nil), nil })
	if err == nil {
		_, err = file.WriteTo(w)
	}
	if err != nil {
		return fmt.Errorf("ova: %w", err)
	}
	return nil
}

// Format returns an appliance with the disk, not compressed, itself an image. The
// manifest has the digest of the disk: the disk is read and hashed when the
// manifest is first read. It needs no spool.
func Format(img *disk.Image, h Hypervisor, o Options) (*disk.Image, error) {
	content, err := vmdk.Format(img, vmdk.Options{ID: o.DiskID})
	if err != nil {
		return nil, fmt.Errorf("ova: %w", err)
	}
	file, err := appliance(content, "sparse", img, h, o, func() ([]byte, error) { return digest(content) })
	if err != nil {
		return nil, fmt.Errorf("ova: %w", err)
	}
	return file, nil
}

// digest returns the SHA-256 of an image.
func digest(img *disk.Image) ([]byte, error) {
	h := sha256.New()
	for _, err := range img.Chunks(4096, 256<<10, h) {
		if err != nil {
			return nil, err
		}
	}
	return h.Sum(nil), nil
}

// appliance returns the archive of a machine whose disk is content, in a form of
// VMDK, with a digest that is computed when it is needed.
func appliance(content rootfs.Blob, form string, img *disk.Image, h Hypervisor, o Options, digest func() ([]byte, error)) (*disk.Image, error) {
	descriptor, err := describe(img, content.Size(), form, h, o)
	if err != nil {
		return nil, err
	}
	text := func(digest []byte) string {
		return fmt.Sprintf("SHA256(coreos.ovf)= %x\nSHA256(disk.vmdk)= %x\n", sha256.Sum256(descriptor), digest)
	}
	manifest := archive.Lazy(int64(len(text(make([]byte, sha256.Size)))), func() ([]byte, error) {
		sum, err := digest()
		return []byte(text(sum)), err
	})
	var members []archive.File
	for _, f := range []struct {
		name    string
		content rootfs.Blob
	}{{"coreos.ovf", bytes.NewReader(descriptor)}, {"coreos.mf", manifest}, {"disk.vmdk", content}} {
		members = append(members, archive.File{Header: *header(f.name, f.content.Size(), o), Content: f.content})
	}
	return archive.Format(members...)
}

// ustarMax is the largest size of a file, and the latest time in seconds, that
// ustar has room for.
const ustarMax = 1<<33 - 1

// header returns the header of a file in the archive. A file that is too large
// for ustar gets a header in GNU's form, as VMware's ova-compose writes it.
// vSphere does not import the form of POSIX.
func header(name string, size int64, o Options) *tar.Header {
	h := &tar.Header{Format: tar.FormatUSTAR, Name: name, Size: size, Mode: 0o644, ModTime: modTime(o)}
	if size > ustarMax {
		h.Format = tar.FormatGNU
	}
	return h
}

// modTime returns the time of the files, or the nearest one that ustar can store.
func modTime(o Options) time.Time {
	switch {
	case o.Time.Unix() < 0:
		return time.Unix(0, 0)
	case o.Time.Unix() > ustarMax:
		return time.Unix(ustarMax, 0)
	}
	return o.Time
}

// describe returns the descriptor of a machine whose disk is a file of size bytes in
// a form of VMDK.
func describe(img *disk.Image, size int64, form string, h Hypervisor, o Options) ([]byte, error) {
	if o.OSType == "" {
		o.OSType = DefaultOSType
	}
	if o.HardwareVersion == 0 {
		o.HardwareVersion = DefaultHardwareVersion
	}
	t := descriptors.Lookup(string(h))
	if t == nil {
		return nil, fmt.Errorf("unknown hypervisor %q, must be %q or %q", h, VMware, VirtualBox)
	}
	if o.Name == "" {
		return nil, errors.New("missing name of the machine")
	}
	if o.HardwareVersion < 0 {
		return nil, fmt.Errorf("invalid hardware version %d", o.HardwareVersion)
	}
	var b bytes.Buffer
	err := t.Execute(&b, struct {
		Options
		FileSize, Capacity, Populated int64
		Form                          string
	}{o, size, img.Size(), img.Allocated(), form})
	return b.Bytes(), err
}
