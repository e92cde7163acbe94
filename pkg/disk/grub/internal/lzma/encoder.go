package lzma

import "math/bits"

const (
	positions = 4 // remainders of a position that have statistics of their own (pb=2)
	states    = 12
	minLen    = 2

	nearSlots = 14  // slots of distances whose bits all have statistics
	near      = 128 // the distances in them
	alignBits = 4
	slots     = 32 // of distances in the window
)

// A state is the history of the last steps. Below 7 the last one was a literal.
type state int

func (s state) isLiteral() bool { return s < 7 }

func (s state) literal() state {
	switch {
	case s < 4:
		return 0
	case s < 10:
		return s - 3
	}
	return s - 6
}

// after returns the state after a match or repetition.
func (s state) after(afterLiteral, otherwise state) state {
	if s.isLiteral() {
		return afterLiteral
	}
	return otherwise
}

func (s state) match() state    { return s.after(7, 10) }
func (s state) rep() state      { return s.after(8, 11) }
func (s state) shortRep() state { return s.after(9, 11) }

// A source is the origin of the bytes of a step: literal for none, below 4 one of
// the latest distances, else the distance 4 less than the source.
type source int

const literal source = -1

// reps is the number of latest distances with a source of their own.
const reps = 4

func (s state) step(from source) state {
	if from < reps {
		return s.rep()
	}
	return s.match()
}

// A step is a literal, a match or a repetition.
type step struct {
	length int
	from   source
}

// latest are the distances used last, the newest first.
type latest [reps]int

func (l latest) use(from source) latest {
	distance := int(from) - reps
	if from < reps {
		distance = l[from]
	}
	for i := min(int(from), reps-1); i > 0; i-- {
		l[i] = l[i-1]
	}
	l[0] = distance
	return l
}

// lengths are the statistics of lengths.
type lengths struct {
	choice, choice2 prob
	low, mid        [positions][8]prob
	high            [256]prob
	prices          [positions][niceLen - 1]price // for lengths up to niceLen
	countdown       [positions]int                // until the next computation of prices
}

func (l *lengths) init() {
	l.choice, l.choice2 = probInit, probInit
	initProbs(l.high[:])
	for p := range positions {
		initProbs(l.low[p][:])
		initProbs(l.mid[p][:])
		l.update(p)
	}
}

func (l *lengths) update(position int) {
	for i := range l.prices[position] {
		switch {
		case i < 8:
			l.prices[position][i] = l.choice.price(0) + treePrice(l.low[position][:], 3, i)
		case i < 16:
			l.prices[position][i] = l.choice.price(1) + l.choice2.price(0) + treePrice(l.mid[position][:], 3, i-8)
		default:
			l.prices[position][i] = l.choice.price(1) + l.choice2.price(1) + treePrice(l.high[:], 8, i-16)
		}
	}
	l.countdown[position] = len(l.prices[position])
}

func (l *lengths) encode(r *rangeEncoder, length, position int) {
	switch length -= minLen; {
	case length < 8:
		r.bit(&l.choice, 0)
		r.tree(l.low[position][:], 3, length)
	case length < 16:
		r.bit(&l.choice, 1)
		r.bit(&l.choice2, 0)
		r.tree(l.mid[position][:], 3, length-8)
	default:
		r.bit(&l.choice, 1)
		r.bit(&l.choice2, 1)
		r.tree(l.high[:], 8, length-16)
	}
	if l.countdown[position]--; l.countdown[position] == 0 {
		l.update(position)
	}
}

func (l *lengths) price(length, position int) price { return l.prices[position][length-minLen] }

// slot returns the upper two bits of a distance and the number of bits below.
func slot(distance int) int {
	if distance < 4 {
		return distance
	}
	n := bits.Len(uint(distance)) - 1
	return 2*n + distance>>(n-1)&1
}

