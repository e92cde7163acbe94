// Package coreos reads a container's own configuration of the images made from it.
//
// A CoreOS container carries its own build configuration:
//
//	usr/share/coreos-assembler/image.json       size, kernel arguments, origin
//	usr/share/coreos-assembler/platforms.json   consoles and arguments of platforms
//	usr/lib/bootc/install/*.toml                stateroot, root file system, arguments
//	usr/lib/bootc/kargs.d/*.toml                arguments
//	usr/lib/image-builder/bootc/disk.yaml       partitions, size, root file system
//	usr/lib/repart.d/*.conf                     sizes of partitions
//
// Sizes of partitions come from the first of repart.d and disk.yaml that has
// one, the size of the disk from the first of disk.yaml and image.json. (bootc's
// install configuration has no key for a size.)
//
// All files are optional; the defaults are those of Fedora CoreOS. A key without
// effect on an image is at most a warning, see foreign.go. A file with invalid syntax is
// an error. [Preflight] checks the files that every image needs.
//
// See bootc-install-config(5) and the image.yaml of coreos-assembler.
package coreos

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/bls"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/usage"
)

// Defaults for a container without a configuration of its own.
const (
	DefaultStateroot = "fedora-coreos"
	DefaultSize      = 10 << 30
	DefaultESPSize   = 127 << 20
	DefaultBootSize  = 384 << 20
	DefaultBLSAppend = `grub_users=""`
	defaultKarg      = "mitigations=auto,nosmt"
)

const (
	shareDir      = "usr/share/coreos-assembler"
	imageFile     = shareDir + "/image.json"
	platformsFile = shareDir + "/platforms.json"
	kargsDir      = "usr/lib/bootc/kargs.d"
	boundDir      = "usr/lib/bootc/bound-images.d"
)

// isoFiles are beside [diskFiles].
var isoFiles = []string{"usr/lib/image-builder/bootc/iso.yaml", "usr/lib/bootc-image-builder/iso.yaml"}

// installDirs are the directories of bootc's install/*.toml. A file hides files of the
// same name in earlier directories.
var installDirs = []string{"usr/lib/bootc/install", "usr/local/lib/bootc/install", "usr/etc/bootc/install", "etc/bootc/install"}

// maxFile is the largest size of a configuration file.
const maxFile = 4 << 20

