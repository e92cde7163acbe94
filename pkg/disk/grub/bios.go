package grub

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"path"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/grub/internal/lzma"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

const sectorSize = 512

// Offsets in boot.img, include/grub/i386/pc/boot.h.
const (
	bootParameters    = 0x03 // up to bootParametersEnd: the parameters of a FAT
	bootParametersEnd = 0x5A
	bootKernelSector  = 0x5C
	bootDrive         = 0x64
	bootDriveCheck    = 0x66
	bootCodeEnd       = 0x1B8 // the disk's signature and partition table begin
)

// Offsets in lzma_decompress.img, include/grub/offsets.h.
const (
	compressedSize   = 0x08
	uncompressedSize = 0x0C
	redundancy       = 0x10
	decompressorHead = 0x16
)

// The first entry of the list of blocks that ends diskboot.img.
const (
	blockStart   = 0x1F4
	blockLength  = 0x1FC
	blockSegment = 0x1FE
)

const (
	kernelAddress   = 0x9000
	diskbootSegment = 0x0820 // where the rest of the core image is read to
	// maxMemory is the end of the memory below the data of the BIOS.
	maxMemory = 0x78000
)

// BIOS returns the code of the boot sector, 440 bytes before the signature of the
// disk, and the core image, with the bytes of grub-mkimage. [Embed]
// turns it into the content of a partition. The partition begins at the first of
// the given number of sectors, all of 512 bytes.
func BIOS(root *rootfs.Inode, first, sectors int64) (mbr, core []byte, err error) {
	s := &source{root: root, modules: path.Join(targets, TargetBIOS)}
	boot := s.image("boot.img", "the boot sector")
	payload := s.payload()
	core = s.core(payload)
	if err := s.err("boot loader for BIOS"); err != nil {
		return nil, nil, err
	}
	if limit := min(sectors*sectorSize, maxMemory-diskbootSegment<<4+sectorSize); int64(len(core)) > limit {
		return nil, nil, fmt.Errorf("grub: core image of %d bytes, limit is %d", len(core), limit)
	}
	clear(boot[bootParameters:bootParametersEnd])
	binary.LittleEndian.PutUint64(boot[bootKernelSector:], uint64(first))
	boot[bootDrive] = 0xFF // the drive that the BIOS started from
	// boot.img jumps over a check of the drive number that the BIOS passes. On a
	// hard disk the check is needed, because some BIOSes pass a wrong number.
	boot[bootDriveCheck], boot[bootDriveCheck+1] = 0x90, 0x90
	return boot[:bootCodeEnd], core, nil
}

// Embed returns the content of a partition that begins with a core image: whole
// sectors, with a list of the sectors behind the first. It returns nil for nil.
func Embed(core []byte, first int64) []byte {
	if core == nil {
		return nil
	}
	b := make([]byte, (len(core)+sectorSize-1)&^(sectorSize-1))
	copy(b, core)
	binary.LittleEndian.PutUint64(b[blockStart:], uint64(first+1))
	return b
}

// image reads an image of one sector.
func (s *source) image(name, purpose string) []byte {
	b := s.read(path.Join(s.modules, name), purpose)
	if b != nil && len(b) != sectorSize {
		s.errs = append(s.errs, fmt.Errorf("/%s has %d bytes, want %d", path.Join(s.modules, name), len(b), sectorSize))
	}
	return b
}

// core returns the core image around a payload.
func (s *source) core(payload []byte) []byte {
	diskboot := s.image("diskboot.img", "the begin of the core image")
	decompressor := s.read(path.Join(s.modules, "lzma_decompress.img"), "decompressor of the core image")
	switch {
	case len(s.errs) > 0:
		return nil
	case binary.LittleEndian.Uint16(diskboot[blockSegment:]) != diskbootSegment:
		s.errs = append(s.errs, fmt.Errorf("/%s/diskboot.img does not end with the block list of GRUB 2", s.modules))
		return nil
	case len(decompressor) < decompressorHead:
		s.errs = append(s.errs, fmt.Errorf("/%s/lzma_decompress.img has only %d bytes", s.modules, len(decompressor)))
		return nil
	}
	packed := lzma.Encode(payload)
	binary.LittleEndian.PutUint32(decompressor[compressedSize:], uint32(len(packed)))
	binary.LittleEndian.PutUint32(decompressor[uncompressedSize:], uint32(len(payload)))
	binary.LittleEndian.PutUint32(decompressor[redundancy:], 0)
	rest := append(decompressor, packed...)
	binary.LittleEndian.PutUint16(diskboot[blockLength:], uint16(min((len(rest)+sectorSize-1)/sectorSize, 0xFFFF)))
	return append(diskboot, rest...)
}

// payload returns the uncompressed core image. Its modules are the arguments of
// grub-install in Fedora CoreOS, the driver of ext4, and the driver of BIOS disks.
func (s *source) payload() []byte {
	wanted := []string{"part_gpt", "ext2", "biosdisk"}
	if n := s.root.Resolve(path.Join(s.modules, "mdraid1x.mod")); n != nil {
		wanted = append([]string{"mdraid1x"}, wanted...)
	}
	b := append(s.kernel(elf.EM_386, kernelAddress).bytes, s.area(binary.LittleEndian, wanted...)...)
	if len(b) > maxCore {
		s.errs = append(s.errs, fmt.Errorf("kernel and modules of %d bytes, limit is %d", len(b), maxCore))
	}
	return b
}
