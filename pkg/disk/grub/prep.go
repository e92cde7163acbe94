package grub

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"math"
	"path"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// Addresses of GRUB under Open Firmware, include/grub/offsets.h. The modules follow
// the kernel, where GRUB looks for them.
const (
	prepAddress   = 0x200000
	prepGap       = 0x8000
	prepAlignment = 0x1000
)

// PReP returns the core image for the Open Firmware of ppc64le, an executable for a
// PReP partition of the given size. Its bytes are those of grub-mkimage with the
// modules of grub-install. It has two segments, the kernel of GRUB and the modules.
// Open Firmware itself reads the disks.
func PReP(root *rootfs.Inode, size int64) ([]byte, error) {
	s := &source{root: root, modules: path.Join(targets, TargetPReP)}
	k := s.kernel(elf.EM_PPC, prepAddress)
	area := s.area(binary.BigEndian, "ext2", "part_gpt")
	if err := s.err("boot loader for Open Firmware"); err != nil {
		return nil, err
	}
	const (
		names    = "\x00.text\x00mods\x00"
		sections = 52 + 3*32 // offset of the section headers
		namesAt  = sections + 4*40
		access   = uint32(elf.PF_R | elf.PF_W | elf.PF_X)
	)
	align := uint32(min(k.align, math.MaxInt32))
	kernelAt := roundUp(namesAt+uint32(len(names)), align)
	kernelSize, areaSize := uint32(len(k.bytes)), uint32(len(area))
	areaAt := kernelAt + kernelSize
	if end := int64(kernelAt) + (int64(kernelSize)+int64(areaSize)+3)&^3; end > size {
		return nil, fmt.Errorf("grub: core image of %d bytes, limit is %d", end, size)
	}
	loadArea := roundUp(prepAddress+uint32(k.size)+prepGap, prepAlignment)
	var b []byte
	for _, header := range []any{
		elf.Header32{
			Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS32), byte(elf.ELFDATA2MSB), byte(elf.EV_CURRENT)},
			Type:  uint16(elf.ET_EXEC), Machine: uint16(elf.EM_PPC), Version: uint32(elf.EV_CURRENT), Entry: prepAddress,
			Phoff: 52, Shoff: sections, Ehsize: 52, Phentsize: 32, Phnum: 3, Shentsize: 40, Shnum: 4, Shstrndx: 1,
		},
		elf.Prog32{
			Type: uint32(elf.PT_LOAD), Off: kernelAt, Vaddr: prepAddress, Paddr: prepAddress,
			Filesz: kernelSize, Memsz: uint32(k.size), Flags: access, Align: max(align, 4),
		},
		elf.Prog32{Type: uint32(elf.PT_GNU_STACK), Off: areaAt, Flags: access, Align: 4},
		elf.Prog32{
			Type: uint32(elf.PT_LOAD), Off: areaAt, Vaddr: loadArea, Paddr: loadArea,
			Filesz: areaSize, Memsz: areaSize, Flags: access, Align: 4,
		},
		elf.Section32{},
		elf.Section32{Type: uint32(elf.SHT_STRTAB), Off: namesAt, Size: uint32(len(names)), Addralign: align},
		elf.Section32{Name: 1, Type: uint32(elf.SHT_PROGBITS), Addr: prepAddress, Off: kernelAt, Size: kernelSize, Addralign: align},
		elf.Section32{Name: 7, Type: uint32(elf.SHT_PROGBITS), Addr: prepAddress + kernelSize, Off: areaAt, Size: areaSize, Addralign: 4},
	} {
		b = appendStruct(b, binary.BigEndian, header)
	}
	b = append(b, names...)
	b = append(b, make([]byte, int(kernelAt)-len(b))...)
	b = append(b, k.bytes...)
	b = append(b, area...)
	return append(b, make([]byte, -(len(k.bytes)+len(area))&3)...), nil
}

// roundUp returns the next multiple.
func roundUp(n, multiple uint32) uint32 { return (n + multiple - 1) / multiple * multiple }
