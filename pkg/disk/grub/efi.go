package grub

import (
	"crypto/sha512"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// ESP returns the tree of the EFI system partition and its vendor directory,
// such as "EFI/fedora". The files are those for bootupd, without the boot loaders
// that [ReadLoaders] does not choose. grub.cfg is that of bootupd.
func ESP(root *rootfs.Inode) (esp *rootfs.Inode, vendor string, err error) {
	s := &source{root: root}
	esp = rootfs.Dir(0o755)
	payloads := s.payloads()
	for _, from := range payloads {
		s.merge(esp, "EFI", from)
	}
	config := s.read(static+"/grub-static-efi.cfg", "the EFI system partition's grub.cfg")
	if len(payloads) == 0 {
		s.errs = append(s.errs, fmt.Errorf("neither /%s/*/*/EFI nor /%s/EFI: boot loader files for EFI", efiByName, updates))
	}
	if err := s.err("EFI system partition"); err != nil {
		return nil, "", err
	}
	if vendor, err = vendorDir(esp); err != nil {
		return nil, "", err
	}
	esp.Lookup(vendor).Children["grub.cfg"] = rootfs.Text(0o644, string(config))
	return esp, vendor, nil
}

// payloads returns the directories that are merged to EFI: those of the installed
// components, or the one of older trees. More than one version of a component is an
// error: bootupd would copy all of them in the order of the directory.
func (s *source) payloads() []string {
	var found []string
	if l := ReadLoaders(s.root); l != nil {
		for i, c := range l.Installed {
			found = append(found, c.dir())
			if i > 0 && l.Installed[i-1].Name == c.Name {
				s.errs = append(s.errs, fmt.Errorf("more than one version of a boot loader: /%s, /%s", found[i-1], found[i]))
			}
		}
	}
	if old := path.Join(updates, "EFI"); len(found) == 0 && s.isDir(old) {
		found = append(found, old)
	}
	return found
}

func (s *source) isDir(name string) bool {
	n := s.root.Resolve(name)
	return n != nil && n.IsDir()
}

// merge copies a directory of the root to a path of the ESP.
func (s *source) merge(esp *rootfs.Inode, to, from string) {
	for below, n := range s.root.Resolve(from).Walk() {
		if n.IsDir() {
			if target := path.Join(to, below); esp.Lookup(target) == nil {
				s.place(esp, target, rootfs.Dir(0o755), from)
			}
			continue
		}
		if n.IsLink() {
			n = s.root.Resolve(path.Join(from, below))
		}
		if n == nil || !n.IsFile() {
			s.errs = append(s.errs, fmt.Errorf("/%s: not a file", path.Join(from, below)))
			continue
		}
		s.place(esp, path.Join(to, below), rootfs.File(0o644, n.Content), from)
	}
}

func (s *source) place(esp *rootfs.Inode, target string, n *rootfs.Inode, from string) {
	if err := esp.Place(target, n); err != nil {
		s.errs = append(s.errs, fmt.Errorf("/%s: %w", from, err))
	}
}

// vendorDir returns the only directory of EFI besides BOOT. If there are more,
// it is the only one with shim, as in bootupd.
func vendorDir(esp *rootfs.Inode) (string, error) {
	efi := esp.Lookup("EFI")
	var found, withShim []string
	for _, name := range efi.Names() {
		if !efi.Children[name].IsDir() || strings.EqualFold(name, "BOOT") {
			continue
		}
		found = append(found, path.Join("EFI", name))
		if slices.ContainsFunc(efi.Children[name].Names(), isShim) {
			withShim = append(withShim, path.Join("EFI", name))
		}
	}
	if len(found) > 1 && len(withShim) == 1 {
		return withShim[0], nil
	}
	if len(found) != 1 {
		return "", fmt.Errorf("grub: EFI system partition: want one vendor's directory besides EFI/BOOT, found %d: %s",
			len(found), strings.Join(found, ", "))
	}
	return found[0], nil
}

// isShim reports whether a file is shim for one of the architectures.
func isShim(name string) bool {
	switch strings.ToLower(name) {
	case "shimx64.efi", "shimaa64.efi", "shimriscv64.efi":
		return true
	}
	return false
}

// metadata is bootupd's ContentMetadata.
type metadata struct {
	Timestamp string           `json:"timestamp"`
	Version   string           `json:"version"`
	Versions  json.RawMessage  `json:"versions"`
	Default   *json.RawMessage `json:"default-bootloader,omitempty"`
}

// installed is bootupd's InstalledContent.
type installed struct {
	Meta        metadata  `json:"meta"`
	FileTree    *fileTree `json:"filetree"`
	AdoptedFrom *metadata `json:"adopted-from"`
}

type fileTree struct {
	Children map[string]fileMetadata `json:"children"`
}

type fileMetadata struct {
	Size   int64  `json:"size"`
	SHA512 string `json:"sha512"`
}

// state is bootupd's SavedState.
type state struct {
	Installed     map[string]installed `json:"installed"`
	Pending       *struct{}            `json:"pending"`
	StaticConfigs metadata             `json:"static-configs"`
}

// State returns /boot/bootupd-state.json. It records the files of the tree of
// [ESP], if it is not nil, and optionally a boot loader for BIOS.
//
// bootupd records its own version for its static configurations. No file of the
// tree has that version, and only its presence matters, so it is the version of the
// boot loader instead.
func State(root, esp *rootfs.Inode, bios bool) ([]byte, error) {
	s := &source{root: root}
	all := state{Installed: map[string]installed{}}
	if bios {
		all.StaticConfigs = s.metadata("BIOS")
		all.Installed["BIOS"] = installed{Meta: all.StaticConfigs}
	}
	if esp != nil {
		all.StaticConfigs = s.metadata("EFI")
		if l := ReadLoaders(root); l != nil && len(l.Ignored) > 0 {
			if err := all.StaticConfigs.without(l.Ignored); err != nil {
				s.errs = append(s.errs, fmt.Errorf("/%s/EFI.json: %w", updates, err))
			}
		}
		tree, err := newFileTree(esp)
		if err != nil {
			return nil, fmt.Errorf("grub: %w", err)
		}
		all.Installed["EFI"] = installed{Meta: all.StaticConfigs, FileTree: tree}
		all.StaticConfigs.Default = nil
	}
	if err := s.err("bootupd-state.json"); err != nil {
		return nil, err
	}
	if len(all.Installed) == 0 {
		return nil, errors.New("grub: bootupd-state.json: nothing is installed")
	}
	return json.Marshal(all)
}

func (s *source) metadata(component string) metadata {
	var m metadata
	name := path.Join(updates, component+".json")
	b := s.read(name, "the version of the boot loader")
	if b == nil {
		return m
	}
	if err := json.Unmarshal(b, &m); err != nil {
		s.errs = append(s.errs, fmt.Errorf("/%s: %w", name, err))
	} else if m.Timestamp == "" || m.Version == "" {
		s.errs = append(s.errs, fmt.Errorf("/%s: timestamp or version is missing", name))
	}
	return m
}

// newFileTree records the files that bootupd updates: all below EFI except
// grub.cfg.
func newFileTree(esp *rootfs.Inode) (*fileTree, error) {
	vendor, err := vendorDir(esp)
	if err != nil {
		return nil, err
	}
	tree := &fileTree{Children: map[string]fileMetadata{}}
	for name, n := range esp.Lookup("EFI").Walk() {
		if !n.IsFile() || path.Join("EFI", name) == path.Join(vendor, "grub.cfg") {
			continue
		}
		h := sha512.New()
		if n.Content != nil {
			if _, err := io.Copy(h, io.NewSectionReader(n.Content, 0, n.Content.Size())); err != nil {
				return nil, fmt.Errorf("EFI/%s: %w", name, err)
			}
		}
		tree.Children[name] = fileMetadata{n.Size(), fmt.Sprintf("sha512:%x", h.Sum(nil))}
	}
	return tree, nil
}
