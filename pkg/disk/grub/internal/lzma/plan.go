package lzma

// maxNodes is the number of positions that a plan looks ahead.
const maxNodes = 1 << 12

// A node is a position ahead of the encoder, with the cheapest known way to it. The
// last step of the way begins at prev. A literal may precede it, and a step the
// literal: together they are one alternative.
type node struct {
	price price
	state state
	reps  latest

	prev     int
	from     source
	combined combined
	before   struct { // of withLiteralAndStep
		prev int
		from source
	}
}

type combined int

const (
	single combined = iota
	withLiteral
	withLiteralAndStep
)

// next returns the step at the position of the encoder.
func (e *encoder) next() step {
	if len(e.plan) == 0 {
		e.think()
	}
	st := e.plan[len(e.plan)-1]
	e.plan = e.plan[:len(e.plan)-1]
	return st
}

func (e *encoder) decide(st step) { e.plan = append(e.plan, st) }

// look finds matches at the next position.
func (e *encoder) look() int {
	if e.peeked {
		e.peeked = false
		return e.peek
	}
	return e.find()
}

// think plans the steps from the position of the encoder to the next position where
// all ways join or a long match begins.
func (e *encoder) think() {
	available := e.remaining()
	longest := e.look()
	if available < 2 {
		e.decide(step{1, literal})
		return
	}
	repLens, best := e.repLens(min(available, maxLen))
	if n := repLens[best]; n >= niceLen {
		e.decide(step{n, source(best)})
		e.skip(n - 1)
		return
	}
	if longest >= niceLen {
		e.decide(step{longest, source(e.matches[len(e.matches)-1].distance + reps)})
		e.skip(longest - 1)
		return
	}
	end := max(longest, repLens[best])
	if end < 2 && !e.repeats(e.at, e.reps[0]) {
		e.decide(step{1, literal})
		return
	}
	e.nodes[0] = node{state: e.state, reps: e.reps}
	f := e.fork(0, e.at)
	e.nodes[1] = node{price: f.literal, from: literal}
	if p := f.shortRep; p < f.literal {
		e.nodes[1].price, e.nodes[1].from = p, 0
	}
	if end < 2 {
		e.decide(step{1, e.nodes[1].from})
		return
	}
	e.reach(1, end)
	e.offerFirst(&f, &repLens)
	e.explore(end)
}

// repLens returns the lengths of the repetitions of all latest distances, or zero
// below two bytes, and the index of the longest.
func (e *encoder) repLens(limit int) (lens [reps]int, best int) {
	for i, distance := range e.reps {
		if n := e.common(e.at, distance, 0, limit); n >= 2 {
			lens[i] = n
		}
		if lens[i] > lens[best] {
			best = i
		}
	}
	return lens, best
}

// repeats reports whether a byte is the same as that at a distance.
func (e *encoder) repeats(at, distance int) bool { return e.data[at] == e.data[at-1-distance] }

// A fork is a node that steps are offered from. Its prices are those of the way to the
// node and of the step; prices of matches and repetitions lack distance and length.
type fork struct {
	*node
	cur, at, position int // index of the node, position in the data, and its remainder

	literal, match, rep price
	shortRep            price // infinite unless the byte is that at the latest distance
}

// fork returns the fork of a node.
func (e *encoder) fork(cur, at int) fork {
	n, position := &e.nodes[cur], at%positions
	matched := e.data[at-1-n.reps[0]]
	match := n.price + e.isMatch[n.state][position].price(1)
	f := fork{
		node: n, cur: cur, at: at, position: position,
		literal:  n.price + e.isMatch[n.state][position].price(0) + e.literalPrice(n.state, at, matched),
		match:    match + e.isRep[n.state].price(0),
		rep:      match + e.isRep[n.state].price(1),
		shortRep: infinite,
	}
	if e.data[at] == matched {
		f.shortRep = f.rep + e.shortRepPrice(n.state, position)
	}
	return f
}

// offerFirst offers the repetitions and matches of the first node.
func (e *encoder) offerFirst(f *fork, repLens *[reps]int) {
	for i, n := range repLens {
		e.offerRep(f, source(i), n)
	}
	n := max(repLens[0]+1, 2)
	for _, m := range e.matches {
		for ; n <= m.length; n++ {
			e.offerMatch(f, m.distance, n)
		}
	}
}

// offerRep offers the repetitions of a latest distance, of all lengths up to a limit.
// It returns their price without that of the length.
func (e *encoder) offerRep(f *fork, from source, limit int) price {
	p := f.rep + e.repPrice(from, f.state, f.position)
	for n := limit; n >= 2; n-- {
		e.offer(f.cur+n, node{price: p + e.repLength.price(n, f.position), prev: f.cur, from: from})
	}
	return p
}

// offerMatch offers a match and returns its price.
func (e *encoder) offerMatch(f *fork, distance, length int) price {
	p := f.match + e.lengths.price(length, f.position) + e.distances.price(distance, length)
	e.offer(f.cur+length, node{price: p, prev: f.cur, from: source(distance + reps)})
	return p
}

// offer replaces the way to a node by a cheaper one.
func (e *encoder) offer(to int, n node) {
	if n.price < e.nodes[to].price {
		e.nodes[to] = n
	}
}

// explore extends the ways from each node, in order.
func (e *encoder) explore(end int) {
	for cur := 1; ; cur++ {
		if cur == end {
			e.trace(cur)
			return
		}
		full := e.remaining()
		longest := e.find()
		if longest >= niceLen {
			e.peeked, e.peek = true, longest
			e.trace(cur)
			return
		}
		e.arrive(cur)
		end = e.leave(cur, end, longest, min(full, maxNodes-1-cur))
	}
}

