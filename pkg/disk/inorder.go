package disk

import (
	"iter"
	"runtime"
	"sync"
)

// InOrder works on all cores and yields the results in the order of their inputs, so
// that the number of cores does not show. Each call of worker returns the function of
// one goroutine. Inputs must not share memory that a worker changes. An error of in
// is the last value.
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
