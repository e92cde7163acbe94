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
	available = min(available, maxLen)
	at, s, position := e.at, e.state, e.at%positions

	best := 0
	var repLens [reps]int
	for i, distance := range e.reps {
		if n := e.common(at, distance, 0, available); n >= 2 {
			repLens[i] = n
		}
		if repLens[i] > repLens[best] {
			best = i
		}
	}
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
	b, matched := e.data[at], e.data[at-1-e.reps[0]]
	if longest < 2 && b != matched && repLens[best] < 2 {
		e.decide(step{1, literal})
		return
	}

	first, second := &e.nodes[0], &e.nodes[1]
	*first = node{state: s, reps: e.reps}
	*second = node{price: e.isMatch[s][position].price(0) + e.literalPrice(s, at, matched), from: literal}
	matchPrice := e.isMatch[s][position].price(1)
	repPrice := matchPrice + e.isRep[s].price(1)
	if b == matched {
		if p := repPrice + e.shortRepPrice(s, position); p < second.price {
			second.price, second.from = p, 0
		}
	}
	end := max(longest, repLens[best])
	if end < 2 {
		e.decide(step{1, second.from})
		return
	}
	for i := 2; i <= end; i++ {
		e.nodes[i] = node{price: infinite}
	}
	for i, n := range repLens {
		base := repPrice + e.repPrice(source(i), s, position)
		for ; n >= 2; n-- {
			e.offer(n, node{price: base + e.repLength.price(n, position), from: source(i)})
		}
	}
	matchPrice += e.isRep[s].price(0)
	n := 2
	if repLens[0] >= 2 {
		n = repLens[0] + 1
	}
	for _, m := range e.matches {
		for ; n <= m.length; n++ {
			e.offer(n, node{price: matchPrice + e.lengths.price(n, position) + e.distances.price(m.distance, n), from: source(m.distance + reps)})
		}
	}
	e.explore(end)
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
	n := &e.nodes[cur]
	at := e.pos - 1
	s, position := n.state, at%positions
	b, matched := e.data[at], e.data[at-1-n.reps[0]]

	literalPrice := n.price + e.isMatch[s][position].price(0) + e.literalPrice(s, at, matched)
	next, improved := &e.nodes[cur+1], false
	if literalPrice < next.price {
		*next, improved = node{price: literalPrice, prev: cur, from: literal}, true
	}
	matchPrice := n.price + e.isMatch[s][position].price(1)
	repPrice := matchPrice + e.isRep[s].price(1)
	if b == matched && !(next.prev < cur && next.from == 0) {
		if p := repPrice + e.shortRepPrice(s, position); p <= next.price {
			*next, improved = node{price: p, prev: cur, from: 0}, true
		}
	}
	if available < 2 {
		return end
	}
	if !improved && b != matched {
		after := min(available, niceLen+1) - 1
		if after = e.common(at+1, n.reps[0], 0, after); after >= 2 {
			end = e.reach(end, cur+1+after)
			e.offer(cur+1+after, node{
				price: literalPrice + e.latestPrice(s.literal(), at+1, after),
				prev:  cur + 1, from: 0, combined: withLiteral,
			})
		}
	}
	short := min(available, niceLen)
	start := 2
	for i, distance := range n.reps {
		length := e.common(at, distance, 0, short)
		if length < 2 {
			continue
		}
		end = e.reach(end, cur+length)
		base := repPrice + e.repPrice(source(i), s, position)
		for l := length; l >= 2; l-- {
			e.offer(cur+l, node{price: base + e.repLength.price(l, position), prev: cur, from: source(i)})
		}
		if i == 0 {
			start = length + 1
		}
		end = e.resume(cur, end, available, base+e.repLength.price(length, position), step{length, source(i)})
	}
	matches := e.matches
	if longest > short { // the first match that is long enough ends the search
		longest = short
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
	end = e.reach(end, cur+longest)
	matchPrice += e.isRep[s].price(0)
	for _, m := range matches {
		for ; start <= m.length; start++ {
			p := matchPrice + e.lengths.price(start, position) + e.distances.price(m.distance, start)
			st := step{start, source(m.distance + reps)}
			e.offer(cur+start, node{price: p, prev: cur, from: st.from})
			if start == m.length {
				end = e.resume(cur, end, available, p, st)
			}
		}
	}
	return end
}

// resume offers a step from a node, followed by a literal and by a repetition of
// the same distance. The price includes the step.
func (e *encoder) resume(cur, end, available int, p price, st step) int {
	n := &e.nodes[cur]
	distance := int(st.from) - reps
	if st.from < reps {
		distance = n.reps[st.from]
	}
	at := e.pos - 1 + st.length // of the literal
	after := e.common(at+1, distance, 0, min(available, st.length+1+niceLen)-st.length-1)
	if after < 2 {
		return end
	}
	s := n.state.step(st.from)
	p += e.isMatch[s][at%positions].price(0) + e.literalPrice(s, at, e.data[at-1-distance])
	p += e.latestPrice(s.literal(), at+1, after)
	to := node{price: p, prev: cur + st.length + 1, from: 0, combined: withLiteralAndStep}
	to.before.prev, to.before.from = cur, st.from
	last := cur + st.length + 1 + after
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
