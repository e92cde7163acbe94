package oci

import (
	"errors"
	"os"
	"sync"
)

// An Image is a fetched image. Its layers are open files of the cache. Any number of
// goroutines may read it at once.
type Image struct {
	*Manifest
	Layers []*Layer // lowest first

	mu    sync.Mutex
	files []*os.File // see keep
}

// keep closes a file with the image.
func (m *Image) keep(f *os.File) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files = append(m.files, f)
}

// Close closes the layers. Their content cannot be read afterwards.
func (m *Image) Close() error {
	var errs []error
	closed := map[*os.File]bool{}
	for _, l := range m.Layers {
		if l == nil {
			continue
		}
		for _, f := range []*os.File{l.pack, l.index.file} {
			if !closed[f] {
				closed[f] = true
				errs = append(errs, f.Close())
			}
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range m.files {
		errs = append(errs, f.Close())
	}
	m.files = nil
	return errors.Join(errs...)
}
