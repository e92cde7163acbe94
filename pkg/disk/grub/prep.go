package grub

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"path"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// Where Open Firmware loads GRUB, include/grub/offsets.h: the modules stand
// behind the kernel, and GRUB looks for them there.
const (
	prepAddress   = 0x200000
	prepGap       = 0x8000
	prepAlignment = 0x1000
)

// PReP returns the core image for the Open Firmware of ppc64le, an executable
// that it loads from the PReP partition of the given size. It has two segments,
// GRUB's kernel and the modules. Open Firmware brings what reads disks.
func PReP(root *rootfs.Inode, size int64) ([]byte, error) {
	s := &source{root: root, modules: path.Join(targets, TargetPReP)}
	k := s.kernel(elf.EM_PPC, prepAddress)
	area := s.area(binary.BigEndian, "part_gpt", "ext2")
	if err := s.err("boot loader for Open Firmware"); err != nil {
		return nil, err
	}
	const headers = 52 + 2*32
	load := func(off, address, fileSize, memory int) elf.Prog32 {
		return elf.Prog32{
			Type: uint32(elf.PT_LOAD), Off: uint32(off), Vaddr: uint32(address), Paddr: uint32(address),
			Filesz: uint32(fileSize), Memsz: uint32(memory), Flags: uint32(elf.PF_R | elf.PF_W | elf.PF_X), Align: 4,
		}
	}
	h := elf.Header32{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS32), byte(elf.ELFDATA2MSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(elf.EM_PPC), Version: uint32(elf.EV_CURRENT), Entry: prepAddress,
		Phoff: 52, Ehsize: 52, Phentsize: 32, Phnum: 2, Shentsize: 40,
	}
	modulesAt := (prepAddress + int(k.size) + prepGap + prepAlignment - 1) &^ (prepAlignment - 1)
	kernelEnd := (headers + len(k.bytes) + 3) &^ 3
	b := appendStruct(nil, binary.BigEndian, h)
	b = appendStruct(b, binary.BigEndian, load(headers, prepAddress, len(k.bytes), int(k.size)))
	b = appendStruct(b, binary.BigEndian, load(kernelEnd, modulesAt, len(area), len(area)))
	b = append(b, k.bytes...)
	b = append(b, make([]byte, kernelEnd-len(b))...)
	if b = append(b, area...); int64(len(b)) > size {
		return nil, fmt.Errorf("grub: core image of %d bytes, there is room for %d", len(b), size)
	}
	return b, nil
}