// footer returns the number of bits of a distance below its slot, and the first
// distance of the slot.
func footer(slot int) (bits, base int) {
	bits = slot/2 - 1
	return bits, (2 | slot&1) << bits
}

// distances are the statistics of distances, which depend on the length of the
// match.
type distances struct {
	slots [4][64]prob
	near  [nearSlots][64]prob
	align [1 << alignBits]prob

	slotPrices  [4][slots]price
	nearPrices  [4][near]price
	alignPrices [1 << alignBits]price
	used        int // matches since slotPrices and nearPrices were computed
	alignUsed   int // and of far ones since alignPrices were
}

func (d *distances) init() {
	for i := range d.slots {
		initProbs(d.slots[i][:])
	}
	for i := range d.near {
		initProbs(d.near[i][:])
	}
	initProbs(d.align[:])
	d.update()
	d.updateAlign()
}

func (d *distances) update() {
	var low [near]price
	for distance := 4; distance < near; distance++ {
		s := slot(distance)
		bits, base := footer(s)
		low[distance] = reversePrice(d.near[s][:], bits, distance-base)
	}
	for class := range d.slots {
		for s := range slots {
			d.slotPrices[class][s] = treePrice(d.slots[class][:], 6, s)
			if s >= nearSlots {
				bits, _ := footer(s)
				d.slotPrices[class][s] += price(bits-alignBits) << priceBits
			}
		}
		for distance := range near {
			d.nearPrices[class][distance] = d.slotPrices[class][slot(distance)] + low[distance]
		}
	}
	d.used = 0
}

func (d *distances) updateAlign() {
	for i := range d.alignPrices {
		d.alignPrices[i] = reversePrice(d.align[:], alignBits, i)
	}
	d.alignUsed = 0
}

// class returns the index of the statistics for matches of a length.
func class(length int) int { return min(length-minLen, 3) }

func (d *distances) price(distance, length int) price {
	if distance < near {
		return d.nearPrices[class(length)][distance]
	}
	return d.slotPrices[class(length)][slot(distance)] + d.alignPrices[distance%(1<<alignBits)]
}

func (d *distances) encode(r *rangeEncoder, distance, length int) {
	s := slot(distance)
	r.tree(d.slots[class(length)][:], 6, s)
	if s >= 4 {
		bits, base := footer(s)
		if s < nearSlots {
			r.reverse(d.near[s][:], bits, distance-base)
		} else {
			r.direct((distance-base)>>alignBits, bits-alignBits)
			r.reverse(d.align[:], alignBits, distance%(1<<alignBits))
			d.alignUsed++
		}
	}
	d.used++
}

// encoder has all other statistics, and the output so far.
type encoder struct {
	finder
	rangeEncoder
	at    int // position of the next step
	state state
	reps  latest

	literals  [8][0x300]prob // by the upper bits of the byte before (lc=3)
	isMatch   [states][positions]prob
	isRep     [states]prob
	isRepG0   [states]prob
	isRepG1   [states]prob
	isRepG2   [states]prob
	isLong    [states][positions]prob // a repetition of the latest distance, of more than a byte
	lengths   lengths
	repLength lengths
	distances distances

	plan   []step // steps to encode, the last first
	nodes  [maxNodes]node
	peeked bool // the matches at the position are known, the longest has peekedLen bytes
	peek   int
}

// Encode compresses data to a bare stream without end mark, with lc=3, lp=0,
// pb=2 and a window of 64 KiB. The bytes are those of the encoder of GRUB.
func Encode(data []byte) []byte {
	e := &encoder{finder: finder{data: data}, rangeEncoder: newRangeEncoder()}
	for i := range e.literals {
		initProbs(e.literals[i][:])
	}
	for s := range states {
		initProbs(e.isMatch[s][:])
		initProbs(e.isLong[s][:])
	}
	for _, p := range [][]prob{e.isRep[:], e.isRepG0[:], e.isRepG1[:], e.isRepG2[:]} {
		initProbs(p)
	}
	e.lengths.init()
	e.repLength.init()
	e.distances.init()
	if len(data) > 0 {
		e.find()
		e.encode(step{1, literal})
	}
	for e.at < len(data) {
		e.encode(e.next())
		if e.at == e.pos { // prices do not change within a plan
			if e.distances.used >= 128 {
				e.distances.update()
			}
			if e.distances.alignUsed >= 1<<alignBits {
				e.distances.updateAlign()
			}
		}
	}
	return e.finish()
}

