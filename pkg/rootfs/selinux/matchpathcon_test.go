package selinux

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp/syntax"
	"slices"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// TestMatchpathcon asks libselinux itself: about the files of this machine,
// and about 51,000 paths that are made of the policies' own expressions.
func TestMatchpathcon(t *testing.T) {
	treetest.Tool(t, "matchpathcon")
	for seed, name := range []string{"debian", "fedora", "rhcos"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if testing.Short() && name != "fedora" {
				t.Skip("-short asks about one policy")
			}
			files := policyFiles(t, filepath.Join(treetest.Vectors(t, "selinux"), "policy", name))
			paths := madeUp(t, files, rand.New(rand.NewPCG(uint64(seed), 0)), 17_000)
			if name == "debian" {
				paths["file"] = append(paths["file"], machineFiles(t)...)
			}
			agree(t, files, paths)
		})
	}
}

// TestLookupsOfLibselinux asks it about the paths of TestLookup. Where the text in front
// of an expression ends, which no policy lets matter, is not the same in all versions.
func TestLookupsOfLibselinux(t *testing.T) {
	treetest.Tool(t, "matchpathcon")
	paths := map[string][]string{}
	for _, c := range lookups {
		if c.name == "/one/two/threefour" {
			continue
		}
		for kind, mode := range modes {
			if c.kind == mode {
				paths[kind] = append(paths[kind], c.name)
			}
		}
	}
	agree(t, allFiles, paths)
}

// agree compares our verdict with that of libselinux on paths by file type.
func agree(t *testing.T, files map[string]string, paths map[string][]string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p := mustLoad(t, tree(t, files))
	for kind, names := range paths {
		for len(names) > 0 {
			n := min(4000, len(names))
			out := treetest.Run(t, "matchpathcon", append([]string{"-n", "-m", kind, "-f", filepath.Join(dir, "file_contexts"), "--"}, names[:n]...)...)
			lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
			if len(lines) != n {
				t.Fatalf("%d lines for %d paths", len(lines), n)
			}
			for i, line := range lines {
				check(t, p, kind, names[i], line)
			}
			names = names[n:]
		}
	}
}

func machineFiles(t *testing.T) (paths []string) {
	err := filepath.WalkDir("/usr", func(name string, e os.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() && len(paths) < 6000 {
			paths = append(paths, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// madeUp makes paths that a policy's expressions match, and their neighbours:
// longer, shorter, moved by a substitution, with a letter changed.
func madeUp(t *testing.T, files map[string]string, r *rand.Rand, n int) map[string][]string {
	t.Helper()
	var texts, prefixes []string
	for name, text := range files {
		for line := range strings.Lines(text) {
			fields := strings.Fields(line)
			if len(fields) < 2 || line[0] == '#' {
				continue
			}
			if strings.Contains(name, "subs") {
				prefixes = append(prefixes, fields[0])
			} else {
				texts = append(texts, fields[0])
			}
		}
	}
	// Files come in the order of a map, the same seed is to give the same paths.
	slices.Sort(texts)
	slices.Sort(prefixes)
	var expressions []*syntax.Regexp
	for _, text := range texts {
		re, err := syntax.Parse(text, syntax.Perl)
		if err != nil {
			t.Fatal(err)
		}
		expressions = append(expressions, re)
	}
	kinds := []string{"file", "dir", "lnk_file", "chr_file", "blk_file", "sock_file", "pipe"}
	paths := map[string][]string{}
	for range n {
		name := "/" + strings.TrimLeft(example(expressions[r.IntN(len(expressions))], r), "/")
		switch at := r.IntN(len(name)); r.IntN(8) {
		case 0:
			name += "/" + letters(r, 8)
		case 1:
			name += letters(r, 3)
		case 2:
			name = name[:max(1, at)]
		case 3:
			name = name[:at] + letters(r, 1) + name[at:]
		case 4:
			if len(prefixes) > 0 {
				name = prefixes[r.IntN(len(prefixes))] + name
			}
		}
		name = "/" + strings.Trim(filepath.Clean(strings.ReplaceAll(name, "\n", "n")), "/")
		kind := kinds[r.IntN(len(kinds))]
		paths[kind] = append(paths[kind], name)
	}
	return paths
}

// example returns a text that an expression matches.
func example(re *syntax.Regexp, r *rand.Rand) string {
	many := func(from, to int) string {
		var b strings.Builder
		for range from + r.IntN(to-from+1) {
			b.WriteString(example(re.Sub[0], r))
		}
		return b.String()
	}
	switch re.Op {
	case syntax.OpLiteral:
		return string(re.Rune)
	case syntax.OpCharClass:
		at := 2 * r.IntN(len(re.Rune)/2)
		lo, hi := re.Rune[at], min(re.Rune[at+1], '~')
		if hi < lo {
			return "x"
		}
		if lo < ' ' {
			lo = min('0', hi)
		}
		return string(lo + rune(r.IntN(int(hi-lo)+1)))
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return letters(r, 1)
	case syntax.OpStar:
		return many(0, 6)
	case syntax.OpPlus:
		return many(1, 6)
	case syntax.OpQuest:
		return many(0, 1)
	case syntax.OpRepeat:
		return many(re.Min, max(re.Min, re.Max))
	case syntax.OpCapture:
		return example(re.Sub[0], r)
	case syntax.OpAlternate:
		return example(re.Sub[r.IntN(len(re.Sub))], r)
	case syntax.OpConcat:
		var b strings.Builder
		for _, sub := range re.Sub {
			b.WriteString(example(sub, r))
		}
		return b.String()
	case syntax.OpEmptyMatch, syntax.OpBeginText, syntax.OpEndText, syntax.OpBeginLine, syntax.OpEndLine:
		return ""
	}
	panic(fmt.Sprintf("expression %s", re))
}

func letters(r *rand.Rand, n int) string {
	const from = "abcxyzABC0189._-+ ,@:~/é"
	b := make([]byte, n)
	for i := range b {
		b[i] = from[r.IntN(len(from))]
	}
	return string(b)
}
