package memory

import "testing"

func TestGarbagePercent(t *testing.T) {
	for _, c := range []struct {
		live int64 // MiB
		want int64 // MiB of the heap at the next collection
	}{{0, 128}, {2, 128}, {4, 128}, {50, 128}, {96, 160}, {120, 184}, {200, 264}, {400, 500}} {
		percent := int64(garbagePercent(c.live << 20))
		heap := c.live + max(c.live, minHeap>>20)*percent/100
		if heap < c.want-4 || heap > c.want+4 {
			t.Errorf("%d MiB of live objects: heap may grow to %d MiB, want %d", c.live, heap, c.want)
		}
	}
}
