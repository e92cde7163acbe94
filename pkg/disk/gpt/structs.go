package gpt

import "encoding/binary"

// header is the GPT header (UEFI 2.10, table 5.5).
type header struct {
	Signature      [8]byte // "EFI PART"
	Revision       uint32  // 1.0
	HeaderSize     uint32  // 92
	HeaderCRC      uint32  // of the first 92 bytes, this field taken as 0
	_              uint32
	MyLBA          uint64 // of this header
	AlternateLBA   uint64 // of the other header
	FirstUsableLBA uint64
	LastUsableLBA  uint64
	DiskGUID       GUID
	EntriesLBA     uint64 // of the first entry of this header
	EntryCount     uint32 // 128
	EntrySize      uint32 // 128
	EntriesCRC     uint32
}

// entry is a partition entry (UEFI 2.10, table 5.6).
type entry struct {
	Type       GUID // zero means that the entry is not used
	ID         GUID
	FirstLBA   uint64
	LastLBA    uint64 // inclusive
	Attributes uint64
	Name       [36]uint16 // UTF-16, padded with zeros
}

// mbr is the protective MBR in LBA 0 (UEFI 2.10, table 5.3). It is 512 bytes
// for every sector size.
type mbr struct {
	BootCode      [440]byte
	DiskSignature uint32
	_             uint16
	Records       [4]mbrRecord
	Signature     [2]byte // 0x55 0xAA
}

// mbrRecord is a partition of an MBR. The first one covers the disk, so that tools
// without GPT find no free space (table 5.4).
type mbrRecord struct {
	BootIndicator byte
	StartCHS      [3]byte
	Type          byte // 0xEE
	EndCHS        [3]byte
	StartLBA      uint32 // 1
	Sectors       uint32 // size of the disk less one, or the largest number
}

const (
	headerSize = 92
	entrySize  = 128
	entryCount = 128
	mbrSize    = 512

	signature  = "EFI PART"
	revision   = 0x00010000
	protective = 0xEE
)

// encode appends v, one of the structures above, in the form of the disk.
func encode(b []byte, v any) []byte {
	b, err := binary.Append(b, binary.LittleEndian, v)
	if err != nil {
		panic("gpt: internal error: " + err.Error()) // only for types of variable size
	}
	return b
}
