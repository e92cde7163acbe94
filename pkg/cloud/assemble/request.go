package assemble

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/layout"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/coreos"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ignition"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/usage"
)

// A Request chooses image files of an operating system. Zero values, except of
// Platforms, leave the choice to the container, or else to Fedora CoreOS' defaults.
type Request struct {
	Platforms []cloud.Platform
	Size      int64       // of the disk in bytes, whole MiB
	Boot, ESP coreos.Size // of these partitions
	RootFS    string      // type of the root file system: one of layout.RootFSTypes
	Kargs     []string    // additional kernel arguments
	Ignition  []byte      // config to embed, see ignition.Validate for its warnings; nil embeds none

	// Compression of the files. Formats that compress their content stay as they are.
	Compression filetype.Compression
	// AsPublished compresses each file as Fedora CoreOS publishes the files of its
	// platform. Compression must be None.
	AsPublished bool
	// Level of the compression: 1 to 9, of zstd to 22. Zero is the compressor's default.
	Level int
}

// Remarks are the remarks about a valid request.
type Remarks struct {
	Warnings []string // about choices that are probably mistakes
	Notes    []string // about unusual choices
}

// Check checks a request for a container of an architecture, in the words of
// uname -m: x86_64. It needs no container, so that a mistake is found before one
// is pulled. Errors have the type [usage.Error]. [New] checks again.
func (r Request) Check(arch string) (Remarks, error) {
	var said Remarks
	for _, c := range []struct {
		field string
		check func(arch string, said *Remarks) error
	}{
		{"Arch", func(arch string, _ *Remarks) error { return layout.Supports(arch) }},
		{"Platforms", r.checkPlatforms},
		{"Compression", r.checkCompression},
		{"Level", r.checkLevel},
		{"RootFS", r.checkRootFS},
		{"Kargs", r.checkKargs},
		{"Size", r.checkSize},
		{"Boot", r.checkBoot},
		{"ESP", r.checkESP},
		{"Ignition", r.checkIgnition},
	} {
		if err := c.check(arch, &said); err != nil {
			return Remarks{}, usage.Error{Field: c.field, Err: err}
		}
	}
	return said, nil
}

func (r Request) checkPlatforms(arch string, said *Remarks) error {
	if len(r.Platforms) == 0 {
		return errors.New("no platform")
	}
	for i, p := range r.Platforms {
		if slices.ContainsFunc(r.Platforms[:i], func(q cloud.Platform) bool { return q.ID == p.ID }) {
			return fmt.Errorf("platform %s is listed twice", p.ID)
		}
		if p.Format.Plan == nil && p.Format.Write == nil {
			return fmt.Errorf("platform %s has no format, see cloud.Lookup", p.ID)
		}
		arches := strings.Join(strings.Fields(p.Arches), " and ")
		switch has := p.Has(arch); {
		case p.Emerging && has:
			said.Notes = append(said.Notes, fmt.Sprintf("platform %s: Fedora CoreOS has no images for it; this one follows the platform's documentation", p.ID))
		case p.Emerging:
			said.Warnings = append(said.Warnings, fmt.Sprintf("platform %s: it has machines of %s only", p.ID, arches))
		case !has:
			said.Warnings = append(said.Warnings, fmt.Sprintf("platform %s: Fedora CoreOS has images for it on %s only", p.ID, arches))
		}
	}
	return nil
}

func (r Request) checkCompression(string, *Remarks) error {
	if r.AsPublished && r.Compression != filetype.None {
		return fmt.Errorf("%s contradicts the compression of published files", r.Compression)
	}
	return usage.Check(r.Compression, append(filetype.Compressions(), filetype.None)...)
}

func (r Request) checkLevel(string, *Remarks) error { return CheckLevel(r.Compression, r.Level) }

// CheckLevel checks the level of a compression. Zero is always valid.
func CheckLevel(c filetype.Compression, level int) error {
	most := 9
	if c == filetype.Zstd {
		most = 22
	}
	if level < 0 || level > most {
		return fmt.Errorf("invalid compression level %d, must be 1 to 9, or for zstd 1 to 22", level)
	}
	return nil
}

func (r Request) checkRootFS(string, *Remarks) error {
	if r.RootFS == "" {
		return nil
	}
	return usage.Check(r.RootFS, layout.RootFSTypes...)
}

func (r Request) checkKargs(_ string, said *Remarks) error {
	for _, k := range r.Kargs {
		warnings, err := coreos.CheckArg(k)
		if err != nil {
			return err
		}
		for _, w := range warnings {
			said.Warnings = append(said.Warnings, fmt.Sprintf("kernel argument %q: %s", k, w))
		}
	}
	return nil
}

func (r Request) checkSize(string, *Remarks) error {
	if r.Size == 0 {
		return nil
	}
	if r.Size < 0 || r.Size%(1<<20) != 0 {
		return fmt.Errorf("%d bytes are not a whole number of MiB", r.Size)
	}
	for _, p := range r.Platforms {
		if err := p.Check(r.Size); err != nil {
			return fmt.Errorf("platform %s: %w", p.ID, err)
		}
	}
	return nil
}

func (r Request) checkBoot(string, *Remarks) error {
	if r.Boot == (coreos.Size{}) {
		return nil
	}
	return layout.CheckBoot(r.Boot)
}

func (r Request) checkESP(arch string, _ *Remarks) error {
	if r.ESP == (coreos.Size{}) {
		return nil
	}
	return layout.CheckESP(arch, r.ESP)
}

func (r Request) checkIgnition(string, *Remarks) error {
	if r.Ignition == nil {
		return nil
	}
	_, err := ignition.Validate(r.Ignition)
	return err
}

// compression returns the compression of a platform's file.
func (r Request) compression(p cloud.Platform) filetype.Compression {
	return p.FileCompression(r.Compression, r.AsPublished)
}
