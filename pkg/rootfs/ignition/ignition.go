// Package ignition checks an Ignition config and puts it where a CoreOS image
// looks for one at its first boot:
//
//	/boot/ignition/             0700
//	/boot/ignition/config.ign   0600, the bytes that were given
//
// The initramfs copies it to where Ignition reads the user's config before it
// asks any platform, and the directory is removed when Ignition has completed.
// A config is as secret as what it holds, and so is an image with one inside.
//
// Several configs are merged as Ignition would. What a config refers to is not
// fetched: the system's own Ignition does that. Package butane makes configs of
// Butane's. See https://coreos.github.io/ignition/.
package ignition

import (
	"errors"
	"fmt"
	"strings"

	"github.com/coreos/ignition/v2/config"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// Path is where a config is on the boot file system.
const Path = "ignition/config.ign"

// Validate checks a config of any version that Ignition knows. What is odd
// but works is returned, one remark a string, with line and column. The error
// of a config that Ignition would refuse has all its remarks, a line each.
func Validate(text []byte) (warnings []string, err error) {
	_, report, err := config.Parse(text)
	for _, entry := range report.Entries {
		warnings = append(warnings, entry.String())
	}
	if err == nil && report.IsFatal() {
		err = errors.New("config is not valid")
	}
	if err != nil {
		return nil, fmt.Errorf("ignition: %s", strings.Join(append([]string{err.Error()}, warnings...), "\n  "))
	}
	return warnings, nil
}

// Place puts a config, as it is, into the tree of a boot file system.
func Place(boot *rootfs.Inode, text []byte) error {
	dir := rootfs.Dir(0o700)
	dir.Children["config.ign"] = rootfs.Text(0o600, string(text))
	if err := boot.Place("ignition", dir); err != nil {
		return fmt.Errorf("ignition: %w", err)
	}
	return nil
}
