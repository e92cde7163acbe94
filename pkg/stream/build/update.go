package build

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
)

// create makes a file under a temporary name in the folder of its final name. The
// caller commits the file or removes it.
func create(name string, perm fs.FileMode) (*renameio.PendingFile, error) {
	return renameio.NewPendingFile(name, renameio.WithTempDir(filepath.Dir(name)), renameio.WithPermissions(perm))
}

// lock locks a folder against other processes until the lock is closed.
func lock(dir string) (io.Closer, error) {
	l, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(l.Fd()), unix.LOCK_EX); err != nil {
		l.Close()
		return nil, &fs.PathError{Op: "lock", Path: dir, Err: err}
	}
	return l, nil
}

// update changes the documents of a folder while it holds the folder's lock. The
// argument of change is the build in the folder, nil if there is none; its
// result is written.
func update(dir string, change func(*Build) (*Build, error)) error {
	l, err := lock(dir)
	if err != nil {
		return err
	}
	defer l.Close()
	b, err := read(os.DirFS(dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var was []byte
	if b != nil {
		was = b.metaJSON()
	}
	if b, err = change(b); err != nil {
		return err
	}
	if err := stream.WriteFile(filepath.Join(dir, ImagesFile), stream.Marshal(imagesOf(b)), 0o666); err != nil {
		return err
	}
	if meta := b.metaJSON(); !bytes.Equal(meta, was) {
		return stream.WriteFile(filepath.Join(dir, MetaFile), meta, 0o666)
	}
	return nil
}

// metaJSON returns the content of meta.json.
func (b *Build) metaJSON() []byte {
	listed := *b.Meta
	listed.Images = maps.Clone(b.Images)
	maps.DeleteFunc(listed.Images, func(platform string, _ stream.Artifact) bool { return slices.Contains(b.unlisted, platform) })
	return stream.Marshal(&listed)
}

// is reports whether a folder has a build of the operating system that m describes.
func (b *Build) is(m *stream.Meta) bool {
	return b != nil && b.BuildID == m.BuildID && b.Name == m.Name && b.OSTreeCommit == m.OSTreeCommit && b.BaseArch == m.BaseArch
}

// errReplaced is the error of a folder that another process wrote a build to.
var errReplaced = fmt.Errorf("%s is now that of another build", MetaFile)
