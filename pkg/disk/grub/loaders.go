package grub

import (
	"cmp"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// shim is the component between the firmware and the boot loader.
const shim = "shim"

// bootLoaders are alternatives: bootupd installs one of them, the first that the
// tree has. All other components are installed too.
var bootLoaders = []struct {
	component string
	names     []string // in EFI.json, in lower case and without hyphens
}{
	{"grub2", []string{"grub", "grub2"}},
	{"grub-cc", []string{"grubcc"}},
	{"systemd-boot", []string{"systemd", "systemdboot"}},
}

// grub2 is the only boot loader that can start the system on the disk: it reads
// grub.cfg, and boot entries from ext4.
var grub2 = bootLoaders[0].component

// Loaders are the components that a tree installs to the EFI system partition.
type Loaders struct {
	Name      string      `json:"name,omitempty"` // component of the boot loader; empty if none is known
	ChosenBy  string      `json:"chosen_by"`      // container or default
	Installed []Component `json:"installed,omitempty"`
	Ignored   []Component `json:"ignored,omitempty"` // other boot loaders
	Warnings  []string    `json:"-"`
}

// A Component is a package with files for EFI, in
// usr/lib/efi/<name>/<version>/EFI. Trees before Fedora 44 do not divide them.
type Component struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

func (c Component) String() string { return c.Name + " " + c.Version }

func (c Component) dir() string { return path.Join(efiByName, c.Name, c.Version, "EFI") }

// ReadLoaders chooses the boot loader of a tree: the default of EFI.json, or else
// the first of the alternatives. It returns nil for a tree without files for EFI.
func ReadLoaders(root *rootfs.Inode) *Loaders {
	s := &source{root: root}
	if root.Lookup(efiByName) == nil && !s.isDir(path.Join(updates, "EFI")) {
		return nil
	}
	l := &Loaders{Name: grub2, ChosenBy: "default"}
	all := s.components(l)
	has := func(name string) bool {
		return slices.ContainsFunc(all, func(c Component) bool { return c.Name == name })
	}
	if len(all) > 0 {
		l.Name = ""
		for _, b := range slices.Backward(bootLoaders) {
			if has(b.component) {
				l.Name = b.component
			}
		}
	}
	switch want, err := s.defaultLoader(); {
	case err != nil:
		l.warn("/%s/EFI.json: %v", updates, err)
	case want != "" && (want == l.Name || has(want)):
		l.Name, l.ChosenBy = want, "container"
	case want != "":
		l.warn("/%s/EFI.json: the default boot loader is %s, but /%s/%s/<version>/EFI has no files", updates, want, efiByName, want)
	}
	for _, c := range all {
		if c.Name != l.Name && isBootLoader(c.Name) {
			l.Ignored = append(l.Ignored, c)
		} else {
			l.Installed = append(l.Installed, c)
		}
	}
	switch {
	case l.Name != grub2 && isBootLoader(l.Name):
		l.warn("boot loader %s: it does not read grub.cfg and may not read the boot partition, which is ext4; UEFI may not start the system", l.Name)
	case len(all) > 0 && !slices.ContainsFunc(all, func(c Component) bool { return c.Name != shim }):
		l.warn("/%s has files of shim only, without a boot loader: UEFI will not start the system", efiByName)
	}
	return l
}

// String describes the choice to a person.
func (l *Loaders) String() string {
	s := fmt.Sprintf("%s, chosen by %s", cmp.Or(l.Name, "unknown"), l.ChosenBy)
	for _, list := range []struct {
		name       string
		components []Component
	}{{"installed", l.Installed}, {"ignored", l.Ignored}} {
		for i, c := range list.components {
			if i == 0 {
				s += "; " + list.name + " " + c.String()
			} else {
				s += ", " + c.String()
			}
		}
	}
	return s
}

func (l *Loaders) warn(format string, args ...any) {
	l.Warnings = append(l.Warnings, fmt.Sprintf(format, args...))
}

func isBootLoader(component string) bool {
	for _, b := range bootLoaders {
		if b.component == component {
			return true
		}
	}
	return false
}

// components returns the components with files, and adds a warning for each other
// entry of their directories.
func (s *source) components(l *Loaders) []Component {
	var all []Component
	for _, name := range s.subdirs(efiByName, l) {
		dir := path.Join(efiByName, name)
		for _, version := range s.subdirs(dir, l) {
			c := Component{name, version}
			switch efi := s.root.Resolve(c.dir()); {
			case efi == nil && s.root.Resolve(path.Dir(c.dir())).Children["EFI"] == nil:
				// Files for firmware other than EFI, such as a Raspberry Pi's.
			case efi == nil || !efi.IsDir():
				l.warn("/%s: not a directory, so nothing of it is installed", c.dir())
			case !hasFiles(efi):
				l.warn("/%s: empty", c.dir())
			default:
				all = append(all, c)
			}
		}
		if has := len(all) > 0 && all[len(all)-1].Name == name; !has && (name == shim || name == grub2) {
			l.warn("/%s: no <version>/EFI with files", dir)
		}
	}
	return all
}

// subdirs returns the names of directories in a directory, and adds a warning for
// each other entry.
func (s *source) subdirs(dir string, l *Loaders) []string {
	var names []string
	n := s.root.Resolve(dir)
	if n == nil || !n.IsDir() {
		if s.root.Lookup(dir) != nil {
			l.warn("/%s: not a directory, so nothing of it is installed", dir)
		}
		return nil
	}
	for _, name := range n.Names() {
		if at := path.Join(dir, name); s.isDir(at) {
			names = append(names, name)
		} else {
			l.warn("/%s: not a directory, so nothing of it is installed", at)
		}
	}
	return names
}

func hasFiles(dir *rootfs.Inode) bool {
	for _, n := range dir.Walk() {
		if !n.IsDir() {
			return true
		}
	}
	return false
}

// defaultLoader returns the component of the default boot loader in EFI.json, or
// "". A missing or broken file is an error of [State].
func (s *source) defaultLoader() (string, error) {
	b, err := s.root.ReadFile(path.Join(updates, "EFI.json"), maxFile)
	if err != nil {
		return "", nil
	}
	var m metadata
	if json.Unmarshal(b, &m) != nil || m.Default == nil {
		return "", nil
	}
	var name string
	if err := json.Unmarshal(*m.Default, &name); err == nil {
		key := strings.ReplaceAll(strings.ToLower(name), "-", "")
		for _, b := range bootLoaders {
			if slices.Contains(b.names, key) {
				return b.component, nil
			}
		}
	}
	return "", fmt.Errorf("default-bootloader %s: want Grub, GrubCC or Systemd", *m.Default)
}

// without removes components from metadata, which lists all boot loaders.
func (m *metadata) without(ignored []Component) error {
	m.Version = strings.Join(slices.DeleteFunc(strings.Split(m.Version, ","), func(item string) bool {
		return slices.ContainsFunc(ignored, func(c Component) bool { return strings.HasPrefix(item, c.Name+"-") })
	}), ",")
	var versions []json.RawMessage
	if m.Versions != nil {
		if err := json.Unmarshal(m.Versions, &versions); err != nil {
			return fmt.Errorf("versions: %w", err)
		}
	}
	if versions == nil {
		return nil
	}
	kept := []json.RawMessage{}
	for _, v := range versions {
		var module struct{ Name string }
		if err := json.Unmarshal(v, &module); err != nil {
			return fmt.Errorf("versions: %w", err)
		}
		if !slices.ContainsFunc(ignored, func(c Component) bool { return c.Name == module.Name }) {
			kept = append(kept, v)
		}
	}
	var err error
	m.Versions, err = json.Marshal(kept)
	return err
}
