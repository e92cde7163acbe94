package ext4

import (
	"encoding/binary"
	"fmt"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

const (
	journalMagic   = 0xC03B3998
	journalSuperV2 = 4
	minJournal     = 1024 // blocks, JBD2_MIN_JOURNAL_BLOCKS
)

// journalBlocks returns the length of the journal, 0 for none.
func (o Options) journalBlocks(g *geometry) (uint64, error) {
	switch {
	case o.JournalSize < 0:
		return 0, nil
	case o.JournalSize == 0:
		return defaultJournal(g.blocks), nil
	}
	n := uint64(o.JournalSize) / g.block
	if n < minJournal {
		return 0, fmt.Errorf("journal of %s, at least %d blocks of %d are needed", rootfs.Bytes(o.JournalSize), minJournal, g.block)
	}
	return n, nil
}

// defaultJournal returns the choice of mke2fs for a file system of some blocks.
func defaultJournal(blocks uint64) uint64 {
	for _, step := range []struct{ below, journal uint64 }{
		{2048, 0},
		{32768, 1024},
		{256 * 1024, 4096},
		{512 * 1024, 8192},
		{4096 * 1024, 16384},
		{8192 * 1024, 32768},
		{16384 * 1024, 65536},
		{32768 * 1024, 131072},
	} {
		if blocks < step.below {
			return step.journal
		}
	}
	return 262144
}

// encodeJournal returns the superblock of an empty journal.
// The kernel turns on its features at the first writable mount.
func encodeJournal(block, blocks uint64, uuid [16]byte) []byte {
	out := make([]byte, block)
	super := journalSuper{
		Magic:         journalMagic,
		BlockType:     journalSuperV2,
		BlockSize:     uint32(block),
		MaxLen:        uint32(blocks),
		First:         1,
		FirstSequence: 1,
		UUID:          uuid,
		NrUsers:       1,
	}
	if _, err := binary.Encode(out, binary.BigEndian, super); err != nil {
		panic("ext4: " + err.Error()) // a block is longer
	}
	return out
}
