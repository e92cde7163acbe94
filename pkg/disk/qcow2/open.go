package qcow2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/disk/internal/blocks"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// A File is the disk inside a qcow2 file. It is a rootfs.Blob.
type File struct {
	r     io.ReaderAt
	h     header
	cache *blocks.Cache // of compressed clusters, by their entries
}

// Open reads the header of a qcow2 file of version 2 or 3. Tables are read
// when they are needed: a hostile file costs no memory.
func Open(r io.ReaderAt) (*File, error) {
	f := &File{r: r}
	if err := f.readHeader(); err != nil {
		return nil, fmt.Errorf("qcow2: header: %w", err)
	}
	f.cache = blocks.NewCache(1 << f.h.ClusterBits)
	return f, nil
}

// Size returns the size of the disk.
func (f *File) Size() int64 { return int64(f.h.Size) }

func (f *File) readHeader() error {
	b := make([]byte, headerLength)
	n, err := f.r.ReadAt(b, 0)
	if n < headerLengthV2 || err != nil && err != io.EOF {
		return noEOF(err)
	}
	if _, err := binary.Decode(b, binary.BigEndian, &f.h); err != nil {
		return err
	}
	h := &f.h
	switch {
	case h.Magic != magic:
		return errors.New("not a qcow2 file")
	case h.Version == 2:
		h.IncompatibleFeatures, h.CompressionType = 0, compressionDeflate
	case h.Version != 3:
		return disk.Unsupported("version %d is not known", h.Version)
	case h.HeaderLength < headerLengthV3 || int(min(h.HeaderLength, headerLength)) > n:
		return fmt.Errorf("length %d", h.HeaderLength)
	case h.HeaderLength < headerLength:
		h.CompressionType = compressionDeflate
	}
	return h.check()
}

// check rejects unsupported features, and numbers that would overflow.
func (h *header) check() error {
	if h.ClusterBits < 9 || h.ClusterBits > 21 {
		return fmt.Errorf("clusters of 1<<%d bytes", h.ClusterBits)
	}
	if h.Size > math.MaxInt64 {
		return fmt.Errorf("disk of %s", rootfs.Bytes(h.Size))
	}
	entries := ceil(ceil(int64(h.Size), 1<<h.ClusterBits), 1<<(h.ClusterBits-3))
	compressed := h.IncompatibleFeatures&featureCompression != 0
	switch {
	case h.BackingFileOffset != 0:
		return disk.Unsupported("needs a backing file, which is not supported")
	case h.CryptMethod != 0:
		return disk.Unsupported("encrypted, which is not supported")
	case h.IncompatibleFeatures&featureCorrupt != 0:
		return errors.New("marked as corrupt by the program that wrote it")
	case h.IncompatibleFeatures&featureDataFile != 0:
		return disk.Unsupported("needs an external data file, which is not supported")
	case h.IncompatibleFeatures&featureExtendedL2 != 0:
		return disk.Unsupported("has subclusters (extended_l2), which are not supported")
	case h.IncompatibleFeatures&^(featureDirty|featureCompression) != 0:
		return disk.Unsupported("unknown incompatible features %#x", h.IncompatibleFeatures)
	case compressed != (h.CompressionType != compressionDeflate) || h.CompressionType > compressionZstd:
		return fmt.Errorf("compression type %d", h.CompressionType)
	case int64(h.L1Size) < entries || int64(h.L1Size) > maxL1Bytes/8:
		return fmt.Errorf("L1 table has %d entries, %d are needed and %d allowed", h.L1Size, entries, maxL1Bytes/8)
	case h.L1TableOffset%(1<<h.ClusterBits) != 0 || h.L1TableOffset > entryOffset:
		return fmt.Errorf("L1 table at %d", h.L1TableOffset)
	}
	return nil
}

// ReadAt reads from the disk.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	return blocks.Layout{Name: "qcow2: cluster", Size: f.Size(), Block: 1 << f.h.ClusterBits}.ReadAt(p, off, f.readCluster)
}

// readCluster reads p from within one cluster.
func (f *File) readCluster(p []byte, at int64) error {
	e, err := f.entry(uint64(at) >> f.h.ClusterBits)
	if err != nil {
		return err
	}
	within := at & (1<<f.h.ClusterBits - 1)
	switch {
	case e&entryCompressed != 0:
		return f.readCompressed(p, within, e)
	case e&entryZero != 0 && f.h.Version == 2:
		return fmt.Errorf("bad entry %#x", e)
	case e&entryZero != 0 || e&entryOffset == 0:
		clear(p)
		return nil
	case e&entryOffset%(1<<f.h.ClusterBits) != 0:
		return fmt.Errorf("bad entry %#x", e)
	}
	return f.readData(p, int64(e&entryOffset), within)
}

// entry returns the L2 entry of a cluster of the disk, or 0.
func (f *File) entry(cluster uint64) (uint64, error) {
	perTable := uint64(1) << (f.h.ClusterBits - 3)
	l1, err := f.readEntry(f.h.L1TableOffset + cluster/perTable*8)
	if err != nil {
		return 0, fmt.Errorf("L1 table: %w", err)
	}
	table := l1 & entryOffset
	if table == 0 {
		return 0, nil
	}
	if table%(1<<f.h.ClusterBits) != 0 {
		return 0, fmt.Errorf("bad L1 entry %#x", l1)
	}
	l2, err := f.readEntry(table + cluster%perTable*8)
	if err != nil {
		return 0, fmt.Errorf("L2 table: %w", err)
	}
	return l2, nil
}

func (f *File) readEntry(off uint64) (uint64, error) {
	var b [8]byte
	err := rootfs.ReadFull(f.r, b[:], int64(off))
	return binary.BigEndian.Uint64(b[:]), err
}

// readData reads from a cluster that is not compressed. A file may end within
// its last cluster; the rest of that reads as zeros.
func (f *File) readData(p []byte, cluster, within int64) error {
	n, err := f.r.ReadAt(p, cluster+within)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		var first [1]byte
		if begins, _ := f.r.ReadAt(first[:], cluster); begins == 1 {
			clear(p[n:])
			return nil
		}
	}
	return noEOF(err)
}

// readCompressed reads from a compressed cluster.
func (f *File) readCompressed(p []byte, within int64, entry uint64) error {
	data, err := f.cache.Get(entry, func() ([]byte, error) { return f.inflate(entry) })
	if err != nil {
		return err
	}
	copy(p, data[within:])
	return nil
}

func (f *File) inflate(entry uint64) ([]byte, error) {
	shift := 62 - (f.h.ClusterBits - 8)
	off := entry & (1<<shift - 1)
	sectors := entry>>shift&(1<<(f.h.ClusterBits-8)-1) + 1
	if off > entryOffset {
		return nil, fmt.Errorf("bad entry %#x", entry)
	}
	packed := make([]byte, sectors*512-off%512)
	n, err := f.r.ReadAt(packed, int64(off))
	if n < len(packed) && err != io.EOF { // the file may end within the last sector
		return nil, noEOF(err)
	}
	data := make([]byte, 1<<f.h.ClusterBits)
	if err := f.decompress(data, bytes.NewReader(packed[:n])); err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	return data, nil
}

// decompress fills data. The rest of r belongs to the next cluster.
func (f *File) decompress(data []byte, r io.Reader) error {
	if f.h.CompressionType == compressionDeflate {
		_, err := io.ReadFull(flate.NewReader(r), data)
		return noEOF(err)
	}
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20))
	if err != nil {
		return err
	}
	defer z.Close()
	_, err = io.ReadFull(z, data)
	return noEOF(err)
}

// noEOF is for reads that must not reach the end.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