// Config is a container's configuration of its images.
type Config struct {
	Stateroot     string // name below /ostree/deploy; empty if the container does not say
	RootFS        string // type of the root file system; empty if the container does not say
	BLSAppend     string // sysroot.bls-append-except-default of the repository
	Size          int64  // bytes of a disk for a virtual machine or cloud
	SizeBy        string // file that chose Size; empty for none
	ESP           Size   // of the EFI system partition
	Boot          Size   // of the boot partition
	Root          Size   // that the root partition has at least
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

// ReadConfig reads the configuration in an operating system tree. The
// architecture may be named as Go does or as the kernel does.
func ReadConfig(root *rootfs.Inode, arch string) (*Config, error) {
	c := &Config{
		BLSAppend: DefaultBLSAppend,
		Size:      DefaultSize,
		Cloud:     defaultCloud,
		arch:      rootfs.MachineArch(arch),
		extraArgs: bls.Args{defaultKarg},
	}
	root = Running(root)
	for _, read := range []func(*rootfs.Inode) error{
		c.readInstall, c.readKargs, c.readImage, c.readDisk, c.readRepart, c.readPlatforms, c.readISO, c.readBound, c.readRelease,
	} {
		if err := read(root); err != nil {
			return nil, fmt.Errorf("coreos: %w", err)
		}
	}
	if c.Stateroot == "." || c.Stateroot == ".." || strings.ContainsAny(c.Stateroot, "/ \t\r\n\x00") {
		return nil, fmt.Errorf("coreos: invalid stateroot %q, must be the name of a directory", c.Stateroot)
	}
	return c, nil
}

// maxWarnings is the largest number of warnings about a container.
const maxWarnings = 200

// warn adds a warning.
func (c *Config) warn(format string, args ...any) {
	switch n := len(c.Warnings); {
	case n < maxWarnings-1:
		c.Warnings = append(c.Warnings, fmt.Sprintf(format, args...))
	case n < maxWarnings:
		c.Warnings = append(c.Warnings, "there are more warnings about the container's configuration")
	}
}

// Kargs returns the kernel command line of an image for a platform. The arguments in
// more come last. The caller must insert ostree= before ignition.platform.id, because
// its value depends on the deployment.
func (c *Config) Kargs(platform string, more []string) bls.Args {
	args := c.installArgs.Append(c.containArgs...)
	if _, ok := bls.ParseArgs(args.Append(c.extraArgs...).String()).Get("rw"); !ok {
		args = bls.Args{"rw"}.Append(args...)
	}
	for _, arg := range c.deletedArgs {
		args = args.Delete(arg)
	}
	args = args.Append("$ignition_firstboot").Append(c.extraArgs...)
	args = args.Append("ignition.platform.id=" + platform).Append(c.Platform(platform).Kernel...)
	return args.Append(more...)
}

// Platform returns the settings of a platform: the container's if it has any,
// else the ones that Fedora CoreOS has, or the platform's documentation.
func (c *Config) Platform(name string) Platform {
	if p, ok := c.platforms[name]; ok {
		return p
	}
	if p, ok := emerging[c.arch][name]; ok {
		return p
	}
	if c.PlatformsJSON != nil {
		return Platform{} // a platform that is not in platforms.json needs no settings
	}
	return consoles[c.arch][name]
}

// installConfig is the part of a file of bootc/install that is used.
type installConfig struct {
	Install struct {
		Stateroot     *string  `toml:"stateroot"`
		RootFSType    *string  `toml:"root-fs-type"`
		Kargs         []string `toml:"kargs"`
		KargDeletes   []string `toml:"karg-deletes"`
		Architectures []string `toml:"match-architectures"`
		Filesystem    struct {
			Root struct {
				Type *string `toml:"type"`
			} `toml:"root"`
		} `toml:"filesystem"`
		Ostree struct {
			BLSAppend *string `toml:"bls-append-except-default"`
		} `toml:"ostree"`
	} `toml:"install"`
}

func (c *Config) readInstall(root *rootfs.Inode) error {
	files := map[string]string{}
	for _, dir := range installDirs {
		if local := "usr/local"; strings.HasPrefix(dir, local+"/") && root.Resolve(local) == nil {
			continue // a link into /var, which is empty
		}
		names, err := tomlFiles(root, dir)
		if err != nil {
			return err
		}
		for _, name := range names {
			if !strings.HasPrefix(name, ".") {
				files[name] = path.Join(dir, name)
			}
		}
	}
	for _, base := range slices.Sorted(maps.Keys(files)) {
		var f installConfig
		keys, err := readTOML(root, files[base], &f)
		if err != nil {
			return err
		}
		if !c.fits(files[base], f.Install.Architectures) {
			continue
		}
		c.checkKeys(files[base], installKeys, keys)
		if err := c.merge(files[base], f); err != nil {
			return fmt.Errorf("%s: %w", files[base], err)
		}
	}
	return nil
}

func (c *Config) merge(file string, f installConfig) (err error) {
	in := f.Install
	set(&c.Stateroot, in.Stateroot)
	set(&c.RootFS, in.RootFSType)
	set(&c.RootFS, in.Filesystem.Root.Type) // the newer name of the key
	set(&c.BLSAppend, in.Ostree.BLSAppend)
	if strings.ContainsAny(c.BLSAppend, "\r\n") {
		return fmt.Errorf("invalid bls-append-except-default %q, must be one line", c.BLSAppend)
	}
	for _, arg := range in.KargDeletes {
		if name := ownArg(arg); name != "" {
			c.warn("%s: kernel argument %s is set by the image itself and is not deleted", file, name)
		}
	}
	c.deletedArgs = append(c.deletedArgs, in.KargDeletes...)
	more, err := c.args(file, in.Kargs)
	c.installArgs = c.installArgs.Append(more...)
	return err
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

func (c *Config) readKargs(root *rootfs.Inode) error {
	names, err := tomlFiles(root, kargsDir)
	if err != nil {
		return err
	}
	for _, base := range names {
		var f kargsConfig
		name := path.Join(kargsDir, base)
		keys, err := readTOML(root, name, &f)
		if err != nil {
			return err
		}
		if !c.fits(name, f.Architectures) {
			continue
		}
		c.checkKeys(name, kargsKeys, keys)
		more, err := c.args(name, f.Kargs)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		c.containArgs = c.containArgs.Append(more...)
	}
	return nil
}

// bootcMachines are the architectures in bootc's files, which are those of Rust. The
// kernel's name of powerpc64 is ppc64le.
var bootcMachines = []string{"aarch64", "loongarch64", "powerpc64", "riscv64", "s390x", "x86_64"}

// fits reports whether a file of bootc applies to the architecture. nil means all.
func (c *Config) fits(file string, architectures []string) bool {
	for _, name := range architectures {
		if !slices.Contains(bootcMachines, name) {
			c.warn("%s: match-architectures: bootc has no architecture %s, want %s", file, keyPart(name), usage.Or(bootcMachines...))
		}
	}
	return architectures == nil || slices.Contains(architectures, c.arch) ||
		c.arch == "ppc64le" && slices.Contains(architectures, "powerpc64")
}

// imageConfig is the part of image.json that is about disk images.
type imageConfig struct {
	Size   *int64   `json:"size"` // GiB
	Kargs  []string `json:"extra-kargs"`
	OSName string   `json:"osname"`
	RootFS string   `json:"rootfs"`
	Cloud
}

func (c *Config) readImage(root *rootfs.Inode) error {
	text, err := readFile(root, imageFile)
	if text == nil || err != nil {
		return err
	}
	f := imageConfig{Cloud: c.Cloud}
	keys, err := decodeJSON(text, &f)
	if err != nil {
		return fmt.Errorf("%s: %w", imageFile, err)
	}
	c.checkKeys(imageFile, imageKeys, keys)
	c.Cloud = f.Cloud
	if f.Size != nil {
		if *f.Size < 1 || *f.Size > 1<<20 {
			return fmt.Errorf("%s: size of %d GiB, must be 1 to %d", imageFile, *f.Size, 1<<20)
		}
		c.Size, c.SizeBy = *f.Size<<30, imageFile
	}
	if c.extraArgs, err = c.args(imageFile, f.Kargs); err != nil {
		return fmt.Errorf("%s: %w", imageFile, err)
	}
	// The configuration of bootc is newer than that of coreos-assembler.
	if c.Stateroot == "" {
		c.Stateroot = f.OSName
	}
	if c.RootFS == "" {
		c.RootFS = f.RootFS
	}
	return nil
}

// machines are the architectures that platforms.json may have platforms of.
var machines = []string{"aarch64", "ppc64le", "riscv64", "s390x", "x86_64"}

// readPlatforms reads platforms.json. coreos-assembler writes the platforms of
// one architecture there. The source of the file, platforms.yaml, has a level
// of architectures above, which is accepted too. The boot file system then gets
// the part of this architecture, which coreos-installer understands.
func (c *Config) readPlatforms(root *rootfs.Inode) error {
	text, err := readFile(root, platformsFile)
	if text == nil || err != nil {
		return err
	}
	var parts map[string]json.RawMessage
	if _, err := decodeJSON(text, &parts); err != nil {
		return fmt.Errorf("%s: %w", platformsFile, err)
	}
	others := slices.DeleteFunc(slices.Sorted(maps.Keys(parts)), func(name string) bool { return slices.Contains(machines, name) })
	if own, ok := parts[c.arch]; ok || len(parts) > 0 && len(others) == 0 {
		for _, name := range others {
			c.warn("%s: unknown key %s beside those of architectures, which has no effect on an image", platformsFile, keyPart(name))
		}
		if text, parts = own, nil; text != nil {
			if _, err := decodeJSON(text, &parts); err != nil {
				return fmt.Errorf("%s: %s: %w", platformsFile, c.arch, err)
			}
		}
	}
	if text == nil || string(bytes.TrimSpace(text)) == "null" {
		text = []byte("{}\n")
	}
	c.platforms = map[string]Platform{}
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		part := bytes.TrimSpace(parts[name])
		if !bytes.HasPrefix(part, []byte("{")) && string(part) != "null" {
			c.warn("%s: unknown key %s, which is no platform and has no effect on an image", platformsFile, keyPart(name))
			continue
		}
		var p Platform
		keys, err := decodeJSON(part, &p)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", platformsFile, name, err)
		}
		c.checkKeys(platformsFile, platformKeys, map[string]any{name: keys})
		if p.Kernel, err = c.args(platformsFile+": "+name, p.Kernel); err != nil {
			return fmt.Errorf("%s: %s: %w", platformsFile, name, err)
		}
		c.platforms[name] = p
	}
	c.PlatformsJSON = text
	return nil
}