// arrive computes the state at a node from the way to it.
func (e *encoder) arrive(cur int) {
	n := &e.nodes[cur]
	if n.prev == cur-1 { // never combined
		before := &e.nodes[n.prev]
		n.reps = before.reps
		if n.from == literal {
			n.state = before.state.literal()
		} else {
			n.state = before.state.shortRep()
		}
		return
	}
	switch n.combined {
	case single:
		before := &e.nodes[n.prev]
		n.reps, n.state = before.reps.use(n.from), before.state.step(n.from)
	case withLiteral:
		before := &e.nodes[n.prev-1]
		n.reps, n.state = before.reps, before.state.literal().rep()
	case withLiteralAndStep:
		before := &e.nodes[n.before.prev]
		n.reps, n.state = before.reps.use(n.before.from), before.state.step(n.before.from).literal().rep()
	}
}

// leave offers ways from a node, and returns the last node that they reach. The
// input has available bytes from the node on.
func (e *encoder) leave(cur, end, longest, available int) int {
	f := e.fork(cur, e.pos-1)
	improved := e.offerByte(&f)
	if available < 2 {
		return end
	}
	if !improved && f.shortRep == infinite {
		end = e.offerLiteralRep(&f, end, available)
	}
	start, end := e.offerReps(&f, end, available)
	return e.offerMatches(&f, start, end, longest, available)
}

// offerByte offers a literal and a repetition of one byte. It reports whether one of
// them is the cheapest way to the next node so far.
func (e *encoder) offerByte(f *fork) (improved bool) {
	next := &e.nodes[f.cur+1]
	if f.literal < next.price {
		*next, improved = node{price: f.literal, prev: f.cur, from: literal}, true
	}
	if f.shortRep <= next.price && !(next.prev < f.cur && next.from == 0) {
		*next, improved = node{price: f.shortRep, prev: f.cur, from: 0}, true
	}
	return improved
}

// offerLiteralRep offers a literal followed by a repetition of the latest distance.
func (e *encoder) offerLiteralRep(f *fork, end, available int) int {
	n := e.common(f.at+1, f.reps[0], 0, min(available-1, niceLen))
	if n < 2 {
		return end
	}
	end = e.reach(end, f.cur+1+n)
	e.offer(f.cur+1+n, node{
		price: f.literal + e.latestPrice(f.state.literal(), f.at+1, n),
		prev:  f.cur + 1, from: 0, combined: withLiteral,
	})
	return end
}

// offerReps offers repetitions. It returns the least length for a match: one that is
// not longer than the repetition of the latest distance is never cheaper.
func (e *encoder) offerReps(f *fork, end, available int) (start, last int) {
	start = 2
	for i, distance := range f.reps {
		n := e.common(f.at, distance, 0, min(available, niceLen))
		if n < 2 {
			continue
		}
		end = e.reach(end, f.cur+n)
		p := e.offerRep(f, source(i), n)
		if i == 0 {
			start = n + 1
		}
		end = e.offerResumed(f, end, available, p+e.repLength.price(n, f.position), step{n, source(i)})
	}
	return start, end
}

// offerMatches offers matches of start bytes and more.
func (e *encoder) offerMatches(f *fork, start, end, longest, available int) int {
	matches := e.matches
	if limit := min(available, niceLen); longest > limit { // the first match that is long enough ends the search
		longest = limit
		for i := range matches {
			if matches[i].length >= longest {
				matches[i].length = longest
				matches = matches[:i+1]
				break
			}
		}
	}
	if longest < start {
		return end
	}
	end = e.reach(end, f.cur+longest)
	for _, m := range matches {
		for ; start <= m.length; start++ {
			p := e.offerMatch(f, m.distance, start)
			if start == m.length {
				end = e.offerResumed(f, end, available, p, step{start, source(m.distance + reps)})
			}
		}
	}
	return end
}

// offerResumed offers a step, followed by a literal and by a repetition of the same
// distance. The price includes the step.
func (e *encoder) offerResumed(f *fork, end, available int, p price, st step) int {
	distance := int(st.from) - reps
	if st.from < reps {
		distance = f.reps[st.from]
	}
	at := f.at + st.length // of the literal
	after := e.common(at+1, distance, 0, min(available, st.length+1+niceLen)-st.length-1)
	if after < 2 {
		return end
	}
	s := f.state.step(st.from)
	p += e.isMatch[s][at%positions].price(0) + e.literalPrice(s, at, e.data[at-1-distance])
	p += e.latestPrice(s.literal(), at+1, after)
	to := node{price: p, prev: f.cur + st.length + 1, from: 0, combined: withLiteralAndStep}
	to.before.prev, to.before.from = f.cur, st.from
	last := f.cur + st.length + 1 + after
	end = e.reach(end, last)
	e.offer(last, to)
	return end
}

// latestPrice returns the price of a repetition from the latest distance.
func (e *encoder) latestPrice(s state, at, length int) price {
	position := at % positions
	return e.isMatch[s][position].price(1) + e.isRep[s].price(1) +
		e.repLength.price(length, position) + e.repPrice(0, s, position)
}

// reach adds nodes to the plan, as unreachable.
func (e *encoder) reach(end, to int) int {
	for ; end < to; end++ {
		e.nodes[end+1] = node{price: infinite}
	}
	return end
}

// trace sets the plan to the way to a node.
func (e *encoder) trace(cur int) {
	for cur > 0 {
		n := &e.nodes[cur]
		e.decide(step{cur - n.prev, n.from})
		cur = n.prev
		if n.combined == single {
			continue
		}
		e.decide(step{1, literal})
		cur--
		if n.combined == withLiteralAndStep {
			e.decide(step{cur - n.before.prev, n.before.from})
			cur = n.before.prev
		}
	}
}
