package grub

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/ulikunitz/xz/lzma"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

var order = binary.LittleEndian

const sectorSize = 512

// prefix is where GRUB finds its configuration and modules: partition 3 of the
// disk it was started from, whichever that is.
const prefix = "(,gpt3)/grub2"

// Offsets in boot.img, include/grub/i386/pc/boot.h.
const (
	bootParameters    = 0x03 // up to bootParametersEnd a FAT's, if the disk were one
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
	// maxMemory is the end of what may be read to below the BIOS' own data.
	maxMemory = 0x78000
	// maxPayload keeps what is unpacked, to 1 MiB, well inside any memory.
	maxPayload = 8 << 20
)

// Module types, include/grub/kernel.h.
const (
	objectELF    = 0
	objectPrefix = 3
)

// moduleInfo is struct grub_module_info32.
type moduleInfo struct {
	Magic  uint32 // "mimg"
	Offset uint32 // of the first module
	Size   uint32 // of this and all modules
}

// moduleHeader is struct grub_module_header.
type moduleHeader struct {
	Type uint32
	Size uint32 // with this header
}

// BIOS returns the code of the boot sector, the 440 bytes before the disk's
// signature, and the core image, a whole number of sectors. The core image
// belongs at the first sector of a partition that has the given number of
// them, all of 512 bytes.
func BIOS(root *rootfs.Inode, first, sectors int64) (mbr, core []byte, err error) {
	s := &source{root: root}
	boot := s.image("boot.img", "the boot sector")
	payload := s.payload()
	core = s.core(payload, first)
	if err := s.err("boot loader for BIOS"); err != nil {
		return nil, nil, err
	}
	if limit := min(sectors*sectorSize, maxMemory-diskbootSegment<<4+sectorSize); int64(len(core)) > limit {
		return nil, nil, fmt.Errorf("grub: core image of %d bytes, there is room for %d", len(core), limit)
	}
	clear(boot[bootParameters:bootParametersEnd])
	order.PutUint64(boot[bootKernelSector:], uint64(first))
	boot[bootDrive] = 0xFF // the drive that the BIOS started from
	// On a hard disk GRUB checks the number of the drive that the BIOS passes,
	// which some get wrong. boot.img jumps over the check; now it does not.
	boot[bootDriveCheck], boot[bootDriveCheck+1] = 0x90, 0x90
	return boot[:bootCodeEnd], core, nil
}

// image reads a boot sector, or what is laid out like one.
func (s *source) image(name, what string) []byte {
	b := s.read(path.Join(modules, name), what)
	if b != nil && len(b) != sectorSize {
		s.errs = append(s.errs, fmt.Errorf("/%s has %d bytes, want %d", path.Join(modules, name), len(b), sectorSize))
	}
	return b
}

// core returns the core image around a payload.
func (s *source) core(payload []byte, first int64) []byte {
	diskboot := s.image("diskboot.img", "the begin of the core image")
	decompressor := s.read(path.Join(modules, "lzma_decompress.img"), "what unpacks the core image")
	switch {
	case len(s.errs) > 0:
		return nil
	case order.Uint16(diskboot[blockSegment:]) != diskbootSegment:
		s.errs = append(s.errs, fmt.Errorf("/%s/diskboot.img does not end as GRUB 2 has it", modules))
		return nil
	case len(decompressor) < decompressorHead:
		s.errs = append(s.errs, fmt.Errorf("/%s/lzma_decompress.img has only %d bytes", modules, len(decompressor)))
		return nil
	}
	packed, err := pack(payload)
	if err != nil {
		s.errs = append(s.errs, err)
		return nil
	}
	order.PutUint32(decompressor[compressedSize:], uint32(len(packed)))
	order.PutUint32(decompressor[uncompressedSize:], uint32(len(payload)))
	order.PutUint32(decompressor[redundancy:], 0)
	rest := append(decompressor, packed...)
	rest = append(rest, make([]byte, -len(rest)&(sectorSize-1))...)
	order.PutUint64(diskboot[blockStart:], uint64(first+1))
	order.PutUint16(diskboot[blockLength:], uint16(min(len(rest)/sectorSize, 0xFFFF)))
	return append(diskboot, rest...)
}

