package pull

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrBusy is the error of [Image.Save] with NoWait while another process downloads the same
// image to the same folder.
var ErrBusy = errors.New("another pull of the same image to this folder is in progress")

var errReplaced = errors.New("the file was renamed or removed")

// openPart opens and locks a partial file, which an earlier download may have left. It
// waits for other processes, unless noWait is set.
func openPart(ctx context.Context, name string, noWait bool) (*os.File, error) {
	for {
		f, err := tryPart(name)
		switch {
		case errors.Is(err, errReplaced):
			continue
		case !errors.Is(err, unix.EWOULDBLOCK):
			return f, err
		case noWait:
			return nil, ErrBusy
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func tryPart(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o666)
	if err != nil {
		return nil, err
	}
	if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
		err = checkPart(f, name)
	}
	if err != nil {
		f.Close()
		return nil, &os.PathError{Op: "lock", Path: name, Err: err}
	}
	return f, nil
}

// checkPart rejects a file that another user can write to, and a file that does not have
// the name any more.
func checkPart(f *os.File, name string) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	stat := info.Sys().(*syscall.Stat_t)
	if !info.Mode().IsRegular() || int(stat.Uid) != os.Geteuid() || stat.Nlink > 1 {
		return errors.New("not a regular file of this user, or it has several names")
	}
	now, err := os.Lstat(name)
	if err != nil || !os.SameFile(info, now) {
		return errReplaced
	}
	return nil
}