// literalProbs returns the statistics of the byte at a position.
func (e *encoder) literalProbs(at int) []prob {
	before := byte(0)
	if at > 0 {
		before = e.data[at-1]
	}
	return e.literals[before>>5][:]
}

// literalBits calls visit with the statistics of each bit of a byte. After a
// match they depend on the byte that follows the source of the match.
func literalBits(p []prob, s state, b, matched byte, visit func(p *prob, bit int)) {
	symbol, expected := 1, 0
	if !s.isLiteral() {
		expected = 0x100
	}
	for i := 7; i >= 0; i-- {
		bit, want := int(b>>i)&1, int(matched>>i)&1
		visit(&p[expected+expected*want+symbol], bit)
		symbol = symbol<<1 | bit
		if bit != want {
			expected = 0
		}
	}
}

func (e *encoder) literalPrice(s state, at int, matched byte) (sum price) {
	literalBits(e.literalProbs(at), s, e.data[at], matched, func(p *prob, bit int) { sum += p.price(bit) })
	return sum
}

// encode encodes a step and advances by its length.
func (e *encoder) encode(st step) {
	r, s, position := &e.rangeEncoder, e.state, e.at%positions
	switch {
	case st.from == literal:
		r.bit(&e.isMatch[s][position], 0)
		var matched byte
		if !s.isLiteral() {
			matched = e.data[e.at-1-e.reps[0]]
		}
		literalBits(e.literalProbs(e.at), s, e.data[e.at], matched, r.bit)
		e.state = s.literal()
	case st.from < reps:
		r.bit(&e.isMatch[s][position], 1)
		r.bit(&e.isRep[s], 1)
		e.encodeRep(st, s, position)
		e.reps = e.reps.use(st.from)
	default:
		r.bit(&e.isMatch[s][position], 1)
		r.bit(&e.isRep[s], 0)
		e.lengths.encode(r, st.length, position)
		e.distances.encode(r, int(st.from)-reps, st.length)
		e.state = s.match()
		e.reps = e.reps.use(st.from)
	}
	e.at += st.length
}

func (e *encoder) encodeRep(st step, s state, position int) {
	r := &e.rangeEncoder
	if st.from == 0 {
		r.bit(&e.isRepG0[s], 0)
		if st.length == 1 {
			r.bit(&e.isLong[s][position], 0)
			e.state = s.shortRep()
			return
		}
		r.bit(&e.isLong[s][position], 1)
	} else {
		r.bit(&e.isRepG0[s], 1)
		if st.from == 1 {
			r.bit(&e.isRepG1[s], 0)
		} else {
			r.bit(&e.isRepG1[s], 1)
			r.bit(&e.isRepG2[s], int(st.from)-2)
		}
	}
	e.repLength.encode(r, st.length, position)
	e.state = s.rep()
}

// repPrice returns the price of the index of one of the latest distances.
func (e *encoder) repPrice(from source, s state, position int) price {
	switch from {
	case 0:
		return e.isRepG0[s].price(0) + e.isLong[s][position].price(1)
	case 1:
		return e.isRepG0[s].price(1) + e.isRepG1[s].price(0)
	}
	return e.isRepG0[s].price(1) + e.isRepG1[s].price(1) + e.isRepG2[s].price(int(from)-2)
}

func (e *encoder) shortRepPrice(s state, position int) price {
	return e.isRepG0[s].price(0) + e.isLong[s][position].price(0)
}
