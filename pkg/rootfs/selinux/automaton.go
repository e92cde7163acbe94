package selinux

import (
	"cmp"
	"encoding/binary"
	"regexp/syntax"
	"slices"
	"sync"
)

// An automaton matches a path against all specifications of a stem at once. It is
// a deterministic automaton over bytes whose states are made when a path first
// leads to them: sets of instructions of the expressions' programs, as package
// regexp has them. A path costs one step for each of its bytes, however many
// specifications there are.
type automaton struct {
	specs []*spec // in the order of the files
	slow  []*spec // those with assertions that are not understood here

	mu      sync.Mutex // guards all below
	insts   []instruction
	states  []*state // the first is the start
	numbers map[string]int32
	round   uint32   // of closure, see visited
	visited []uint32 // by instruction: the last round that has reached it
}

// An instruction is one of a program, with targets in the numbers of the automaton.
type instruction struct {
	syntax.Inst
	base uint32 // number of the program's first instruction
	spec *spec
}

// A state is a set of instructions that consume a byte or wait for the end of the
// path.
type state struct {
	insts   []uint32
	next    [256]int32 // number of the state behind a byte; 0 until it is known
	decided bool       // matched is known
	matched []*spec    // if the path ends here; the strongest first
}

// maxStates bounds an automaton: it starts anew beyond that.
const maxStates = 4096

// last returns the strongest specification that matches a path of a file type.
func (a *automaton) last(name string, kind uint32) (best *spec) {
	stronger := func(list []*spec) {
		for _, s := range list {
			if s.fits(kind) {
				if best == nil || s.order > best.order {
					best = s
				}
				return
			}
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.prepare()
	at := a.states[0]
	for i := range len(name) {
		if i == len(name)-1 && name[i] == '\n' { // the $ of PCRE also matches before a newline that ends the path
			stronger(a.matches(at))
		}
		next := at.next[name[i]]
		if next == 0 {
			next = a.step(at, name[i])
		}
		if at = a.states[next]; len(at.insts) == 0 {
			break
		}
	}
	stronger(a.matches(at))
	stronger(a.slowMatches(name, kind))
	return best
}

// slowMatches returns the strongest of the slow specifications that match.
func (a *automaton) slowMatches(name string, kind uint32) []*spec {
	if len(a.slow) == 0 {
		return nil
	}
	sub := newSubject(name)
	for _, s := range slices.Backward(a.slow) {
		if s.fits(kind) && s.match(sub) {
			return []*spec{s}
		}
	}
	return nil
}

// prepare compiles the programs before the first path, and makes the start.
func (a *automaton) prepare() {
	if a.numbers == nil {
		for _, s := range a.specs {
			a.compile(s)
		}
		a.visited = make([]uint32, len(a.insts))
	}
	if a.numbers != nil && len(a.states) <= maxStates {
		return
	}
	a.numbers = map[string]int32{}
	var start []uint32
	a.round++
	for i, in := range a.insts {
		if uint32(i) == in.base { // the program begins here or jumps to its start
			start = a.closure(start, in.base+in.spec.start, syntax.EmptyBeginText)
		}
	}
	a.states = []*state{{insts: start}} // without a number: only the start is at the beginning of the path
}

// compile adds the program of a specification. The expression was parsed before.
func (a *automaton) compile(s *spec) {
	tree, err := syntax.Parse(s.source, syntax.Perl)
	if err != nil {
		panic(err)
	}
	prog, err := syntax.Compile(tree.Simplify())
	if err != nil {
		panic(err)
	}
	const understood = syntax.EmptyBeginText | syntax.EmptyEndText
	for _, in := range prog.Inst {
		if in.Op == syntax.InstEmptyWidth && syntax.EmptyOp(in.Arg)&^understood != 0 {
			a.slow = append(a.slow, s)
			return
		}
	}
	s.start = uint32(prog.Start)
	base := uint32(len(a.insts))
	for _, in := range prog.Inst {
		a.insts = append(a.insts, instruction{in, base, s})
	}
}

// closure appends the instructions that are reached from one without consuming a
// byte: those that consume one, wait for the end of the path, or match.
func (a *automaton) closure(to []uint32, from uint32, holds syntax.EmptyOp) []uint32 {
	if a.visited[from] == a.round {
		return to
	}
	a.visited[from] = a.round
	in := &a.insts[from]
	switch in.Op {
	case syntax.InstAlt, syntax.InstAltMatch:
		return a.closure(a.closure(to, in.base+in.Out, holds), in.base+in.Arg, holds)
	case syntax.InstCapture, syntax.InstNop:
		return a.closure(to, in.base+in.Out, holds)
	case syntax.InstEmptyWidth:
		switch op := syntax.EmptyOp(in.Arg); {
		case op&^holds == 0:
			return a.closure(to, in.base+in.Out, holds)
		case op&^(holds|syntax.EmptyEndText) != 0:
			return to // never holds
		}
	case syntax.InstFail:
		return to
	}
	return append(to, from)
}

// step returns the state behind a byte.
func (a *automaton) step(at *state, b byte) int32 {
	var next []uint32
	a.round++
	for _, i := range at.insts {
		switch in := &a.insts[i]; in.Op {
		case syntax.InstRune, syntax.InstRune1, syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
			if in.MatchRune(rune(b)) { // PCRE sees bytes
				next = a.closure(next, in.base+in.Out, 0)
			}
		}
	}
	at.next[b] = a.state(next)
	return at.next[b]
}

// state returns the number of the state of a set of instructions.
func (a *automaton) state(insts []uint32) int32 {
	slices.Sort(insts)
	key := make([]byte, 0, 4*len(insts))
	for _, i := range insts {
		key = binary.LittleEndian.AppendUint32(key, i)
	}
	number, ok := a.numbers[string(key)]
	if !ok {
		number = int32(len(a.states))
		a.numbers[string(key)] = number
		a.states = append(a.states, &state{insts: insts})
	}
	return number
}

// matches returns the specifications that match a path that ends in a state.
func (a *automaton) matches(at *state) []*spec {
	if at.decided {
		return at.matched
	}
	holds := syntax.EmptyEndText
	if at == a.states[0] {
		holds |= syntax.EmptyBeginText
	}
	a.round++
	var end []uint32
	for _, i := range at.insts {
		end = a.closure(end, i, holds)
	}
	for _, i := range end {
		if in := &a.insts[i]; in.Op == syntax.InstMatch {
			at.matched = append(at.matched, in.spec)
		}
	}
	slices.SortFunc(at.matched, func(a, b *spec) int { return cmp.Compare(b.order, a.order) })
	at.decided = true
	return at.matched
}
