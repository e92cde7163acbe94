package gpt

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
)

// A GUID is a globally unique identifier in its order on disk: the first three
// of its five groups are little-endian (UEFI 2.10, appendix A).
type GUID [16]byte

// Types of partitions, from the UEFI specification and the Discoverable
// Partitions Specification.
var (
	BIOSBoot    = MustParse("21686148-6449-6E6F-744E-656564454649")
	PReP        = MustParse("9E1A2D38-C612-4316-AA26-8B49521E5A8B")
	Reserved    = MustParse("8DA63339-0007-60C0-C436-083AC8230908")
	EFISystem   = MustParse("C12A7328-F81F-11D2-BA4B-00A0C93EC93B")
	XBOOTLDR    = MustParse("BC13C2FF-59E6-4262-A352-B275FD6F7172")
	RootX86_64  = MustParse("4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709")
	RootAArch64 = MustParse("B921B045-1DF0-41C3-AF44-4C6F280D3FAE")
	RootPPC64LE = MustParse("C31C45E6-3F39-412E-80FB-4809C4980599")
	RootS390X   = MustParse("5EEAD9A9-FE09-4A1E-A1D7-520D00531306")
	RootRISCV64 = MustParse("72EC70A6-CF74-40E6-BD49-4BDA08E8F224")
	LinuxData   = MustParse("0FC63DAF-8483-4772-8E79-3D69D8477DE4")
)

// Parse parses a GUID in its printed form, in capital or small letters.
func Parse(s string) (GUID, error) {
	var g GUID
	digits := strings.ReplaceAll(s, "-", "")
	if len(digits) == 2*len(g) {
		_, err := hex.Decode(g[:], []byte(digits))
		if g = g.swapped(); err == nil && strings.EqualFold(g.String(), s) {
			return g, nil
		}
	}
	return GUID{}, fmt.Errorf("gpt: %q is not a GUID", s)
}

// MustParse is Parse for constants: it panics.
func MustParse(s string) GUID {
	g, err := Parse(s)
	if err != nil {
		panic(err)
	}
	return g
}

// String returns the GUID in the printed form of the specifications, in capitals.
func (g GUID) String() string {
	b := g.swapped()
	return fmt.Sprintf("%X-%X-%X-%X-%X", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// swapped converts between the order on disk and the order in print.
func (g GUID) swapped() GUID {
	binary.BigEndian.PutUint32(g[0:], binary.LittleEndian.Uint32(g[0:]))
	binary.BigEndian.PutUint16(g[4:], binary.LittleEndian.Uint16(g[4:]))
	binary.BigEndian.PutUint16(g[6:], binary.LittleEndian.Uint16(g[6:]))
	return g
}
