package main

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// mayImport says which packages of the project a package may import: from the two
// nouns outward, in the order in which data goes through them. The first row that
// has a package counts. "x/..." is x and everything below it, "!" takes a package and
// those below it away again. A package of a row with "..." may import those below itself.
var mayImport = []struct{ pkg, imports string }{
	// Helpers of tests, which no other package may import.
	{"pkg/rootfs/treetest/...", "pkg/rootfs/... !pkg/rootfs/system"},
	{"pkg/disk/disktest/...", "pkg/rootfs/... pkg/disk/..."},
	{"pkg/disk/inspect/inspecttest", "pkg/rootfs/... pkg/disk/..."},
	{"pkg/rootfs/registry/registrytest", "pkg/rootfs/..."},
	{"manifests/schematest", ""},

	// The tree and its codecs.
	{"pkg/rootfs", ""},
	{"pkg/rootfs/usage", ""},
	{"pkg/rootfs/plaintext", ""},
	{"pkg/rootfs/registry/...", ""},
	{"pkg/rootfs/system/...", "pkg/rootfs/..."},
	{"pkg/rootfs/...", "pkg/rootfs/... !pkg/rootfs/system"},

	// The image and its codecs, which do not know each other.
	{"pkg/disk", "pkg/rootfs"},
	{"pkg/disk/layout/...", "pkg/rootfs/... pkg/disk/... !pkg/rootfs/system !pkg/rootfs/registry !pkg/disk/inspect"},
	{"pkg/disk/inspect/...", "pkg/rootfs/... pkg/disk/... pkg/cloud/filetype !pkg/rootfs/registry !pkg/disk/layout"},
	{"pkg/disk/...", "pkg/rootfs pkg/disk pkg/disk/internal/..."},
	{"pkg/iso/...", "pkg/rootfs/... pkg/disk/... pkg/iso/..."},

	// Platforms: file types, container formats, compression, plans of builds.
	{"pkg/cloud/filetype", ""},
	{"pkg/cloud/compress", "pkg/disk pkg/cloud/filetype"},
	{"pkg/cloud/assemble/...", "pkg/rootfs/... pkg/disk/... pkg/iso/... pkg/cloud/... !pkg/rootfs/registry !pkg/disk/inspect"},
	{"pkg/cloud/...", "pkg/rootfs/... pkg/disk/... pkg/cloud/... !pkg/rootfs/system !pkg/rootfs/registry !pkg/rootfs/oci !pkg/disk/layout !pkg/disk/inspect !pkg/cloud/assemble"},

	// Folders of builds, documents and registries.
	{"pkg/stream", "pkg/rootfs pkg/rootfs/usage pkg/rootfs/plaintext pkg/cloud pkg/cloud/filetype pkg/cloud/compress"},
	{"pkg/stream/...", "pkg/..."},

	{"manifests", "pkg/rootfs/... pkg/cloud/... !pkg/rootfs/registry !pkg/rootfs/oci"},
	{"cmd/...", "pkg/... manifests"},
	{"ci/...", "ci/... pkg/..."},
}

// TestDependencyDirection: dependencies point one way.
func TestDependencyDirection(t *testing.T) {
	list, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	errs, seen := misdirected(string(list))
	for _, err := range errs {
		t.Error(err)
	}
	if seen < 100 {
		t.Errorf("only %d imports were seen", seen)
	}
}

const module = "github.com/ohp-assemble/ohp-assemble/"

// misdirected returns an error for each import that no row allows, of a list of
// packages, each in a line with its imports. It counts the imports that it judges.
func misdirected(list string) (errs []string, seen int) {
	for line := range strings.Lines(list) {
		words := strings.Fields(line)
		pkg := strings.TrimPrefix(words[0], module)
		row := slices.IndexFunc(mayImport, func(r struct{ pkg, imports string }) bool { return covers(r.pkg, pkg) })
		if row < 0 {
			errs = append(errs, fmt.Sprintf("%s: no row of mayImport has it", pkg))
			continue
		}
		for _, word := range words[1:] {
			imported, ours := strings.CutPrefix(word, module)
			if !ours {
				continue
			}
			seen++
			below := strings.HasSuffix(mayImport[row].pkg, "/...") && strings.HasPrefix(imported, pkg+"/")
			if !below && !allows(mayImport[row].imports, imported) {
				errs = append(errs, fmt.Sprintf("%s must not import %s", pkg, imported))
			}
			if testPackages.MatchString(imported) && !testPackages.MatchString(pkg) && !strings.HasPrefix(pkg, "ci/") {
				errs = append(errs, fmt.Sprintf("%s must not import %s, which is for tests", pkg, imported))
			}
		}
	}
	return errs, seen
}