// readISO checks a file that is for live media only. Its errors are warnings.
func (c *Config) readISO(root *rootfs.Inode) error {
	for _, name := range isoFiles {
		text, err := readFile(root, name)
		if text == nil && err == nil {
			continue
		}
		var keys any
		if err == nil {
			if keys, err = decodeYAML(text, new(any)); err != nil {
				err = fmt.Errorf("%s: %w", name, err)
			}
		}
		if err != nil {
			c.warn("%v; only live media need the file", err)
		}
		c.checkKeys(name, isoKeys, keys)
		return nil
	}
	return nil
}

// readBound warns about the images that bootc would pull during an installation.
func (c *Config) readBound(root *rootfs.Inode) error {
	const what = "bootc install would pull these images, the disk does not have them"
	dir, err := findDir(root, boundDir)
	if err != nil {
		c.warn("%v: the directory of bound images; %s", err, what)
	}
	if dir == nil || len(dir.Children) == 0 {
		return nil
	}
	const most = 10
	names := dir.Names()
	list := names[:min(len(names), most)]
	for i, name := range list {
		text, err := readFile(root, path.Join(boundDir, name))
		if err != nil {
			c.warn("%v: a bound image", err)
		}
		image := cmp.Or(Setting(string(text), "Image", "Image"), Setting(string(text), "Container", "Image"), name)
		list[i] = image[:min(len(image), 200)]
	}
	if more := len(names) - most; more > 0 {
		list = append(list, fmt.Sprintf("%d more", more))
	}
	c.warn("%s: bound images (%s): %s", boundDir, strings.Join(list, ", "), what)
	return nil
}

