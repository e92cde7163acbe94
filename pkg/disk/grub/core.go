package grub

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"strings"
)

// prefix is the place of the configuration and modules of GRUB: partition 3 of the
// disk that it was started from.
const prefix = "(,gpt3)/grub2"

// maxCore bounds the kernel and the modules of a core image. They are unpacked to
// the address 1 MiB, so the limit is far below any memory.
const maxCore = 8 << 20

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

// area returns modules with their dependencies and the prefix, in the form that
// GRUB reads in memory.
func (s *source) area(order binary.ByteOrder, wanted ...string) []byte {
	var body []byte
	add := func(kind uint32, data []byte) {
		pad := -len(data) & 3
		body = appendStruct(body, order, moduleHeader{Type: kind, Size: uint32(8 + len(data) + pad)})
		body = append(body, data...)
		body = append(body, make([]byte, pad)...)
	}
	for _, name := range s.closure(wanted) {
		add(objectELF, s.read(path.Join(s.modules, name+".mod"), "a module that finds the boot file system"))
	}
	add(objectPrefix, []byte(prefix+"\x00"))
	const infoSize = 12
	info := appendStruct(nil, order, moduleInfo{Magic: 0x676D696D, Offset: infoSize, Size: uint32(infoSize + len(body))})
	return append(info, body...)
}

// appendStruct appends a structure of fixed size.
func appendStruct(b []byte, order binary.ByteOrder, v any) []byte {
	b, err := binary.Append(b, order, v)
	if err != nil {
		panic(err) // a structure of this package without a fixed size
	}
	return b
}

// A kernel is the kernel of GRUB in memory.
type kernel struct {
	address uint64
	bytes   []byte
	size    uint64 // with .bss, which GRUB clears itself
	align   uint64 // the largest alignment of its sections
}

// kernel reads the kernel of GRUB, which is linked to an address of a machine.
func (s *source) kernel(machine elf.Machine, address uint64) kernel {
	name := path.Join(s.modules, "kernel.img")
	file := s.read(name, "GRUB itself")
	if file == nil {
		return kernel{}
	}
	k, err := flatten(file, machine, address)
	if err != nil {
		s.errs = append(s.errs, fmt.Errorf("/%s: %w", name, err))
	}
	return k
}

// flatten lays the sections of an executable at their addresses.
func flatten(file []byte, machine elf.Machine, address uint64) (kernel, error) {
	f, err := elf.NewFile(bytes.NewReader(file))
	if err != nil {
		return kernel{}, err
	}
	if f.Class != elf.ELFCLASS32 || f.Machine != machine {
		return kernel{}, fmt.Errorf("%v for %v, want one for %v", f.Class, f.Machine, machine)
	}
	k := kernel{address: address, align: 1}
	for _, section := range f.Sections {
		if section.Flags&elf.SHF_ALLOC == 0 {
			continue
		}
		if section.Addr < address || section.Addr > address+maxCore || section.Size > address+maxCore-section.Addr {
			return kernel{}, fmt.Errorf("section %s at %#x with %d bytes is out of place", section.Name, section.Addr, section.Size)
		}
		start := section.Addr - address
		k.size = max(k.size, start+section.Size)
		k.align = max(k.align, section.Addralign)
		if section.Type != elf.SHT_PROGBITS {
			continue
		}
		data, err := section.Data()
		if err != nil {
			return kernel{}, fmt.Errorf("section %s: %w", section.Name, err)
		}
		if end := int(start) + len(data); end > len(k.bytes) {
			k.bytes = append(k.bytes, make([]byte, end-len(k.bytes))...)
		}
		copy(k.bytes[start:], data)
	}
	if len(k.bytes) == 0 {
		return kernel{}, errors.New("no sections to load")
	}
	return k, nil
}

// closure returns modules with their dependencies, which come first.
func (s *source) closure(wanted []string) []string {
	needs := map[string][]string{}
	list := s.read(path.Join(s.modules, "moddep.lst"), "which modules need which")
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
