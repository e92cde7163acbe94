package system

import (
	"strings"
	"time"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// labelOSName is coreos-assembler's label with the name of an operating system.
const labelOSName = "com.coreos.osname"

// maxTime is the latest time that every file system can store, in seconds since
// 1970. ext4 has the smallest range: 34 bits from 1901 on.
const maxTime = 1<<33 + 1<<31 - 1

// fileTime returns a time in the range that every file system can store.
func fileTime(t time.Time) rootfs.Time {
	if t.IsZero() {
		return rootfs.Time{}
	}
	return rootfs.Time{Sec: min(max(t.Unix(), 0), maxTime)}
}

// fileName turns a label of a container into a part of a file name. The result
// may be empty. It never begins with a dot or a dash.
func fileName(s string) string {
	s = strings.Map(func(r rune) rune {
		if isAlphanumeric(r) || strings.ContainsRune("._+-", r) {
			return r
		}
		return '-'
	}, s)
	return strings.TrimLeft(s[:min(len(s), 64)], ".-")
}

func isAlphanumeric(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}
