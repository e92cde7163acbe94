package raw

import (
	"io/fs"
	"syscall"
)

// Allocated returns the number of bytes that a file takes on its disk, without holes.
func Allocated(info fs.FileInfo) int64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Blocks * 512
	}
	return info.Size()
}
