// Package ignition checks Ignition configs and embeds them in images, at the
// place that is read at the first boot:
//
//	/boot/ignition/             0700
//	/boot/ignition/config.ign   0600, the bytes that were given
//
// The initramfs copies it to where Ignition reads the user's config before it
// asks any platform, and the directory is removed when Ignition has completed.
// A config is as secret as its content, and so is an image with a config inside.
//
// Versions 3.0.0 to 3.6.0 are read; experimental ones are not, as a release of
// Ignition reads only its own. Several configs are merged as Ignition would.
// Files that a config refers to are not fetched: the system's own Ignition does that.
// Package butane makes configs of Butane's. See https://coreos.github.io/ignition/.
package ignition

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/coreos/ignition/v2/config/v3_6_experimental/types"
	"github.com/coreos/vcontext/report"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ignition/v3_6"
)

// Path is where a config is on the boot file system.
const Path = "ignition/config.ign"

// maxRemarks is how many remarks an error has.
const maxRemarks = 100

// Parse reads a config of any version that Ignition knows and brings it up to
// the newest one. The report has errors and warnings in the order of the text.
func Parse(text []byte) (types.Config, report.Report, error) {
	if err := checkSize(text); err != nil {
		return types.Config{}, report.Report{}, err
	}
	config, r, err := v3_6.ParseCompatibleVersion(text)
	if unknown := explainVersion(text, err); unknown != nil {
		r = *unknown
	}
	// The library goes through the keys of an object in random order.
	slices.SortStableFunc(r.Entries, func(a, b report.Entry) int {
		aLine, aColumn := a.Marker.Start()
		bLine, bColumn := b.Marker.Start()
		return cmp.Or(cmp.Compare(aLine, bLine), cmp.Compare(aColumn, bColumn))
	})
	if err == nil && r.IsFatal() {
		err = errors.New("config is not valid")
	}
	return config, r, err
}

// Validate checks a config of any version that Ignition knows. It returns a warning,
// with line and column, for everything unusual that works. The error of a config
// that Ignition would reject has all remarks, one a line.
func Validate(text []byte) (warnings []string, err error) {
	_, r, err := Parse(text)
	for _, entry := range r.Entries {
		if err != nil && len(warnings) == maxRemarks {
			warnings = append(warnings, fmt.Sprintf("and %d more", len(r.Entries)-maxRemarks))
			break
		}
		warnings = append(warnings, entry.String())
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
