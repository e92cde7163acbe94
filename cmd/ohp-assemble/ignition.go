package main

import (
	"debug/buildinfo"
	"fmt"
	"regexp"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ignition"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/packages"
)

// ignitionModule is the dracut module that puts Ignition into an initramfs.
const ignitionModule = "usr/lib/dracut/modules.d/30ignition"

// ignitionWarnings returns the reasons why the container's Ignition will not read a
// config.
func ignitionWarnings(root *rootfs.Inode, config []byte) []string {
	if root.Resolve(ignitionModule) == nil {
		return []string{"no Ignition in the container (/" + ignitionModule + "): its initramfs will not read the config"}
	}
	release := ignitionRelease(root)
	reads, ok := ignition.Reads(release)
	if version := ignition.Newest(config); ok && reads.LessThan(version) {
		return []string{fmt.Sprintf("the config has version %s, but Ignition %s in the container reads versions up to %s: the first boot will fail", version, release, reads)}
	}
	return nil
}

var ignitionVersion = regexp.MustCompile(`/internal/version\.Raw=([^\s"']+)`)

// ignitionRelease returns the version of Ignition in the container, as its
// package or else the program says it, or "" if neither does.
func ignitionRelease(root *rootfs.Inode) string {
	installed, _ := packages.Read(root) // a damaged database is no concern here
	for _, p := range installed {
		if p.Name == "ignition" {
			return p.Version
		}
	}
	program := root.Resolve(ignitionModule + "/ignition")
	if program == nil || !program.IsFile() || program.Content == nil {
		return ""
	}
	info, err := buildinfo.Read(program.Content)
	if err != nil || !strings.HasPrefix(info.Path, "github.com/coreos/ignition/v2/") {
		return ""
	}
	for _, s := range info.Settings {
		if m := ignitionVersion.FindStringSubmatch(s.Value); s.Key == "-ldflags" && m != nil {
			return m[1]
		}
	}
	return info.Main.Version
}
