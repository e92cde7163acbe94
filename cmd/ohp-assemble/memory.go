package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// Bounds of the memory in use. Below lowMemory garbage is seldom collected; above
// it the heap may be 1/headroom larger than its live objects.
const (
	lowMemory = 200 << 20
	headroom  = 3
)

// collectGarbage makes the memory limit follow the work. The metadata of most
// trees is tens of megabytes, and collecting its garbage seldom costs little. A
// fixed limit below the live objects of a large tree would make the collector run
// all the time, so every collection sets the limit for the next one.
func collectGarbage() {
	debug.SetGCPercent(400)
	debug.SetMemoryLimit(lowMemory)
	afterCollection(func() {
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(live)
		n := int64(live[0].Value.Uint64())
		debug.SetMemoryLimit(max(lowMemory, n+n/headroom+lowMemory/8))
	})
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