// pack compresses to a bare LZMA stream with the parameters that GRUB's
// decompressor is compiled for.
func pack(payload []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := lzma.WriterConfig{
		Properties:   &lzma.Properties{LC: 3, LP: 0, PB: 2},
		DictCap:      1 << 16,
		Size:         int64(len(payload)),
		SizeInHeader: true,
	}.NewWriter(&b)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(payload); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes()[lzma.HeaderLen:], nil
}

// payload returns what the core image unpacks to.
func (s *source) payload() []byte {
	kernel := s.kernel()
	var body []byte
	for _, name := range s.closure() {
		module := s.read(path.Join(modules, name+".mod"), "a module that finds the boot file system")
		body = appendModule(body, objectELF, module)
	}
	body = appendModule(body, objectPrefix, []byte(prefix+"\x00"))
	const infoSize = 12
	b := appendStruct(kernel, moduleInfo{Magic: 0x676D696D, Offset: infoSize, Size: uint32(infoSize + len(body))})
	b = append(b, body...)
	if len(b) > maxPayload {
		s.errs = append(s.errs, fmt.Errorf("kernel and modules have %d bytes, the limit is %d", len(b), maxPayload))
	}
	return b
}

func appendModule(b []byte, kind uint32, data []byte) []byte {
	pad := -len(data) & 3
	b = appendStruct(b, moduleHeader{Type: kind, Size: uint32(8 + len(data) + pad)})
	b = append(b, data...)
	return append(b, make([]byte, pad)...)
}

func appendStruct(b []byte, v any) []byte {
	b, err := binary.Append(b, order, v)
	if err != nil {
		panic(err) // a structure of this file without a fixed size
	}
	return b
}

// kernel returns GRUB's kernel as it stands in memory.
func (s *source) kernel() []byte {
	name := path.Join(modules, "kernel.img")
	file := s.read(name, "GRUB itself")
	if file == nil {
		return nil
	}
	b, err := flatten(file)
	if err != nil {
		s.errs = append(s.errs, fmt.Errorf("/%s: %w", name, err))
	}
	return b
}

// flatten lays the sections of an executable at their addresses. Its .bss is
// left out: GRUB clears it itself.
func flatten(file []byte) ([]byte, error) {
	f, err := elf.NewFile(bytes.NewReader(file))
	if err != nil {
		return nil, err
	}
	if f.Class != elf.ELFCLASS32 || f.Machine != elf.EM_386 {
		return nil, fmt.Errorf("%v for %v, want one for %v", f.Class, f.Machine, elf.EM_386)
	}
	var flat []byte
	for _, section := range f.Sections {
		if section.Type != elf.SHT_PROGBITS || section.Flags&elf.SHF_ALLOC == 0 {
			continue
		}
		if section.Addr < kernelAddress || section.Addr+section.Size > kernelAddress+maxPayload {
			return nil, fmt.Errorf("section %s at %#x with %d bytes is out of place", section.Name, section.Addr, section.Size)
		}
		data, err := section.Data()
		if err != nil {
			return nil, fmt.Errorf("section %s: %w", section.Name, err)
		}
		start := int(section.Addr - kernelAddress)
		if end := start + len(data); end > len(flat) {
			flat = append(flat, make([]byte, end-len(flat))...)
		}
		copy(flat[start:], data)
	}
	if len(flat) == 0 {
		return nil, errors.New("no sections to load")
	}
	return flat, nil
}

// closure returns the modules of the core image, each behind those it needs:
// what grub-install of Fedora CoreOS is told, what reads ext4, and what asks
// the BIOS for sectors.
func (s *source) closure() []string {
	wanted := []string{"part_gpt", "ext2", "biosdisk"}
	if n := s.root.Resolve(path.Join(modules, "mdraid1x.mod")); n != nil {
		wanted = append([]string{"mdraid1x"}, wanted...)
	}
	needs := map[string][]string{}
	list := s.read(path.Join(modules, "moddep.lst"), "which modules need which")
	for line := range strings.Lines(string(list)) {
		if name, deps, ok := strings.Cut(line, ":"); ok {
			needs[name] = strings.Fields(deps)
		}
	}
	var all []string
	seen := map[string]bool{}
	var visit func(name string)
	visit = func(name string) {
		if seen[name] {
			return
		}
		seen[name] = true
		for _, dep := range needs[name] {
			visit(dep)
		}
		all = append(all, name)
	}
	for _, name := range wanted {
		visit(name)
	}
	return all
}
