// Package cloud knows the platforms that an image can be made for.
//
// A platform is a line of a table: its Ignition platform id, the container
// format of its disk, and how large that disk is. What differs inside the
// image (kernel arguments, GRUB's console commands) comes from the operating
// system's own platforms.json. See the platform table of coreos-assembler.
package cloud

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/qcow2"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/raw"
)

// A Platform is a kind of machine that an image is made for.
type Platform struct {
	ID       string // as in file names
	Ignition string // value of ignition.platform.id and key of platforms.json, if it is not the ID
	Suffix   string // of the image's file name; it names the format
	Packed   bool   // the disk is as small as its content allows, not as large as image.json says
	Sector   int    // bytes of a sector, 512 if zero

	// Write writes a disk in the platform's format to an empty file, and every
	// byte of that file in order to tap as well.
	Write func(f *os.File, img *disk.Image, tap io.Writer) error
	// Size returns how many bytes Write writes to tap.
	Size func(img *disk.Image) int64
}

// Platforms is the table of all platforms, in the order they are shown.
var Platforms = []Platform{
	{ID: "qemu", Suffix: "qcow2", Write: writeQcow2, Size: qcow2.Size},
	{ID: "metal", Suffix: "raw", Packed: true, Write: raw.WriteFile, Size: (*disk.Image).Size},
	{ID: "metal4k", Ignition: "metal", Suffix: "raw", Packed: true, Sector: 4096, Write: raw.WriteFile, Size: (*disk.Image).Size},
}

func writeQcow2(f *os.File, img *disk.Image, tap io.Writer) error {
	t := newTee(f, tap)
	defer t.close()
	return qcow2.Write(t, img, qcow2.Options{})
}

// Lookup returns the platform of the given id.
func Lookup(id string) (Platform, error) {
	var known []string
	for _, p := range Platforms {
		if p.ID == id {
			return p, nil
		}
		known = append(known, p.ID)
	}
	return Platform{}, fmt.Errorf("platform %q is not known, these are: %s", id, strings.Join(known, ", "))
}

// FileName returns the name of an image's file in the form that
// coreos-assembler gives it; arch is the machine's name for itself (x86_64).
func (p Platform) FileName(name, version, arch string) string {
	return fmt.Sprintf("%s-%s-%s.%s.%s", name, version, p.ID, arch, p.Suffix)
}
