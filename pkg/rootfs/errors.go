package rootfs

import (
	"fmt"
	"strings"
	"unicode"
)

// An InodeError is an error about one inode of a tree.
type InodeError struct {
	Path  string // of the inode, the first one that was met
	Inode *Inode
	Err   error
}

func (e *InodeError) Error() string {
	if strings.ContainsFunc(e.Path, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Sprintf("%q: %v", e.Path, e.Err)
	}
	return e.Path + ": " + e.Err.Error()
}

func (e *InodeError) Unwrap() error { return e.Err }

// A ContentError is an error of reading content.
type ContentError struct {
	Blob Blob
	Off  int64 // of the content in the disk or file system
	Err  error
}

func (e *ContentError) Error() string { return fmt.Sprintf("content at %d: %v", e.Off, e.Err) }

func (e *ContentError) Unwrap() error { return e.Err }
