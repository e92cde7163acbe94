package layout

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/gpt"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/coreos"
)

// agrees compares the disk that a container asks for with the one that was laid
// out. The first boot of a CoreOS and its tools look for partitions by number,
// name and identifier, so a disk that differs in them would not boot, or would
// break later: the error names every difference. Sizes of the EFI system
// partition, of boot and of root are a choice. Types and names of another
// architecture are worth a warning only: the container has its disk.yaml from
// there.
func agrees(want *coreos.Disk, parts []Partition) (warnings []string, err error) {
	if want == nil {
		return nil, nil
	}
	var errs []error
	differ := func(what, asked, is string) {
		switch {
		case asked == "" || strings.EqualFold(asked, is):
		case ofOthers(asked, is):
			warnings = append(warnings, fmt.Sprintf("%s: %s is %q, which is that of another architecture, and has no effect: the image has %q", want.File, what, asked, is))
		default:
			errs = append(errs, fmt.Errorf("%s is %q, a CoreOS has %q", what, asked, is))
		}
	}
	differ("type", want.Type, "gpt")
	differ("uuid", want.UUID, DiskGUID.String())
	if len(want.Partitions) != len(parts) {
		errs = append(errs, fmt.Errorf("%d partitions, a CoreOS has %d", len(want.Partitions), len(parts)))
	}
	for i := range min(len(want.Partitions), len(parts)) {
		asked, is := want.Partitions[i], parts[i]
		at := fmt.Sprintf("partition %d: ", i+1)
		differ(at+"label", asked.Label, is.Name)
		differ(at+"type", asked.Type, is.Type.String())
		differ(at+"payload label", asked.Payload.Label, is.Label)
		differ(at+"payload uuid", asked.Payload.UUID, is.UUID)
		if i == len(parts)-1 {
			break // the root's file system is a choice
		}
		format := is.Filesystem
		if strings.HasPrefix(format, "fat") {
			format = "vfat"
		}
		differ(at+"payload type", asked.Payload.Type, format)
		if format == "" && asked.Size != 0 && int64(asked.Size) != is.Size {
			errs = append(errs, fmt.Errorf("%ssize of %s, a CoreOS has %s", at, people(int64(asked.Size)), people(is.Size)))
		}
	}
	if len(errs) == 0 {
		return warnings, nil
	}
	return nil, fmt.Errorf("%s: the partition table is not that of a CoreOS: %w", want.File, errors.Join(errs...))
}

// peers are names and types of partitions that have each other's place on
// another architecture.
var peers = [][]string{
	{"BIOS-BOOT", "reserved"},
	{gpt.BIOSBoot.String(), gpt.Reserved.String()},
	{gpt.RootX86_64.String(), gpt.RootAArch64.String(), gpt.RootRISCV64.String(), gpt.RootPPC64LE.String()},
}

// ofOthers reports whether another architecture has a name or type in the place of
// one.
func ofOthers(asked, is string) bool {
	for _, group := range peers {
		if slices.Contains(group, is) && slices.ContainsFunc(group, func(peer string) bool { return strings.EqualFold(peer, asked) }) {
			return true
		}
	}
	return false
}

// Bounds of sizes that can be chosen. FAT16 has at least 4,087 clusters, which
// are of 16 KiB if sectors have 4096 bytes.
const (
	minESP, maxESP   = 68 * mib, 32 << 30
	minBoot, maxBoot = 64 * mib, 1 << 40
)

// CheckESP checks the size of an EFI system partition. The error does not name the
// place that asks for the size.
func CheckESP(arch string, s coreos.Size) error {
	if arch == "ppc64le" {
		return errors.New("a disk for ppc64le has no EFI system partition")
	}
	return checkSize("EFI system partition", s, minESP, maxESP)
}

// CheckBoot checks the size of a boot partition, as [CheckESP] does.
func CheckBoot(s coreos.Size) error { return checkSize("boot partition", s, minBoot, maxBoot) }

func checkSize(what string, s coreos.Size, least, most int64) error {
	if s.Bytes < least || s.Bytes > most || s.Bytes%mib != 0 {
		return fmt.Errorf("%s of %s, must be %s to %s, in whole MiB", what, s, coreos.Size{Bytes: least}, coreos.Size{Bytes: most})
	}
	return nil
}

// byDefault is the origin of a size without option or configuration.
const byDefault = "default"

// sizes are the sizes of partitions that can be chosen.
type sizes struct {
	esp, boot, root coreos.Size
	warnings        []string // about sizes that have no effect
}

// chosen returns the sizes that options, the container or else Fedora CoreOS
// choose. That of root is a lower bound.
func chosen(choices *coreos.Config, o Options) (sizes, error) {
	s := sizes{
		esp:  cmp.Or(o.ESP, whole(choices.ESP), coreos.Size{Bytes: coreos.DefaultESPSize, By: byDefault}),
		boot: cmp.Or(o.Boot, whole(choices.Boot), coreos.Size{Bytes: coreos.DefaultBootSize, By: byDefault}),
		root: whole(choices.Root),
	}
	if o.Arch == "ppc64le" && o.ESP == (coreos.Size{}) {
		s.esp = coreos.Size{}
	} else if err := s.check(&s.esp, CheckESP(o.Arch, s.esp), coreos.DefaultESPSize); err != nil {
		return s, err
	}
	return s, s.check(&s.boot, CheckBoot(s.boot), coreos.DefaultBootSize)
}

// check replaces a size of repart.d that is wrong by the default, with a
// warning: systemd-repart reads these files on any disk, so they need not be
// about this one. Every other size that is wrong is an error.
func (s *sizes) check(size *coreos.Size, wrong error, usual int64) error {
	if wrong == nil {
		return nil
	}
	wrong = fmt.Errorf("%s: %w", size.Place(), wrong)
	if size.Key != coreos.KeySizeMin && size.Key != coreos.KeySizeMax {
		return wrong
	}
	*size = coreos.Size{Bytes: usual, By: byDefault}
	s.warnings = append(s.warnings, fmt.Sprintf("%v; it has the default of %s", wrong, size))
	return nil
}

// unusual names the sizes around root that are not the default, for an error.
func (s sizes) unusual() string {
	text := ""
	if s.esp.By != "" && s.esp.By != byDefault {
		text += fmt.Sprintf("with an EFI system partition of %s, chosen by %s, ", s.esp, s.esp.By)
	}
	if s.boot.By != byDefault {
		text += fmt.Sprintf("with a boot partition of %s, chosen by %s, ", s.boot, s.boot.By)
	}
	return text
}

// whole rounds the size of a partition up to whole MiB, as image-builder does.
func whole(s coreos.Size) coreos.Size {
	s.Bytes = roundUp(min(s.Bytes, 1<<60))
	return s
}
