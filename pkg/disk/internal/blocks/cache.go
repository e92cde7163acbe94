package blocks

import "sync"

// A Cache keeps the last blocks that a reader decompressed, because sequential reads
// continue within a block. Any number of goroutines may use it.
type Cache struct {
	mu     sync.Mutex
	blocks []cached // a ring
	oldest int
}

type cached struct {
	key  uint64
	data []byte
}

// cacheSize is the size of a Cache in bytes. It holds at least one block.
const cacheSize = 4 << 20

// NewCache returns a Cache of blocks of the given size.
func NewCache(block int64) *Cache {
	return &Cache{blocks: make([]cached, max(cacheSize/block, 1))}
}

// Get returns the block of a key. If it is not cached, Get calls read. Goroutines may
// call read for different blocks at once.
func (c *Cache) Get(key uint64, read func() ([]byte, error)) ([]byte, error) {
	if data := c.find(key); data != nil {
		return data, nil
	}
	data, err := read()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.blocks[c.oldest] = cached{key, data}
	c.oldest = (c.oldest + 1) % len(c.blocks)
	return data, nil
}

func (c *Cache) find(key uint64) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.blocks {
		if b.data != nil && b.key == key {
			return b.data
		}
	}
	return nil
}
