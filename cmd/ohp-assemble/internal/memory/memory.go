// Package memory sets how much garbage the heap of the program may have.
package memory

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// Sizes of the heap at the next garbage collection: at least lowMemory, and larger
// than its live objects by at least leastGarbage and a fraction of 1/garbageShare.
const (
	lowMemory    = 128 << 20
	leastGarbage = 64 << 20
	garbageShare = 4
)

// minHeap is the size in the runtime of a heap without live objects, at 100 percent.
const minHeap = 4 << 20

// FollowHeap makes the size of the heap follow its live objects. The metadata of most
// trees is tens of megabytes, and collecting its garbage seldom costs little.
// A memory limit is no substitute: it counts the unused parts of the heap, so that
// close to the limit the collector runs all the time.
func FollowHeap() {
	debug.SetGCPercent(400)
	afterCollection(func() {
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(live)
		debug.SetGCPercent(garbagePercent(int64(live[0].Value.Uint64())))
	})
}

// garbagePercent returns the garbage that the heap may have, in percent of its live
// bytes.
func garbagePercent(live int64) int {
	garbage := max(lowMemory-live, leastGarbage, live/garbageShare)
	return int(100 * garbage / max(live, minHeap))
}

// afterCollection calls do after every garbage collection.
func afterCollection(do func()) {
	type sentinel struct{ _ *int } // garbage at once
	var arm func(*sentinel)
	arm = func(*sentinel) {
		do()
		runtime.SetFinalizer(&sentinel{new(int)}, arm)
	}
	runtime.SetFinalizer(&sentinel{new(int)}, arm)
}
