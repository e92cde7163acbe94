package disk

import (
	"iter"
	"runtime"
	"sync"
)

// InOrder does work on all cores and yields what it makes in the order of what
// it was made from, so that nothing tells how many cores there were. Each
// worker is made by a call of worker and works in a goroutine of its own; what
// it is given must be its own as well. An error of in is the last thing that is
// yielded.
func InOrder[In, Out any](in iter.Seq2[In, error], worker func() func(In) Out) iter.Seq2[Out, error] {
	type job struct {
		in   In
		out  Out
		err  error
		done chan struct{}
	}
	return func(yield func(Out, error) bool) {
		workers := runtime.GOMAXPROCS(0)
		todo, order, stop := make(chan *job), make(chan *job, 4*workers), make(chan struct{})
		var wait sync.WaitGroup
		defer wait.Wait()
		defer close(stop)
		wait.Go(func() {
			defer close(todo)
			defer close(order)
			for v, err := range in {
				j := &job{in: v, err: err, done: make(chan struct{})}
				if err != nil {
					close(j.done)
				}
				select {
				case order <- j:
				case <-stop:
					return
				}
				if err != nil {
					return
				}
				select {
				case todo <- j:
				case <-stop:
					return
				}
			}
		})
		for range workers {
			work := worker()
			wait.Go(func() {
				for j := range todo {
					j.out = work(j.in)
					close(j.done)
				}
			})
		}
		for j := range order {
			<-j.done
			if !yield(j.out, j.err) || j.err != nil {
				return
			}
		}
	}
}
