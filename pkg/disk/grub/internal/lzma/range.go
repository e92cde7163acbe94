package lzma

// A prob is the probability that a bit is 0, in units of 1/2048.
type prob uint16

const (
	probBits = 11
	probInit = 1 << (probBits - 1)
	probMove = 5 // the larger, the slower a probability follows the bits
)

func initProbs(p []prob) {
	for i := range p {
		p[i] = probInit
	}
}

// A rangeEncoder encodes bits by their probabilities.
type rangeEncoder struct {
	out     []byte
	low     uint64
	width   uint32
	pending int // number of bytes that a carry may still change; the first one is held
	held    byte
}

func newRangeEncoder() rangeEncoder { return rangeEncoder{width: 0xFFFFFFFF, pending: 1} }

// shift moves the top byte of low to the output.
func (r *rangeEncoder) shift() {
	carry := byte(r.low >> 32)
	if carry != 0 || uint32(r.low) < 0xFF000000 {
		for b := r.held; r.pending > 0; r.pending-- {
			r.out = append(r.out, b+carry)
			b = 0xFF
		}
		r.held = byte(r.low >> 24)
	}
	r.pending++
	r.low = uint64(uint32(r.low) << 8)
}

func (r *rangeEncoder) normalize() {
	if r.width < 1<<24 {
		r.width <<= 8
		r.shift()
	}
}

func (r *rangeEncoder) finish() []byte {
	for range 5 {
		r.shift()
	}
	return r.out
}

func (r *rangeEncoder) bit(p *prob, bit int) {
	bound := r.width >> probBits * uint32(*p)
	if bit == 0 {
		r.width = bound
		*p += (1<<probBits - *p) >> probMove
	} else {
		r.low += uint64(bound)
		r.width -= bound
		*p -= *p >> probMove
	}
	r.normalize()
}

// direct encodes bits with equal probabilities of 0 and 1.
func (r *rangeEncoder) direct(value, bits int) {
	for bits--; bits >= 0; bits-- {
		r.width >>= 1
		if value>>bits&1 != 0 {
			r.low += uint64(r.width)
		}
		r.normalize()
	}
}

// tree encodes a symbol of some bits, the highest first.
func (r *rangeEncoder) tree(p []prob, bits, symbol int) {
	at := 1
	for bits--; bits >= 0; bits-- {
		bit := symbol >> bits & 1
		r.bit(&p[at], bit)
		at = at<<1 | bit
	}
}

// reverse encodes a symbol of some bits, the lowest first.
func (r *rangeEncoder) reverse(p []prob, bits, symbol int) {
	at := 1
	for ; bits > 0; bits-- {
		bit := symbol & 1
		r.bit(&p[at], bit)
		at, symbol = at<<1|bit, symbol>>1
	}
}

// A price is the cost of encoding, in units of 1/16 bit.
type price uint32

const (
	infinite  price = 1 << 30
	priceBits       = 4
)

// bitPrices are the prices of bits by the upper bits of their probability.
var bitPrices = func() (prices [1 << probBits >> priceBits]price) {
	for i := range prices {
		// The logarithm of the middle of the step, by squaring.
		w, log := uint32(i<<priceBits+1<<priceBits/2), price(0)
		for range priceBits {
			w *= w
			log <<= 1
			for ; w >= 1<<16; w >>= 1 {
				log++
			}
		}
		prices[i] = probBits<<priceBits - 15 - log
	}
	return prices
}()

func (p prob) price(bit int) price {
	if bit != 0 {
		p ^= 1<<probBits - 1
	}
	return bitPrices[p>>priceBits]
}

func treePrice(p []prob, bits, symbol int) (sum price) {
	for at := symbol | 1<<bits; at > 1; at >>= 1 {
		sum += p[at>>1].price(at & 1)
	}
	return sum
}

func reversePrice(p []prob, bits, symbol int) (sum price) {
	at := 1
	for ; bits > 0; bits-- {
		bit := symbol & 1
		sum += p[at].price(bit)
		at, symbol = at<<1|bit, symbol>>1
	}
	return sum
}
