package disk

import (
	"errors"
	"iter"
	"runtime"
	"testing"
)

func numbers(n int, err error) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		for i := range n {
			if !yield(i, nil) {
				return
			}
		}
		if err != nil {
			yield(0, err)
		}
	}
}

func TestInOrder(t *testing.T) {
	square := func() func(int) int { return func(i int) int { return i * i } }
	for _, workers := range []int{1, 2, 5} {
		old := runtime.GOMAXPROCS(workers)
		next := 0
		for out, err := range InOrder(numbers(1000, nil), square) {
			if out != next*next || err != nil {
				t.Fatalf("%d: %d, %v", next, out, err)
			}
			next++
		}
		if next != 1000 {
			t.Errorf("%d of 1000", next)
		}
		bad := errors.New("bad")
		next = 0
		for _, err := range InOrder(numbers(10, bad), square) {
			if next++; (err != nil) != (next == 11) {
				t.Errorf("%d: %v", next, err)
			}
		}
		for out := range InOrder(numbers(1000, nil), square) { // left early
			if out > 100 {
				break
			}
		}
		runtime.GOMAXPROCS(old)
	}
}
