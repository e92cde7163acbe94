// Package coreos reads what a container chooses about the images made from it.
//
// A CoreOS container carries its own build configuration:
//
//	usr/share/coreos-assembler/image.json       size, kernel arguments, origin
//	usr/share/coreos-assembler/platforms.json   consoles and arguments of platforms
//	usr/lib/bootc/install/*.toml                stateroot, root file system, arguments
//	usr/lib/bootc/kargs.d/*.toml                arguments
//	usr/lib/image-builder/bootc/disk.yaml       partitions, size, root file system
//
// None of it has to be there; defaults are Fedora CoreOS's. What an image
// cannot be made without is checked by [Preflight].
//
// See bootc-install-config(5) and the image.yaml of coreos-assembler.
package coreos

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/bls"
)

// What holds for a container that does not say otherwise.
const (
	DefaultStateroot = "fedora-coreos"
	DefaultSize      = 10 << 30
	DefaultBLSAppend = `grub_users=""`
	defaultKarg      = "mitigations=auto,nosmt"
)

const (
	shareDir      = "usr/share/coreos-assembler"
	imageFile     = shareDir + "/image.json"
	platformsFile = shareDir + "/platforms.json"
	kargsDir      = "usr/lib/bootc/kargs.d"
)

// installDirs are where bootc looks for install/*.toml. A file hides one of
// the same name in a directory before its own.
var installDirs = []string{"usr/lib/bootc/install", "usr/local/lib/bootc/install", "usr/etc/bootc/install", "etc/bootc/install"}

// maxFile bounds each configuration file.
const maxFile = 4 << 20

// Choices is what a container says about its images.
type Choices struct {
	Stateroot     string // name below /ostree/deploy; empty if the container does not say
	RootFS        string // type of the root file system; empty if the container does not say
	BLSAppend     string // sysroot.bls-append-except-default of the repository
	Size          int64  // bytes of a disk for a virtual machine or cloud
	Disk          *Disk  // partition table of disk.yaml; nil if there is none
	PlatformsJSON []byte // platforms.json as it is, for the boot file system; nil if there is none
	Cloud         Cloud  // settings of single platforms

	Warnings []string // parts of the configuration that have no effect on an image; each names its file

	arch        string
	installArgs bls.Args // of install/*.toml
	deletedArgs []string
	containArgs bls.Args // of kargs.d
	extraArgs   bls.Args // of image.json
	platforms   map[string]Platform
}

// ReadChoices reads the configuration in an operating system tree. The
// architecture may be named as Go does or as the kernel does.
func ReadChoices(root *rootfs.Inode, arch string) (*Choices, error) {
	c := &Choices{
		BLSAppend: DefaultBLSAppend,
		Size:      DefaultSize,
		Cloud:     defaultCloud,
		arch:      rootfs.MachineArch(arch),
		extraArgs: bls.Args{defaultKarg},
	}
	for _, read := range []func(*rootfs.Inode) error{c.readInstall, c.readKargs, c.readImage, c.readDisk, c.readPlatforms} {
		if err := read(root); err != nil {
			return nil, fmt.Errorf("coreos: %w", err)
		}
	}
	if c.Stateroot == "." || c.Stateroot == ".." || strings.ContainsAny(c.Stateroot, "/ \t\r\n\x00") {
		return nil, fmt.Errorf("coreos: stateroot %q cannot be a directory of that name", c.Stateroot)
	}
	return c, nil
}

// warn adds a warning.
func (c *Choices) warn(format string, args ...any) {
	c.Warnings = append(c.Warnings, fmt.Sprintf(format, args...))
}

// Kargs returns the kernel command line of an image for a platform. It lacks
// ostree=, whose place is before ignition.platform.id, because only a
// deployment knows it. More arguments come last.
func (c *Choices) Kargs(platform string, more []string) bls.Args {
	args := bls.Args{"rw"}.Append(c.installArgs...).Append(c.containArgs...)
	for _, arg := range c.deletedArgs {
		args = args.Delete(arg)
	}
	args = args.Append("$ignition_firstboot").Append(c.extraArgs...)
	args = args.Append("ignition.platform.id=" + platform).Append(c.Platform(platform).Kernel...)
	return args.Append(more...)
}

// Platform returns the settings of a platform: the container's if it has any,
// else the ones that Fedora CoreOS has, or the platform's documentation.
func (c *Choices) Platform(name string) Platform {
	if p, ok := c.platforms[name]; ok {
		return p
	}
	if p, ok := emerging[c.arch][name]; ok {
		return p
	}
	if c.PlatformsJSON != nil {
		return Platform{} // the container knows best which platforms need nothing
	}
	return consoles[c.arch][name]
}

// installConfig is a file of bootc/install. What a CoreOS image has no use for
// is read so that it can be told from what is unknown.
type installConfig struct {
	Install struct {
		Stateroot     *string  `toml:"stateroot"`
		RootFSType    *string  `toml:"root-fs-type"`
		Kargs         []string `toml:"kargs"`
		KargDeletes   []string `toml:"karg-deletes"`
		Architectures []string `toml:"match-architectures"`
		RootMountSpec string   `toml:"root-mount-spec"`
		BootMountSpec string   `toml:"boot-mount-spec"`
		Bootloader    string   `toml:"bootloader"`
		Discoverable  bool     `toml:"discoverable-partitions"`
		Block         []string `toml:"block"`
		Filesystem    struct {
			Root struct {
				Type *string `toml:"type"`
			} `toml:"root"`
		} `toml:"filesystem"`
		Ostree struct {
			BLSAppend *string `toml:"bls-append-except-default"`
		} `toml:"ostree"`
		Bootupd struct {
			SkipBootUUID *bool `toml:"skip-boot-uuid"`
		} `toml:"bootupd"`
	} `toml:"install"`
}

