package qcow2

import "encoding/binary"

// header is the header of version 3 (docs/interop/qcow2.rst of QEMU). Version
// 2 ends before IncompatibleFeatures.
type header struct {
	Magic                 uint32 // "QFI\xfb"
	Version               uint32
	BackingFileOffset     uint64
	BackingFileSize       uint32
	ClusterBits           uint32
	Size                  uint64 // of the disk, in bytes
	CryptMethod           uint32
	L1Size                uint32 // entries
	L1TableOffset         uint64
	RefcountTableOffset   uint64
	RefcountTableClusters uint32
	SnapshotCount         uint32
	SnapshotsOffset       uint64
	IncompatibleFeatures  uint64
	CompatibleFeatures    uint64
	AutoclearFeatures     uint64
	RefcountOrder         uint32 // refcounts have 1<<RefcountOrder bits
	HeaderLength          uint32
	CompressionType       uint8 // 0 deflate, 1 zstd
	_                     [7]byte
}

const (
	magic          = 0x514649fb
	headerLength   = 112
	headerLengthV2 = 72
	headerLengthV3 = 104 // before CompressionType came

	refcountOrder = 4 // 16 bits

	// Incompatible features.
	featureDirty       = 1 << 0 // refcounts may be wrong
	featureCorrupt     = 1 << 1 // found to be corrupt
	featureDataFile    = 1 << 2 // data is in another file
	featureCompression = 1 << 3 // CompressionType is not 0
	featureExtendedL2  = 1 << 4 // clusters are allocated in parts

	compressionDeflate = 0
	compressionZstd    = 1
)

// Bits of L1 and L2 entries.
const (
	entryCopied     = 1 << 63 // refcount is exactly one
	entryCompressed = 1 << 62 // L2 only; the rest is then packed by its own rules
	entryZero       = 1 << 0  // L2 only: reads as zeros
	entryOffset     = 0x00fffffffffffe00
)

// maxL1Bytes is the largest L1 table that QEMU takes.
const maxL1Bytes = 32 << 20

// encode appends v as it stands in the file, big-endian.
func encode(b []byte, v any) []byte {
	b, err := binary.Append(b, binary.BigEndian, v)
	if err != nil {
		panic("qcow2: internal error: " + err.Error()) // only for types of variable size
	}
	return b
}
