package fat

import (
	"encoding/binary"
	"time"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

var order = binary.LittleEndian

// mediaFixed is BPB_Media of a disk that is not removable; it is also the low
// byte of the first entry of a FAT.
const mediaFixed = 0xF8

// endOfChain ends a chain of FAT32. Its low half ends a chain of FAT16.
const endOfChain = 0x0FFFFFFF

const (
	numFATs      = 2
	firstCluster = 2 // the first two entries of a FAT have no cluster
	entrySize    = 32
	infoSector   = 1 // BPB_FSInfo
	backupSector = 6 // BPB_BkBootSec
)

// DIR_Attr.
const (
	attrReadOnly  = 0x01
	attrHidden    = 0x02
	attrSystem    = 0x04
	attrVolumeID  = 0x08
	attrDirectory = 0x10
	attrArchive   = 0x20
	attrLongName  = attrReadOnly | attrHidden | attrSystem | attrVolumeID
)

// bpb is the BIOS parameter block of both types, p. 9.
type bpb struct {
	JmpBoot    [3]byte
	OEMName    [8]byte
	BytsPerSec uint16
	SecPerClus uint8
	RsvdSecCnt uint16
	NumFATs    uint8
	RootEntCnt uint16 // 0 for FAT32
	TotSec16   uint16 // 0: TotSec32 counts
	Media      uint8
	FATSz16    uint16 // 0 for FAT32
	SecPerTrk  uint16
	NumHeads   uint16
	HiddSec    uint32
	TotSec32   uint32
}

// bpb32 follows bpb in FAT32, p. 11.
type bpb32 struct {
	FATSz32   uint32
	ExtFlags  uint16 // 0: both FATs are kept alike
	FSVer     uint16
	RootClus  uint32
	FSInfo    uint16
	BkBootSec uint16
	_         [12]byte
}

// extBoot ends the parameters of both types.
type extBoot struct {
	DrvNum     uint8
	_          uint8
	BootSig    uint8 // 0x29: the three fields after it are there
	VolID      uint32
	VolLab     [11]byte
	FilSysType [8]byte
}

// fsInfo is the information sector of FAT32, p. 21.
type fsInfo struct {
	LeadSig   uint32
	_         [480]byte
	StrucSig  uint32
	FreeCount uint32
	NxtFree   uint32 // the last cluster given out, where the search for a free one begins
	_         [12]byte
	TrailSig  uint32
}

// dirEntry is an entry of a directory, p. 22.
type dirEntry struct {
	Name         [11]byte
	Attr         uint8
	NTRes        uint8
	CrtTimeTenth uint8 // hundredths of a second, despite its name: 0 to 199
	CrtTime      uint16
	CrtDate      uint16
	LstAccDate   uint16
	FstClusHI    uint16
	WrtTime      uint16
	WrtDate      uint16
	FstClusLO    uint16
	FileSize     uint32 // 0 for a directory
}

// longEntry holds 13 characters of a long name, p. 28.
type longEntry struct {
	Ord       uint8 // from 1, counted from the end of the name; lastLong marks the last
	Name1     [5]uint16
	Attr      uint8
	Type      uint8
	Chksum    uint8 // of the short name
	Name2     [6]uint16
	FstClusLO uint16
	Name3     [2]uint16
}

// lastLong is LAST_LONG_ENTRY of longEntry.Ord.
const lastLong = 0x40

// longChars is the number of characters of a longEntry.
const longChars = 13

// appendStruct appends a structure of this file, which cannot fail.
func appendStruct(b []byte, v any) []byte {
	b, err := binary.Append(b, order, v)
	if err != nil {
		panic(err) // a structure of this file without a fixed size
	}
	return b
}

const (
	unix1980 = 315532800  // 1980-01-01T00:00:00Z, the first time of FAT
	unix2108 = 4354819200 // 2108-01-01T00:00:00Z, behind the last time of FAT
)

// dosTime returns a time in the form of a directory entry, in UTC. A time out of
// range becomes the first or the last possible one.
func dosTime(t rootfs.Time) (date, clock uint16, tenths uint8) {
	switch {
	case t.Sec < unix1980:
		t = rootfs.Time{Sec: unix1980}
	case t.Sec >= unix2108:
		t = rootfs.Time{Sec: unix2108 - 1}
	}
	u := time.Unix(t.Sec, 0).UTC()
	date = uint16((u.Year()-1980)<<9 | int(u.Month())<<5 | u.Day())
	clock = uint16(u.Hour()<<11 | u.Minute()<<5 | u.Second()/2)
	return date, clock, uint8(u.Second()%2*100 + int(t.Nsec/1e7))
}
