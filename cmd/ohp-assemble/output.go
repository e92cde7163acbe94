package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// unfinished is held for reading by whoever has a temporary file, never twice by
// one, and sees to it that the context can end that. Who holds it for writing
// may end the process at any time, whatever else is being done.
var unfinished sync.RWMutex

// interrupted is closed once a context is done and no temporary file is left.
func interrupted(ctx context.Context) <-chan struct{} {
	c := make(chan struct{})
	context.AfterFunc(ctx, func() {
		unfinished.Lock() // for good: nobody begins another file
		close(c)
	})
	return c
}

// writeFile makes a file that appears under its name only when it is whole:
// fill writes a temporary file in the same folder, which is then renamed.
// What stood there before stays until that moment. It returns the size of the
// file, and what of it is not holes and so takes room on its disk.
func writeFile(name string, perm os.FileMode, fill func(*os.File) error) (size, allocated int64, err error) {
	unfinished.RLock()
	defer unfinished.RUnlock()
	tmp := filepath.Join(filepath.Dir(name), fmt.Sprintf(".%s.%d.part", filepath.Base(name), os.Getpid()))
	f, err := create(tmp, perm)
	if err != nil {
		return 0, 0, err
	}
	defer func() {
		f.Close()
		if err != nil {
			os.Remove(tmp)
		}
	}()
	if err := fill(f); err != nil {
		return 0, 0, fmt.Errorf("%s: %w", name, err)
	}
	return commit(f, tmp, name)
}

// create makes a file that was not there. In a folder that others write to,
// what has its name may be a trap: a link, or a file that they can read.
func create(name string, perm os.FileMode) (*os.File, error) {
	os.Remove(name)
	return os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, perm)
}

// commit gives a temporary file its name, once it is on the disk.
func commit(f *os.File, tmp, name string) (size, allocated int64, err error) {
	if err := f.Sync(); err != nil {
		return 0, 0, err
	}
	if size, allocated, err = fileSizes(f); err != nil {
		return 0, 0, err
	}
	return size, allocated, os.Rename(tmp, name)
}

// fileSizes returns the size of a file, and what of it is not holes and so
// takes room on its disk.
func fileSizes(f *os.File) (size, allocated int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	return info.Size(), onDisk(info), nil
}

// onDisk returns what of a file is not holes.
func onDisk(info fs.FileInfo) int64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Blocks * 512
	}
	return info.Size()
}

// writeText makes a small file.
func writeText(name string, perm os.FileMode, text []byte) error {
	_, _, err := writeFile(name, perm, func(f *os.File) error {
		_, err := f.Write(text)
		return err
	})
	return err
}

// writable says early whether files can be made in a folder, or the folder
// itself where it is missing.
func writable(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir):
		return writable(filepath.Dir(dir))
	case err != nil:
		return err
	case !info.IsDir():
		return &fs.PathError{Op: "mkdir", Path: dir, Err: syscall.ENOTDIR}
	}
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return &fs.PathError{Op: "write to", Path: dir, Err: err}
	}
	return nil
}

// A sink is the last station of every image: what passes is hashed and
// counted, and nothing passes once the context is done.
type sink struct {
	ctx   context.Context
	hash  hash.Hash
	count io.Writer // may be nil
	n     int64     // bytes that passed
}

func newSink(ctx context.Context, count io.Writer) *sink {
	return &sink{ctx: ctx, hash: sha256.New(), count: count}
}

func (s *sink) Write(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	if s.count != nil {
		s.count.Write(p)
	}
	s.n += int64(len(p))
	return s.hash.Write(p)
}

// Sum returns the SHA-256 of what passed, in hexadecimal.
func (s *sink) Sum() string { return hex.EncodeToString(s.hash.Sum(nil)) }

// newSpool returns a temporary file in a folder, which has no name and is gone
// when it is closed.
func newSpool(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, ".spool-*")
	if err != nil {
		return nil, err
	}
	return f, os.Remove(f.Name())
}
