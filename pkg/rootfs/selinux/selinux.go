// Package selinux labels a tree by the SELinux policy in it.
//
// It reads the text form of a policy's file contexts and finds the context of
// a path as libselinux does. A policy is these files, below etc/selinux or
// usr/etc/selinux of an operating system tree:
//
//	config                             SELINUX=, SELINUXTYPE=
//	TYPE/contexts/files/file_contexts            the specifications
//	                    file_contexts.homedirs   more of them, stronger
//	                    file_contexts.local      more of them, strongest
//	                    file_contexts.subs_dist  path prefixes to replace
//	                    file_contexts.subs       the same, applied before
//
// The compiled file_contexts.bin is not read: it is made from the text. The
// expressions of policies are PCRE, those here RE2; constructs that RE2 lacks (look-around,
// back-references, possessive quantifiers) are refused when a policy is loaded.
//
// See selabel_file(5) and file_contexts(5).
package selinux

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// maxFile bounds each policy file; the largest known is half a megabyte.
const maxFile = 16 << 20

// A Policy tells which context a path has. It may be used by many goroutines
// at once. A nil Policy has no context for any path.
type Policy struct {
	subs, subsDist []substitution
	specs          int                   // number of specifications
	literals       map[string][]*spec    // by path, in the order of the files
	regexps        map[string]*automaton // by stem
}

// Unused is the error of a tree that uses no policy. It says why.
type Unused string

func (u Unused) Error() string { return string(u) }

// Load reads the policy of an operating system tree. It is nil for a tree
// that uses none.
func Load(root *rootfs.Inode) (*Policy, error) {
	name, err := Find(root)
	if _, unused := err.(Unused); unused {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return load(root, name)
}

// Find returns the path of the file_contexts of the policy that an operating
// system tree uses, which has it in etc/selinux or else in usr/etc/selinux.
func Find(root *rootfs.Inode) (string, error) {
	base := "etc/selinux"
	if root.Resolve(base) == nil {
		base = "usr/etc/selinux"
	}
	file := path.Join(base, "config")
	config, err := readFile(root, file)
	if err != nil {
		return "", err
	}
	if config == nil {
		return "", Unused(file + ": missing")
	}
	name, state := "", ""
	for line := range strings.Lines(string(config)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch value = strings.TrimSpace(value); strings.TrimSpace(key) {
		case "SELINUX":
			state = value
		case "SELINUXTYPE":
			name = value
		}
	}
	if state != "enforcing" && state != "permissive" {
		return "", Unused(fmt.Sprintf("%s: SELINUX is %q, neither enforcing nor permissive", file, state))
	}
	if name == "" || strings.Contains(name, "/") || name == ".." {
		return "", fmt.Errorf("selinux: %s: SELINUXTYPE %q names no policy", file, name)
	}
	return path.Join(base, name, "contexts/files/file_contexts"), nil
}

// load reads a file_contexts file and those that go with it.
func load(root *rootfs.Inode, name string) (*Policy, error) {
	p := &Policy{literals: map[string][]*spec{}, regexps: map[string]*automaton{}}
	for i, suffix := range []string{"", ".homedirs", ".local"} {
		text, err := readFile(root, name+suffix)
		if err != nil {
			return nil, err
		}
		if text == nil && i == 0 {
			return nil, fmt.Errorf("selinux: %s: the policy has no such file", name)
		}
		if err := p.addSpecs(name+suffix, text); err != nil {
			return nil, err
		}
	}
	var err error
	if p.subs, err = readSubstitutions(root, name+".subs"); err != nil {
		return nil, err
	}
	p.subsDist, err = readSubstitutions(root, name+".subs_dist")
	return p, err
}

// readFile returns nil for a file that does not exist.
func readFile(root *rootfs.Inode, name string) ([]byte, error) {
	text, err := root.ReadFile(name, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("selinux: %w", err)
	}
	return text, nil
}

// addSpecs adds the specifications in a text. They are stronger than all that
// was added before.
func (p *Policy) addSpecs(name string, text []byte) error {
	return eachLine(name, text, func(line string) error {
		s, err := parseSpec(line)
		if err != nil {
			return err
		}
		p.specs++
		s.order = p.specs
		if s.literal != "" {
			p.literals[s.literal] = append(p.literals[s.literal], s)
			return nil
		}
		if p.regexps[s.stem] == nil {
			p.regexps[s.stem] = &automaton{}
		}
		p.regexps[s.stem].specs = append(p.regexps[s.stem].specs, s)
		return nil
	})
}

// eachLine calls do with every line that is neither empty nor a comment.
func eachLine(name string, text []byte, do func(line string) error) error {
	scanner := bufio.NewScanner(bytes.NewReader(text))
	for number := 1; scanner.Scan(); number++ {
		line := strings.Trim(scanner.Text(), blanks)
		if line == "" || line[0] == '#' {
			continue
		}
		if err := do(line); err != nil {
			return fmt.Errorf("selinux: %s:%d: %w", name, number, err)
		}
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("selinux: %s: %w", name, err)
	}
	return nil
}

// A substitution makes paths below one directory count as below another.
type substitution struct{ from, to string }

func readSubstitutions(root *rootfs.Inode, name string) ([]substitution, error) {
	text, err := readFile(root, name)
	if err != nil {
		return nil, err
	}
	var list []substitution
	err = eachLine(name, text, func(line string) error {
		fields := strings.FieldsFunc(line, isBlank)
		if len(fields) < 2 {
			return errors.New("a path without its replacement")
		}
		list = append(list, substitution{fields[0], fields[1]})
		return nil
	})
	return list, err
}

// substitute applies the last line that fits, once.
func substitute(list []substitution, name string) string {
	for _, sub := range slices.Backward(list) {
		rest, ok := strings.CutPrefix(name, sub.from)
		if !ok || rest != "" && rest[0] != '/' {
			continue
		}
		if sub.to == "/" && rest != "" {
			return rest
		}
		return sub.to + rest
	}
	return name
}

// Lookup returns the context of an absolute path, given the file type bits of
// its mode; with none of them any specification fits. It is not ok where the
// policy has nothing to say, or says explicitly that there is no label.
func (p *Policy) Lookup(name string, mode uint32) (context string, ok bool) {
	if p == nil {
		return "", false
	}
	for strings.Contains(name, "//") {
		name = strings.ReplaceAll(name, "//", "/")
	}
	if len(name) > 1 {
		name = strings.TrimSuffix(name, "/")
	}
	name = substitute(p.subsDist, substitute(p.subs, name))
	kind := mode & rootfs.ModeType

	for _, s := range slices.Backward(p.literals[name]) {
		if s.fits(kind) {
			return s.context, s.context != ""
		}
	}
	if s := p.lastMatch(name, kind); s != nil {
		return s.context, s.context != ""
	}
	return "", false
}

// lastMatch returns the strongest regular expression that matches.
func (p *Policy) lastMatch(name string, kind uint32) *spec {
	stems := make([]string, 1, stemDepth+1) // the first is the root, ""
	for end := 0; len(stems) <= stemDepth && end < len(name) && name[end] == '/'; {
		if next := strings.IndexByte(name[end+1:], '/'); next >= 0 {
			end += 1 + next
		} else {
			end = len(name)
		}
		stems = append(stems, name[:end])
	}
	var best *spec
	for _, stem := range stems {
		a := p.regexps[stem]
		if a == nil {
			continue
		}
		if s := a.last(name, kind); s != nil && (best == nil || s.order > best.order) {
			best = s
		}
	}
	return best
}