// readRelease checks the text that becomes the title of the boot entry.
func (c *Config) readRelease(root *rootfs.Inode) error {
	for _, name := range releaseFiles {
		text, err := root.ReadFile(name, maxFile)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil && !utf8.Valid(text) {
			err = fmt.Errorf("%s: not UTF-8", name)
		}
		if err != nil {
			c.warn("%v: the title of the boot entry", err)
		}
		return nil
	}
	return nil
}

// tomlFiles returns the names of the TOML files in a directory. bootc reads hidden files
// of kargs.d, but not those of install. To bootc, a file of the name .toml has no suffix.
func tomlFiles(root *rootfs.Inode, dir string) ([]string, error) {
	n, err := findDir(root, dir)
	if n == nil || err != nil {
		return nil, err
	}
	return slices.DeleteFunc(n.Names(), func(name string) bool {
		return !strings.HasSuffix(name, ".toml") || name == ".toml"
	}), nil
}

// readTOML reads a file into v and returns all of its keys.
func readTOML(root *rootfs.Inode, name string, v any) (keys map[string]any, err error) {
	text, err := readFile(root, name)
	if err != nil {
		return nil, err
	}
	if keys, err = decodeTOML(text, v); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return keys, nil
}

// readFile reads a file. It returns nil if the file does not exist or is a link to
// /dev/null, which masks it.
func readFile(root *rootfs.Inode, name string) ([]byte, error) {
	if n := root.Lookup(name); n != nil && n.IsLink() && path.Clean(n.Target) == "/dev/null" {
		return nil, nil
	}
	text, err := root.ReadFile(name, maxFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case !utf8.Valid(text):
		return nil, fmt.Errorf("%s: not UTF-8", name)
	}
	return text, nil
}

// findDir returns a directory, or nil if it does not exist.
func findDir(root *rootfs.Inode, name string) (*rootfs.Inode, error) {
	dir, err := root.FindDir(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return dir, err
}

// Running returns a tree as the running system sees it: /etc is the copy of
// usr/etc, and relative links in it start there.
func Running(root *rootfs.Inode) *rootfs.Inode {
	usr := root.Children["usr"]
	if etc := root.Children["etc"]; usr == nil || usr.Children["etc"] == nil || etc != nil && len(etc.Children) > 0 {
		return root
	}
	top, below := *root, *usr
	top.Children, below.Children = maps.Clone(root.Children), maps.Clone(usr.Children)
	top.Children["usr"], top.Children["etc"] = &below, usr.Children["etc"]
	below.Children["etc"] = rootfs.Link("/etc")
	return &top
}
