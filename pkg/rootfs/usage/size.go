package usage

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// A Size is a positive number of bytes that a person writes with a binary unit:
// 10GiB, 512M, 1073741824. It is zero until it is set.
type Size int64

// sizeUnits has no GB, because manufacturers of disks use it for another size.
var sizeUnits = map[string]int{"": 0, "K": 10, "M": 20, "G": 30, "T": 40, "KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40}

// Set parses a size.
func (s *Size) Set(text string) error {
	n, err := ParseSize(text)
	if err == nil {
		*s = Size(n)
	}
	return err
}

// String returns the number of bytes, or nothing for zero.
func (s *Size) String() string {
	if s == nil || *s == 0 {
		return ""
	}
	return strconv.FormatInt(int64(*s), 10)
}

// Type returns the name of the type in help texts.
func (*Size) Type() string { return "size" }

// ParseSize returns the number of bytes of a size.
func ParseSize(s string) (int64, error) {
	digits := strings.TrimRight(s, "KMGTiB")
	n, err := strconv.ParseInt(digits, 10, 64)
	if n < 0 {
		return 0, fmt.Errorf("%s: a size is not negative", s)
	}
	if n <= 0 || fmt.Sprint(n) != digits && !errors.Is(err, strconv.ErrRange) {
		return 0, fmt.Errorf("size %q: want a whole number, no fraction, with KiB, MiB, GiB or TiB: 1536MiB", s)
	}
	shift, ok := sizeUnits[s[len(digits):]]
	if !ok {
		return 0, fmt.Errorf("size %q: invalid unit %q, must be KiB, MiB, GiB or TiB", s, s[len(digits):])
	}
	if n > 1<<62>>shift {
		return 0, fmt.Errorf("size %q: too large, at most 4194304TiB", s)
	}
	return n << shift, nil
}