func (c *Choices) readInstall(root *rootfs.Inode) error {
	files := map[string]string{}
	for _, dir := range installDirs {
		for _, name := range tomlFiles(root, dir) {
			files[name] = path.Join(dir, name)
		}
	}
	for _, base := range slices.Sorted(maps.Keys(files)) {
		var f installConfig
		if err := readTOML(root, files[base], &f); err != nil {
			return err
		}
		if !c.fits(f.Install.Architectures) {
			continue
		}
		if err := c.merge(f); err != nil {
			return fmt.Errorf("%s: %w", files[base], err)
		}
	}
	return nil
}

func (c *Choices) merge(f installConfig) error {
	in := f.Install
	switch {
	case in.RootMountSpec != "" || in.BootMountSpec != "":
		return errors.New("root-mount-spec and boot-mount-spec must be empty: CoreOS finds its file systems by label")
	case in.Bootloader != "" && in.Bootloader != "grub":
		return fmt.Errorf("bootloader %q is not supported, only grub is", in.Bootloader)
	case in.Discoverable:
		return errors.New("discoverable-partitions is not supported: CoreOS finds its file systems by label")
	}
	set(&c.Stateroot, in.Stateroot)
	set(&c.RootFS, in.RootFSType)
	set(&c.RootFS, in.Filesystem.Root.Type) // the newer name of the same
	set(&c.BLSAppend, in.Ostree.BLSAppend)
	c.installArgs = c.installArgs.Append(in.Kargs...)
	c.deletedArgs = append(c.deletedArgs, in.KargDeletes...)
	if strings.ContainsAny(c.BLSAppend, "\r\n") {
		return fmt.Errorf("bls-append-except-default %q is more than a line", c.BLSAppend)
	}
	return nil
}

func set(field *string, value *string) {
	if value != nil {
		*field = *value
	}
}

// kargsConfig is a file of bootc/kargs.d.
type kargsConfig struct {
	Kargs         []string `toml:"kargs"`
	Architectures []string `toml:"match-architectures"`
}

func (c *Choices) readKargs(root *rootfs.Inode) error {
	for _, base := range tomlFiles(root, kargsDir) {
		var f kargsConfig
		if err := readTOML(root, path.Join(kargsDir, base), &f); err != nil {
			return err
		}
		if c.fits(f.Architectures) {
			c.containArgs = c.containArgs.Append(f.Kargs...)
		}
	}
	return nil
}

// fits reports whether a file for some architectures, nil for all, is for this.
func (c *Choices) fits(architectures []string) bool {
	return architectures == nil || slices.Contains(architectures, c.arch)
}

// imageConfig is the part of image.json that is about disk images.
type imageConfig struct {
	Size   *int64   `json:"size"` // GiB
	Kargs  []string `json:"extra-kargs"`
	OSName string   `json:"osname"`
	RootFS string   `json:"rootfs"`
	Cloud
}

func (c *Choices) readImage(root *rootfs.Inode) error {
	text, err := readFile(root, imageFile)
	if text == nil || err != nil {
		return err
	}
	f := imageConfig{Cloud: c.Cloud}
	if err := json.Unmarshal(text, &f); err != nil {
		return fmt.Errorf("%s: %w", imageFile, err)
	}
	c.Cloud = f.Cloud
	if f.Size != nil {
		if *f.Size < 1 || *f.Size > 1<<20 {
			return fmt.Errorf("%s: size of %d GiB", imageFile, *f.Size)
		}
		c.Size = *f.Size << 30
	}
	c.extraArgs = f.Kargs
	// What bootc is told is newer than what coreos-assembler is told.
	if c.Stateroot == "" {
		c.Stateroot = f.OSName
	}
	if c.RootFS == "" {
		c.RootFS = f.RootFS
	}
	return nil
}

func (c *Choices) readPlatforms(root *rootfs.Inode) error {
	text, err := readFile(root, platformsFile)
	if text == nil || err != nil {
		return err
	}
	if err := json.Unmarshal(text, &c.platforms); err != nil {
		return fmt.Errorf("%s: %w", platformsFile, err)
	}
	c.PlatformsJSON = text
	return nil
}

// tomlFiles returns the names of the configuration files in a directory.
func tomlFiles(root *rootfs.Inode, dir string) []string {
	n := root.Resolve(dir)
	if n == nil || !n.IsDir() {
		return nil
	}
	return slices.DeleteFunc(n.Names(), func(name string) bool {
		return !strings.HasSuffix(name, ".toml") || strings.HasPrefix(name, ".")
	})
}

// readTOML reads a file that has no key but those of v.
func readTOML(root *rootfs.Inode, name string, v any) error {
	text, err := readFile(root, name)
	if err != nil {
		return err
	}
	if err := decodeTOML(text, v); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// readFile returns nil for a file that does not exist.
func readFile(root *rootfs.Inode, name string) ([]byte, error) {
	n := root.Resolve(name)
	if n == nil {
		return nil, nil
	}
	if !n.IsFile() {
		return nil, fmt.Errorf("%s: not a regular file", name)
	}
	text, err := rootfs.ReadAll(n.Content, maxFile)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if text == nil {
		text = []byte{}
	}
	return text, nil
}
