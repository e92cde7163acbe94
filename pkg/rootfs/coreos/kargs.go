package coreos

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/bls"
)

// ownArg returns the name of an argument if every image has it exactly once, otherwise
// "".
func ownArg(word string) string {
	if strings.Contains(word, "$ignition_firstboot") || strings.Contains(word, "${ignition_firstboot}") {
		return "$ignition_firstboot"
	}
	switch name, _, _ := strings.Cut(strings.ReplaceAll(word, `"`, ""), "="); name {
	case "ostree", "ignition.platform.id":
		return name + "="
	case "ignition.firstboot":
		return name
	}
	return ""
}

// CheckArg checks an additional kernel argument. It may be several arguments,
// separated by spaces.
func CheckArg(arg string) (warnings []string, err error) {
	if strings.TrimSpace(arg) == "" || strings.ContainsAny(arg, "\n\r\x00") {
		return nil, fmt.Errorf("kernel argument %q: invalid character for the command line", arg)
	}
	if strings.Contains(arg, "$") {
		warnings = append(warnings, "GRUB replaces $NAME by its own variable of that name")
	}
	for word := range strings.FieldsSeq(arg) {
		if name := ownArg(word); name != "" {
			return nil, fmt.Errorf("kernel argument %q: %s is set by the image itself", arg, name)
		}
		switch name, _, _ := strings.Cut(word, "="); name {
		case "root", "boot":
			warnings = append(warnings, "with it the first boot keeps the file systems' UUIDs, which all machines then share")
		}
	}
	return warnings, nil
}

// args checks the kernel arguments in a file of the container. It drops arguments that
// the image itself sets.
func (c *Config) args(file string, list []string) (bls.Args, error) {
	var args bls.Args
	for _, arg := range list {
		words := strings.Fields(arg)
		if strings.Contains(arg, `"`) {
			words = []string{arg} // an argument with quotes is dropped as a whole
		}
		kept := slices.DeleteFunc(slices.Clone(words), func(word string) bool {
			for part := range strings.FieldsSeq(word) {
				if name := ownArg(part); name != "" {
					c.warn("%s: kernel argument %q was dropped: %s is set by the image itself", file, word, name)
					return true
				}
			}
			return false
		})
		if len(kept) < len(words) {
			if arg = strings.Join(kept, " "); arg == "" {
				continue
			}
		}
		if strings.Trim(arg, " \t") != "" { // an empty argument does no harm
			warnings, err := CheckArg(arg)
			if err != nil {
				return nil, err
			}
			for _, w := range warnings {
				c.warn("%s: kernel argument %q: %s", file, arg, w)
			}
		}
		args = append(args, arg)
	}
	return args, nil
}
