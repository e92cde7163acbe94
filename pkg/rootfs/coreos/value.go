package coreos

import "github.com/ohp-assemble/ohp-assemble/pkg/rootfs/usage"

// A SizeValue sets a Size to a number of bytes with a unit, and its By to the option. It
// implements the interface Value of the packages flag and pflag.
type SizeValue struct {
	Size *Size
	By   string // name of the option
}

// Set parses a size such as 512MiB.
func (v SizeValue) Set(text string) error {
	n, err := usage.ParseSize(text)
	if err == nil {
		*v.Size = Size{Bytes: n, By: v.By}
	}
	return err
}

// String returns the number of bytes, or nothing for zero.
func (v SizeValue) String() string {
	if v.Size == nil {
		return ""
	}
	return (*usage.Size)(&v.Size.Bytes).String()
}

// Type returns the name of the type in help texts.
func (SizeValue) Type() string { return "size" }
