package lzma

import "hash/crc32"

const (
	window    = 1 << 16 // the largest distance of a match
	niceLen   = 32      // matches of this length end the search
	maxDepth  = 32      // nodes of a tree that a search visits
	maxLen    = 273
	hash2Bits = 10
	hashBits  = 16
)

// A match is an earlier occurrence of the same bytes.
type match struct {
	length   int
	distance int // zero means the byte before
}

// A finder finds matches in binary trees, one for each hash of four bytes. A tree
// has earlier positions in the order of the bytes that follow. Positions in the
// tables are one more than in the data; zero means no position.
type finder struct {
	data    []byte
	pos     int // next position
	heads2  [1 << hash2Bits]int
	heads3  [1 << hashBits]int
	heads4  [1 << hashBits]int
	nodes   [window + 1][2]int // the positions with smaller and with larger text
	matches []match            // of the last position, by increasing length
}

func (f *finder) remaining() int { return len(f.data) - f.pos }

// within reports whether a position is in the window.
func (f *finder) within(head int) bool { return head != 0 && f.pos+1-head <= window }

// common returns the number of equal bytes at a position and at an earlier one,
// from a number that is known to be equal up to limit.
func (f *finder) common(at, distance, least, limit int) int {
	for least < limit && f.data[at+least] == f.data[at+least-1-distance] {
		least++
	}
	return least
}

// find collects the matches of a position, advances by one, and returns the length
// of the longest match.
func (f *finder) find() int {
	at := f.pos
	f.matches = f.matches[:0]
	f.step(true)
	if len(f.matches) == 0 {
		return 0
	}
	m := f.matches[len(f.matches)-1]
	if m.length < niceLen {
		return m.length
	}
	return f.common(at, m.distance, m.length, min(len(f.data)-at, maxLen))
}

func (f *finder) skip(n int) {
	for range n {
		f.step(false)
	}
}

func (f *finder) step(collect bool) {
	limit := min(f.remaining(), niceLen)
	if limit < 4 {
		f.pos++
		return
	}
	text := f.data[f.pos:]
	hash := crc32.IEEETable[text[0]] ^ uint32(text[1])
	head2 := &f.heads2[hash%(1<<hash2Bits)]
	hash ^= uint32(text[2]) << 8
	head3 := &f.heads3[hash%(1<<hashBits)]
	hash ^= crc32.IEEETable[text[3]] << 5
	head4 := &f.heads4[hash%(1<<hashBits)]

	longest := 0
	if collect {
		longest = f.short(*head2, *head3, limit)
	}
	f.insert(*head4, limit, max(longest, 3), collect && longest < limit)
	f.pos++
	*head2, *head3, *head4 = f.pos, f.pos, f.pos
}

// short collects the nearest matches of two and of three bytes, and returns the
// length of the longest.
func (f *finder) short(head2, head3, limit int) int {
	for i, head := range []int{head2, head3} {
		if (i == 0 || head != head2) && f.within(head) && f.data[head-1] == f.data[f.pos] {
			f.matches = append(f.matches, match{i + 2, f.pos - head})
		}
	}
	if len(f.matches) == 0 {
		return 0
	}
	m := &f.matches[len(f.matches)-1]
	m.length = f.common(f.pos, m.distance, m.length, limit)
	return m.length
}

// insert makes the position the root of a tree, and collects the matches on the
// way that are longer than longest.
func (f *finder) insert(head, limit, longest int, collect bool) {
	root := &f.nodes[f.pos%len(f.nodes)]
	smaller, larger := &root[0], &root[1]
	smallerLen, largerLen := 0, 0
	for range maxDepth {
		if !f.within(head) {
			break
		}
		node := &f.nodes[(head-1)%len(f.nodes)]
		distance := f.pos - head
		n := f.common(f.pos, distance, min(smallerLen, largerLen), limit)
		if collect && n > longest {
			longest = n
			f.matches = append(f.matches, match{n, distance})
		}
		if n == limit {
			*smaller, *larger = node[0], node[1]
			return
		}
		if f.data[head-1+n] < f.data[f.pos+n] {
			*smaller, smaller, smallerLen = head, &node[1], n
			head = *smaller
		} else {
			*larger, larger, largerLen = head, &node[0], n
			head = *larger
		}
	}
	*smaller, *larger = 0, 0
}
