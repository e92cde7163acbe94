package grub

import (
	"crypto/sha512"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// ESP returns the tree of the EFI system partition and its vendor directory,
// such as "EFI/fedora". The files are those that the tree keeps for bootupd,
// and grub.cfg is bootupd's own.
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

// payloads returns the directories that are merged to EFI: of every component
// under usr/lib/efi, or that of older trees.
func (s *source) payloads() []string {
	var found []string
	if components := s.root.Resolve(efiByName); components != nil {
		for _, component := range components.Names() {
			found = append(found, s.versions(component)...)
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

// versions returns where a component has its files; a second version of it
// would overwrite the first.
func (s *source) versions(component string) []string {
	var found []string
	dir := path.Join(efiByName, component)
	n := s.root.Resolve(dir)
	if n == nil {
		return nil
	}
	for _, version := range n.Names() {
		if payload := path.Join(dir, version, "EFI"); s.isDir(payload) {
			found = append(found, payload)
		}
	}
	if len(found) > 1 {
		s.errs = append(s.errs, fmt.Errorf("more than one version of a boot loader: /%s", strings.Join(found, ", /")))
	}
	return found
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

// vendorDir returns the only directory of EFI besides BOOT.
func vendorDir(esp *rootfs.Inode) (string, error) {
	efi := esp.Lookup("EFI")
	var found []string
	for _, name := range efi.Names() {
		if efi.Children[name].IsDir() && !strings.EqualFold(name, "BOOT") {
			found = append(found, path.Join("EFI", name))
		}
	}
	if len(found) != 1 {
		return "", fmt.Errorf("grub: EFI system partition: want one vendor's directory besides EFI/BOOT, found %d: %s",
			len(found), strings.Join(found, ", "))
	}
	return found[0], nil
}

// metadata is what bootupd knows of a version, ContentMetadata.
type metadata struct {
	Timestamp string          `json:"timestamp"`
	Version   string          `json:"version"`
	Versions  json.RawMessage `json:"versions"`
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

// State returns /boot/bootupd-state.json: what was installed to the ESP that
// [ESP] made, none if it is nil, and whether a boot loader for BIOS was.
//
// bootupd describes its static configurations by the program's own version,
// which no file of the tree tells. Its presence is what counts; here it is that
// of the boot loader the configurations are for.
func State(root, esp *rootfs.Inode, bios bool) ([]byte, error) {
	s := &source{root: root}
	all := state{Installed: map[string]installed{}}
	if bios {
		all.StaticConfigs = s.metadata("BIOS")
		all.Installed["BIOS"] = installed{Meta: all.StaticConfigs}
	}
	if esp != nil {
		all.StaticConfigs = s.metadata("EFI")
		tree, err := newFileTree(esp)
		if err != nil {
			return nil, fmt.Errorf("grub: %w", err)
		}
		all.Installed["EFI"] = installed{Meta: all.StaticConfigs, FileTree: tree}
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

// newFileTree records what bootupd would update: all below EFI but grub.cfg,
// which it keeps apart.
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