// allows reports whether patterns have a package: the last one that covers it counts.
func allows(patterns, pkg string) (yes bool) {
	for p := range strings.FieldsSeq(patterns) {
		if p, not := strings.CutPrefix(p, "!"); covers(p, pkg) || not && covers(p+"/...", pkg) {
			yes = !not
		}
	}
	return yes
}

// covers reports whether a pattern has a package.
func covers(pattern, pkg string) bool {
	dir, below := strings.CutSuffix(pattern, "/...")
	return pkg == dir || below && strings.HasPrefix(pkg, dir+"/")
}

// TestMisdirected has imports of made-up packages.
func TestMisdirected(t *testing.T) {
	for line, wrong := range map[string]bool{
		"pkg/rootfs errors io":               false,
		"pkg/rootfs pkg/rootfs/usage":        true,
		"pkg/rootfs pkg/disk":                true,
		"pkg/rootfs/layer pkg/rootfs":        false,
		"pkg/rootfs/layer pkg/disk":          true,
		"pkg/rootfs/layer pkg/spelling":      true,
		"pkg/rootfs/usage pkg/rootfs":        true,
		"pkg/rootfs/plaintext pkg/rootfs":    true,
		"pkg/rootfs/registry pkg/rootfs":     true,
		"pkg/rootfs/oci pkg/rootfs/registry": false,
		"pkg/rootfs/oci pkg/rootfs/system":   true,
		"pkg/rootfs/oci pkg/stream/publish":  true,
		"pkg/rootfs/system pkg/rootfs/oci":   false,
		"pkg/rootfs/system pkg/disk/grub":    true,

		"pkg/disk pkg/rootfs":                       false,
		"pkg/disk pkg/rootfs/coreos":                true,
		"pkg/disk pkg/disk/raw":                     true,
		"pkg/disk/ext4 pkg/disk":                    false,
		"pkg/disk/ext4 pkg/disk/raw":                true,
		"pkg/disk/ext4 pkg/rootfs/selinux":          true,
		"pkg/disk/ext4 pkg/disk/disktest":           true,
		"pkg/disk/grub pkg/disk/grub/internal/lzma": false,
		"pkg/disk/layout pkg/disk/gpt":              false,
		"pkg/disk/layout pkg/rootfs/ostree/deploy":  false,
		"pkg/disk/layout pkg/rootfs/system":         true,
		"pkg/disk/layout pkg/cloud":                 true,
		"pkg/disk/inspect pkg/disk/vhd":             false,
		"pkg/disk/inspect pkg/disk/disktest":        true,
		"pkg/disk/disktest pkg/rootfs/treetest":     false,

		"pkg/cloud/filetype pkg/rootfs":               true,
		"pkg/cloud/compress pkg/rootfs":               true,
		"pkg/cloud/ova pkg/disk/vmdk":                 false,
		"pkg/cloud/ova pkg/cloud/assemble":            true,
		"pkg/cloud pkg/cloud/gcp":                     false,
		"pkg/cloud/assemble pkg/disk/layout":          false,
		"pkg/cloud/assemble pkg/rootfs/system":        false,
		"pkg/cloud/assemble pkg/stream":               true,
		"pkg/stream pkg/cloud/assemble":               true,
		"pkg/stream/build pkg/cloud/assemble":         false,
		"pkg/stream/build manifests":                  true,
		"pkg/stream/publish cmd/ohp-assemble":         true,
		"manifests pkg/rootfs/usage":                  false,
		"pkg/disk/inspect pkg/cloud/filetype":         false,
		"pkg/disk/inspect pkg/cloud":                  true,
		"manifests pkg/cloud/assemble":                false,
		"manifests pkg/stream":                        true,
		"cmd/ohp-assemble manifests pkg/stream/build": false,
		"cmd/ohp-assemble pkg/rootfs/treetest":        true,
		"cmd/ohp-assemble ci/boot":                    true,
		"ci/boot/show ci/boot":                        false,
		"pkg/util":                                    true,
		"internal/x":                                  true,
	} {
		var b strings.Builder
		for word := range strings.FieldsSeq(line) {
			if strings.Contains(word, "/") || word == "manifests" {
				word = module + word
			}
			b.WriteString(word + " ")
		}
		if errs, _ := misdirected(b.String()); len(errs) > 0 != wrong {
			t.Errorf("%s: %q", line, errs)
		}
	}
}
