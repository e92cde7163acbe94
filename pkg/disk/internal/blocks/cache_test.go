package blocks

import (
	"errors"
	"sync"
	"testing"
)

// TestCache keeps the last blocks, and nothing that failed.
func TestCache(t *testing.T) {
	c := NewCache(cacheSize / 3)
	made := 0
	get := func(key uint64) {
		t.Helper()
		data, err := c.Get(key, func() ([]byte, error) { made++; return []byte{byte(key)}, nil })
		if err != nil || data[0] != byte(key) {
			t.Fatalf("block %d: %v, %v", key, data, err)
		}
	}
	for _, step := range []struct {
		key  uint64
		made int
	}{{0, 1}, {0, 1}, {1, 2}, {2, 3}, {0, 3}, {3, 4}, {1, 4}, {0, 5}} {
		if get(step.key); made != step.made {
			t.Errorf("block %d: %d were made, want %d", step.key, made, step.made)
		}
	}
	broken := errors.New("broken")
	if _, err := c.Get(9, func() ([]byte, error) { return nil, broken }); err != broken {
		t.Error(err)
	}
	get(9)

	large := NewCache(2 * cacheSize)
	var wait sync.WaitGroup
	for i := range uint64(100) {
		wait.Go(func() {
			data, err := large.Get(i%3, func() ([]byte, error) { return []byte{byte(i % 3)}, nil })
			if err != nil || data[0] != byte(i%3) {
				t.Errorf("block %d: %v, %v", i%3, data, err)
			}
		})
	}
	wait.Wait()
}
