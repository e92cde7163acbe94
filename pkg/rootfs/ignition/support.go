package ignition

import (
	"debug/buildinfo"
	"fmt"
	"regexp"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/packages"
)

// dracutModule is the dracut module that puts Ignition into an initramfs.
const dracutModule = "usr/lib/dracut/modules.d/30ignition"

// Warnings returns the reasons why the Ignition of an operating system will not
// read a valid config.
func Warnings(root *rootfs.Inode, config []byte) []string {
	if root.Resolve(dracutModule) == nil {
		return []string{"no Ignition in the container (/" + dracutModule + "): its initramfs will not read the config"}
	}
	release, err := Release(root)
	if err != nil {
		return []string{fmt.Sprintf("%v: the version of Ignition in the container is unknown, and may be too old for the config", err)}
	}
	reads, ok := Reads(release)
	if version := Newest(config); ok && reads.LessThan(version) {
		return []string{fmt.Sprintf("the config has version %s, but Ignition %s in the container reads versions up to %s: the first boot will fail", version, release, reads)}
	}
	return nil
}

var linkedVersion = regexp.MustCompile(`/internal/version\.Raw=([^\s"']+)`)

// Release returns the version of Ignition in an operating system, from its package
// or else from the program. It returns "" if neither has one. The error is about a
// database of packages that cannot be read, if the program has no version.
func Release(root *rootfs.Inode) (string, error) {
	installed, unread := packages.Read(root)
	for _, p := range installed {
		if p.Name == "ignition" {
			return p.Version, nil
		}
	}
	program := root.Resolve(dracutModule + "/ignition")
	if program == nil || !program.IsFile() || program.Content == nil {
		return "", unread
	}
	info, err := buildinfo.Read(program.Content)
	if err != nil || !strings.HasPrefix(info.Path, "github.com/coreos/ignition/v2/") {
		return "", unread
	}
	for _, s := range info.Settings {
		if m := linkedVersion.FindStringSubmatch(s.Value); s.Key == "-ldflags" && m != nil {
			return m[1], nil
		}
	}
	return info.Main.Version, nil
}
