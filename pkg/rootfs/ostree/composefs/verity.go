package composefs

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"io"
)

// verityDescriptor is struct fsverity_descriptor, of version 1.
type verityDescriptor struct {
	Version       uint8
	HashAlgorithm uint8 // 1 is SHA-256
	LogBlockSize  uint8
	SaltSize      uint8
	SigSize       uint32
	DataSize      uint64
	RootHash      [64]byte
	Salt          [32]byte
	_             [144]byte
}

// Digest returns the fs-verity digest of content, as the kernel measures it
// with SHA-256, blocks of 4096 bytes and no salt.
func Digest(r io.Reader) ([32]byte, error) {
	d := verityDescriptor{Version: 1, HashAlgorithm: 1, LogBlockSize: blockBits}
	var levels []*bytes.Buffer // hashes of the unfinished block of each level
	block := make([]byte, blockSize)
	for {
		n, err := io.ReadFull(r, block)
		if err == io.EOF {
			break
		}
		if err != nil && err != io.ErrUnexpectedEOF {
			return [32]byte{}, err
		}
		clear(block[n:])
		d.DataSize += uint64(n)
		levels = push(levels, 0, block)
	}
	for i := 0; i < len(levels); i++ {
		top := i == len(levels)-1
		if top && levels[i].Len() == sha256.Size {
			copy(d.RootHash[:], levels[i].Bytes())
			break
		}
		if levels[i].Len() > 0 {
			levels = pushLevel(levels, i)
		}
	}
	b := make([]byte, binary.Size(d))
	put(b, 0, &d)
	return sha256.Sum256(b), nil
}

// push adds the hash of a block to a level, and a block of hashes that becomes full
// to the level above.
func push(levels []*bytes.Buffer, i int, block []byte) []*bytes.Buffer {
	if i == len(levels) {
		levels = append(levels, &bytes.Buffer{})
	}
	sum := sha256.Sum256(block)
	levels[i].Write(sum[:])
	if levels[i].Len() == blockSize {
		return pushLevel(levels, i)
	}
	return levels
}

// pushLevel finishes the block of hashes of a level.
func pushLevel(levels []*bytes.Buffer, i int) []*bytes.Buffer {
	levels[i].Write(make([]byte, blockSize-levels[i].Len()))
	block := bytes.Clone(levels[i].Bytes())
	levels[i].Reset()
	return push(levels, i+1, block)
}
