package main

import (
	"os/exec"
	"strings"
	"testing"
)

// What each layer of the project may import, by prefix of the package path.
// Dependencies point one way: from the command, over the assemblers and the
// formats, to the two nouns.
var mayImport = []struct{ pkg, on string }{
	{"cmd/", "pkg/ manifests"},
	{"manifests", "pkg/cloud pkg/rootfs"},
	{"pkg/stream", "pkg/"},
	{"pkg/cloud", "pkg/cloud pkg/disk pkg/rootfs"},
	{"pkg/iso", "pkg/disk pkg/rootfs"},
	{"pkg/disk/layout", "pkg/disk pkg/rootfs"},
	{"pkg/disk/", "pkg/disk pkg/rootfs"}, // a format knows trees and images, and no other format
	{"pkg/disk", "pkg/rootfs"},
	{"pkg/rootfs/oci", "pkg/rootfs"},
	{"pkg/rootfs/usage", ""},
	{"pkg/rootfs/layer", "pkg/rootfs pkg/rootfs/ostree"},
	{"pkg/rootfs/", "pkg/rootfs"},
	{"pkg/rootfs", ""},
}

func TestDependencyDirection(t *testing.T) {
	const module = "github.com/ohp-assemble/ohp-assemble/"
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}:{{join .Imports " "}}`, module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for line := range strings.Lines(strings.TrimSpace(string(out))) {
		name, imports, _ := strings.Cut(strings.TrimSpace(line), ":")
		pkg := strings.TrimPrefix(name, module)
		for imp := range strings.FieldsSeq(imports) {
			if on, ours := strings.CutPrefix(imp, module); ours {
				seen++
				if !allowed(pkg, on) {
					t.Errorf("%s must not import %s", pkg, on)
				}
			}
		}
	}
	if seen < 20 {
		t.Errorf("only %d imports were seen, this test looks at nothing", seen)
	}
}

// allowed reports whether pkg may import on.
func allowed(pkg, on string) bool {
	for _, rule := range mayImport {
		if !strings.HasPrefix(pkg+"/", strings.TrimSuffix(rule.pkg, "/")+"/") {
			continue
		}
		for prefix := range strings.FieldsSeq(rule.on) {
			if on == prefix || strings.HasPrefix(on, prefix+"/") || strings.HasSuffix(prefix, "/") && strings.HasPrefix(on, prefix) {
				return pkg == "pkg/disk/layout" || !sibling(pkg, on)
			}
		}
		return false
	}
	return strings.HasPrefix(pkg, "ci/")
}

// sibling reports whether both are disk formats: those meet in pkg/disk/layout.
func sibling(pkg, on string) bool {
	return strings.HasPrefix(pkg, "pkg/disk/") && strings.HasPrefix(on, "pkg/disk/") && !strings.HasPrefix(on, pkg+"/")
}
