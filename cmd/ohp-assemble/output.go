package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// A guard lets the program exit as soon as it is interrupted, except during a call
// that removes its temporary files when its context is done.
type guard struct{ calls sync.RWMutex }

type guardKey struct{}

// withGuard returns a context for [guarded] and [interrupted].
func withGuard(ctx context.Context) context.Context {
	return context.WithValue(ctx, guardKey{}, &guard{})
}

// guarded makes a call that may have temporary files. Guarded calls do not nest.
func guarded(ctx context.Context, call func() error) error {
	if g, ok := ctx.Value(guardKey{}).(*guard); ok {
		g.calls.RLock()
		defer g.calls.RUnlock()
	}
	return call()
}

// interrupted returns a channel that is closed when ctx is done and no guarded call
// is running. No later call begins.
func interrupted(ctx context.Context) <-chan struct{} {
	c := make(chan struct{})
	context.AfterFunc(ctx, func() {
		ctx.Value(guardKey{}).(*guard).calls.Lock() // never unlocked
		close(c)
	})
	return c
}

// writable returns an error if no file can be created in a folder, or the folder
// itself cannot be created.
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

// allocated returns the number of bytes that a file takes on its disk, without holes.
func allocated(name string) (int64, error) {
	info, err := os.Stat(name)
	if err != nil {
		return 0, err
	}
	return onDisk(info), nil
}

// onDisk returns the number of bytes that a file takes on its disk, without holes.
func onDisk(info fs.FileInfo) int64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Blocks * 512
	}
	return info.Size()
}
