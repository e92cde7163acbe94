package build

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/assemble"
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/upload"
)

// Options are the options of [Write].
type Options struct {
	Strict bool  // fail if an image breaks a rule of its cloud; otherwise it has no upload document
	Begin  Begin // may be nil
}

// A Result is the result of [Write].
type Result struct {
	Files    []Written // in the order of the plan
	Warnings []string  // rules of clouds that images break, except those of the plan's warnings
}

// A Written is a file that this package has written.
type Written struct {
	Path string
	cloud.File
}

// Write writes the files of a plan, their upload documents, meta.json and
// images.json into a folder, which it makes if it is missing. If the folder has images
// of the same operating system, they stay in meta.json; those of any other
// system do not. Several files are written at a time.
func Write(ctx context.Context, dir string, p *assemble.Plan, o Options) (*Result, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	res := &Result{Files: make([]Written, len(p.Files))}
	warnings := make([]error, len(p.Files))
	workers, ctx := errgroup.WithContext(ctx)
	workers.SetLimit(runtime.GOMAXPROCS(0))
	for i, f := range p.Files {
		workers.Go(func() (err error) {
			if res.Files[i], err = writeImage(ctx, dir, f, o.Begin); err == nil {
				warnings[i], err = addUpload(dir, f, res.Files[i].File, o.Strict)
			}
			return p.System.Deployment.Explain(err)
		})
	}
	if err := workers.Wait(); err != nil {
		return nil, err
	}
	for _, w := range warnings {
		if w != nil {
			res.Warnings = append(res.Warnings, w.Error())
		}
	}
	return res, update(dir, func(there *Build) (*Build, error) { return addFiles(dir, there, p, res), nil })
}

// addFiles returns the build in a folder with the files of a plan added, or a new one.
func addFiles(dir string, there *Build, p *assemble.Plan, res *Result) *Build {
	b := &Build{Meta: metaOf(p.System)}
	if there.is(b.Meta) {
		there.dropMissing(dir)
		b.Images, b.Files, b.unlisted = there.Images, there.Files, there.unlisted
	}
	for i, f := range res.Files {
		b.set(f.File)
		if id := f.Platform; p.Files[i].Platform.Emerging && !slices.Contains(b.unlisted, id) {
			b.unlisted = append(b.unlisted, id)
		}
	}
	return b
}

// dropMissing forgets the images whose files do not exist.
func (b *Build) dropMissing(dir string) {
	b.Files = slices.DeleteFunc(b.Files, func(f cloud.File) bool {
		_, err := os.Stat(filepath.Join(dir, f.Name))
		if err != nil {
			delete(b.Images, f.Platform)
		}
		return err != nil
	})
}

// writeImage writes a file of a plan.
func writeImage(ctx context.Context, dir string, f *assemble.File, begin Begin) (w Written, err error) {
	w.Path = filepath.Join(dir, f.Name)
	step := begin.begin(Work{Path: w.Path, Platform: f.Platform.ID, Size: f.Work()})
	defer func() { step.End(err) }()
	w.File, err = f.Save(ctx, w.Path, step)
	return w, err
}

// addUpload writes the upload document of a written file. If the file breaks a
// rule of its cloud, it removes the document of an earlier image instead and
// returns a warning, unless the plan has that.
func addUpload(dir string, f *assemble.File, written cloud.File, strict bool) (warning, err error) {
	doc, unfit := f.Upload(written)
	if unfit != nil {
		if err := os.Remove(filepath.Join(dir, uploadName(written))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		switch {
		case f.Unfit != nil:
			return nil, nil
		case strict:
			return nil, unfit
		}
		return unfit, nil
	}
	if written.Platform == "aws" {
		blocks, err := upload.Blocks(f.Disk.Image)
		if err != nil {
			return nil, err
		}
		if err := doc.Direct(blocks); err != nil {
			return nil, err
		}
	}
	return nil, writeUpload(dir, written, doc)
}

// Work is the work on one file.
type Work struct {
	Path     string
	Platform string
	Size     int64 // expected number of bytes; zero if it is unknown
}

// Begin is called when the work on a file begins. Several files are worked on at a
// time.
type Begin func(Work) Step

// A Step shows the progress of the work on one file. The work writes its bytes to
// it to count them, and ends it once.
type Step interface {
	io.Writer
	End(error)
}

// silent is a step without a display.
type silent struct{ io.Writer }

func (silent) End(error) {}

func (b Begin) begin(w Work) Step {
	if b == nil {
		return silent{io.Discard}
	}
	return b(w)
}
