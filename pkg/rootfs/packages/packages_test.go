package packages

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

const status = `Package: bash
Essential: yes
Status: install ok installed
Architecture: amd64
Version: 5.2.15-2+b7
Description: GNU Bourne Again SHell
 Package: not-this-one
 .
 Version: 1

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Version: 1:2.3
Architecture: all
Status: install ok installed
Package: last`

func TestDpkg(t *testing.T) {
	want := []Package{{"dpkg", "bash", "5.2.15-2+b7", "amd64"}, {"dpkg", "last", "1:2.3", "all"}}
	for _, dir := range dpkgDirs {
		got, err := Read(treetest.Texts(t, map[string]string{dir + "/status": status}))
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v %s", dir, err, diff)
		}
	}
	linked := treetest.Texts(t, map[string]string{"usr/lib/sysimage/dpkg/status": status})
	if err := linked.Place("var/lib/dpkg", rootfs.Link("../../usr/lib/sysimage/dpkg")); err != nil {
		t.Fatal(err)
	}
	if got, err := Read(linked); err != nil || !slices.Equal(got, want) {
		t.Errorf("linked: %v %v", got, err)
	}
	if got, err := Read(rootfs.Dir(0o755)); err != nil || got != nil {
		t.Errorf("of nothing: %v %v", got, err)
	}
	if _, err := Read(treetest.Texts(t, map[string]string{"var/lib/dpkg/status": strings.Repeat("x", maxLine+1)})); err == nil || !strings.HasPrefix(err.Error(), "var/lib/dpkg/status: ") {
		t.Errorf("a long line: %v", err)
	}
}

// TestDpkgQuery compares the packages of this machine with those of dpkg-query.
func TestDpkgQuery(t *testing.T) {
	out := treetest.Run(t, "dpkg-query", "-W", "-f", "${db:Status-Status}\t${Package}\t${Version}\t${Architecture}\n")
	var want []string
	for line := range strings.Lines(out) {
		if rest, ok := strings.CutPrefix(line, "installed\t"); ok {
			want = append(want, strings.TrimSpace(rest))
		}
	}
	text, err := os.ReadFile("/var/lib/dpkg/status")
	if err != nil {
		t.Fatal(err)
	}
	all, err := Read(treetest.Texts(t, map[string]string{"var/lib/dpkg/status": string(text)}))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range all {
		got = append(got, p.Name+"\t"+p.Version+"\t"+p.Arch)
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" || len(got) < 50 {
		t.Errorf("%d packages: %s", len(got), diff)
	}
}

const spec = `Name: %{n}
Version: %{v}
Release: 1.fc44
%{?e:Epoch: %{e}}
Summary: a test
License: MIT
BuildArch: noarch
%description
%{text}
%files
`

// TestRPM compares the packages of a database with the output of rpm, which made it.
func TestRPM(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x.spec"), []byte(spec), 0o644); err != nil {
		t.Fatal(err)
	}
	db := filepath.Join(dir, "db")
	rpm := func(args ...string) string {
		return treetest.Run(t, "rpm", slices.Concat([]string{"--define", "_db_backend sqlite", "--dbpath", db}, args)...)
	}
	for _, p := range [][]string{
		{"n hello", "v 1.0", "text x"}, {"n kernel", "v 6.1", "e 3", "text x"}, {"n kernel", "v 6.10~rc1", "e 3", "text x"}, {"n zero", "v 1^git", "e 0", "text x"},
		{"n large", "v 1", "text " + strings.Repeat("much to say ", 1<<13)},
	} {
		args := []string{"-bb", "--quiet", "--define", "_topdir " + dir + "/top", "--define", "_rpmdir " + dir}
		for _, d := range p {
			args = append(args, "--define", d)
		}
		treetest.Run(t, "rpmbuild", append(args, filepath.Join(dir, "x.spec"))...)
	}
	files, err := filepath.Glob(filepath.Join(dir, "noarch", "*.rpm"))
	if err != nil || len(files) != 5 {
		t.Fatalf("packages %q: %v", files, err)
	}
	rpm("--initdb")
	rpm(append([]string{"-i", "--justdb", "--nodeps", "--force-debian"}, files...)...)
	read := func() ([]Package, error) {
		found, err := os.ReadDir(db)
		if err != nil {
			t.Fatal(err)
		}
		contents := map[string]string{}
		for _, f := range found {
			text, err := os.ReadFile(filepath.Join(db, f.Name()))
			if err != nil {
				t.Fatal(err)
			}
			contents["usr/share/rpm/"+f.Name()] = string(text)
		}
		return Read(treetest.Texts(t, contents))
	}
	for _, todo := range [][]string{{"-qa"}, {"-e", "--justdb", "hello"}, {"--rebuilddb"}} {
		rpm(todo...)
		var want []string
		for line := range strings.Lines(rpm("-qa", "--qf", "%{name} %|epoch?{%{epoch}:}:{}|%{version}-%{release} %{arch}\n")) {
			want = append(want, strings.TrimSpace(line))
		}
		slices.Sort(want)
		all, err := read()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range all {
			if p.Kind != "rpm" {
				t.Errorf("%+v", p)
			}
			got = append(got, p.Name+" "+p.Version+" "+p.Arch)
		}
		if diff := cmp.Diff(want, got); diff != "" || len(got) < 4 {
			t.Errorf("%q: %s", todo, diff)
		}
	}
	// The write-ahead log of a database that was not closed has the latest changes.
	wal := filepath.Join(db, "rpmdb.sqlite-wal")
	if err := os.WriteFile(wal, []byte("something"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := read(); err == nil || err.Error() != "usr/share/rpm/rpmdb.sqlite: rpmdb.sqlite-wal has uncommitted changes" {
		t.Error(err)
	}
}

func TestRefuses(t *testing.T) {
	for want, files := range map[string]map[string]string{
		"usr/share/rpm/rpmdb.sqlite: unsupported form of the database: Packages":  {"usr/share/rpm/Packages": "x"},
		"var/lib/rpm/rpmdb.sqlite: unsupported form of the database: Packages.db": {"var/lib/rpm/Packages.db": "x"},
		"usr/lib/sysimage/rpm/rpmdb.sqlite: unexpected EOF":                       {"usr/lib/sysimage/rpm/rpmdb.sqlite": "x"},
		"usr/share/rpm/rpmdb.sqlite: not an SQLite database":                      {"usr/share/rpm/rpmdb.sqlite": strings.Repeat("x", 1000)},
	} {
		if _, err := Read(treetest.Texts(t, files)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestDiff(t *testing.T) {
	a := []Package{{"dpkg", "bash", "1", "amd64"}, {"dpkg", "bash", "1", "i386"}, {"dpkg", "gone", "2", "all"}, {"rpm", "kernel", "1", "x"}, {"rpm", "kernel", "2", "x"}}
	b := []Package{{"dpkg", "bash", "1", "amd64"}, {"dpkg", "bash", "2", "i386"}, {"dpkg", "new", "3", "all"}, {"rpm", "kernel", "2", "x"}, {"rpm", "kernel", "3", "x"}}
	want := []Change{
		{"dpkg", "bash", "i386", []string{"1"}, []string{"2"}}, {"dpkg", "gone", "all", []string{"2"}, []string{}},
		{"dpkg", "new", "all", []string{}, []string{"3"}}, {"rpm", "kernel", "x", []string{"1", "2"}, []string{"2", "3"}},
	}
	if diff := cmp.Diff(want, Diff(a, b)); diff != "" {
		t.Error(diff)
	}
	if got := Diff(a, a); len(got) != 0 {
		t.Errorf("%v", got)
	}
}
