package selinux

import (
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// one asks every specification of an automaton by itself.
func (a *automaton) one(name string, kind uint32) (best *spec) {
	sub := newSubject(name)
	for _, s := range slices.Backward(a.specs) {
		if s.fits(kind) && s.match(sub) {
			return s
		}
	}
	return nil
}

func sameVerdict(t *testing.T, p *Policy, name string, kind uint32) {
	t.Helper()
	for stem, a := range p.regexps {
		if got, want := a.last(name, kind), a.one(name, kind); got != want {
			t.Errorf("stem %q: %q of type %o matches %+v, want %+v", stem, name, kind, got, want)
		}
	}
}

// TestAutomaton compares automatons with the single expressions, about paths that
// are made of the expressions, and about forms that no policy has.
func TestAutomaton(t *testing.T) {
	for seed, policy := range []string{"debian", "fedora", "rhcos"} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			files := policyFiles(t, filepath.Join(treetest.Vectors(t, "selinux"), "policy", policy))
			p := mustLoad(t, tree(t, files))
			paths := madeUp(t, files, rand.New(rand.NewPCG(uint64(seed), 7)), 300)
			for kind, names := range paths {
				for _, name := range names {
					for stem, a := range p.regexps {
						if stem == "" || len(name) > len(stem) && name[:len(stem)] == stem {
							if got, want := a.last(name, modes[kind]), a.one(name, modes[kind]); got != want {
								t.Errorf("stem %q: %q matches %+v, want %+v", stem, name, got, want)
							}
						}
					}
				}
			}
		})
	}
	p := mustLoad(t, tree(t, map[string]string{"file_contexts": `
/a(.*)?	-d	u:r:a
/a/b.*		u:r:b
/a/[^/]+\.so(\.[^/]*)*	--	u:r:c
/(x|^/y)+	u:r:d
(/a)?$.?	u:r:e
(?m:^/n.$)	u:r:f
`}))
	for _, name := range []string{"", "/", "/a", "/a\n", "/a/b", "/a/b.so", "/a/x.so.1", "/a/x.so.1\n", "/x", "/x/y", "//y", "/n1", "/n1\n", "/n\n", "/\xc3\xbc", "/\xfc"} {
		for _, kind := range []uint32{0, rootfs.ModeFile, rootfs.ModeDir} {
			sameVerdict(t, p, name, kind)
		}
	}
}

// TestAutomatonStartsAnew has more states than an automaton keeps.
func TestAutomatonStartsAnew(t *testing.T) {
	p := mustLoad(t, tree(t, map[string]string{"file_contexts": "/.*a.{14}\tu:r:a\n"}))
	r := rand.New(rand.NewPCG(1, 2))
	a := p.regexps[""]
	most := 0
	for range 3000 {
		name := []byte("/")
		for range 40 {
			name = append(name, "ab"[r.IntN(2)])
		}
		sameVerdict(t, p, string(name), 0)
		most = max(most, len(a.states))
	}
	if most <= maxStates || most > maxStates+100 {
		t.Errorf("%d states, want little more than %d", most, maxStates)
	}
}
