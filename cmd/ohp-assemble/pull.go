package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/oci"
	"github.com/ohp-assemble/ohp-assemble/pkg/stream/pull"
)

// A pullResult is what pull prints.
type pullResult struct {
	Reference    string `json:"reference"` // with the digest of the manifest
	Digest       string `json:"digest"`    // of the manifest
	Platform     string `json:"platform"`
	Arch         string `json:"arch"`
	Format       string `json:"format"`
	Path         string `json:"path"`
	Size         int64  `json:"size"`                          // of the file
	Allocated    int64  `json:"allocated"`                     // that the file takes on its disk
	SHA256       string `json:"sha256"`                        // of the file
	Uncompressed string `json:"uncompressed_sha256,omitempty"` // if the publisher tells it, or the file is not compressed
}

// print shows what was pulled to a person.
func (r *pullResult) print(w io.Writer) {
	table(w, [][]string{
		{"FILE", "PLATFORM", "ARCH", "FORMAT", "SIZE", "ON DISK", "SHA256"},
		{r.Path, r.Platform, r.Arch, r.Format, size(r.Size), size(r.Allocated), r.SHA256},
	})
}

type pullOptions struct {
	pull.Options
	registry registryFlags
	out      string
	format   string
	quiet    bool
}

func pullCommand() *cobra.Command {
	var o pullOptions
	cmd := &cobra.Command{
		Use:   "pull REFERENCE",
		Short: "Fetch a disk image from a registry",
		Long: `pull fetches one disk image from a registry: one that was published, one of Fedora's
pipeline or of podman machine, a KubeVirt containerDisk, or one that belongs to
the operating system container that is named. Every byte is checked against the
digest that its manifest has, and the file has its name when it is whole.

Kernel, initramfs and root file system for the network are --platform live-kernel
and so on, or --platform metal --image-format kernel.

A pull that was cut off leaves a hidden file in the folder, named by the digest
of what is in it; the next pull of the same image there goes on from it.`,
		Example: `  ohp-assemble pull registry.example/os-images:stable --platform qemu --decompress
  ohp-assemble pull registry.example/os@sha256:... --platform metal --arch arm64 --out images`,
		Args: exactArgs(1, "one reference"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(); err != nil {
				return err
			}
			ui := newUI(o.quiet)
			defer ui.wait()
			res, err := pullImage(cmd.Context(), ui, args[0], o)
			if err != nil {
				return err
			}
			ui.wait()
			return show(cmd.OutOrStdout(), o.format, res)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Platform, "platform", "", "`platform` to fetch the image for, where there are several")
	f.StringVar(&o.Arch, "arch", runtime.GOARCH, "`architecture`, where there are several; a variant may follow, as amd64/v3")
	f.StringVar(&o.Format, "image-format", "", "`format` of the image, where there are several: qcow2, raw, raw.gzip, tar.gz, ...")
	f.BoolVar(&o.Decompress, "decompress", false, "decompress the image: gzip, xz, zstd or zip")
	f.StringVarP(&o.out, "out", "o", ".", "`folder` for the image; it is made if missing")
	o.registry.flags(cmd)
	f.BoolVarP(&o.quiet, "quiet", "q", false, "say nothing but the result and errors")
	formatFlag(cmd, &o.format)
	return cmd
}

// check completes the options.
func (o *pullOptions) check() (err error) {
	if err := checkFormat(o.format); err != nil {
		return err
	}
	o.Registry, err = o.registry.options()
	return err
}

// pullImage fetches an image into the folder that was asked for.
func pullImage(ctx context.Context, ui *ui, reference string, o pullOptions) (_ *pullResult, err error) {
	if err := writable(o.out); err != nil {
		return nil, err
	}
	step := ui.begin("pull", "pull", 0)
	defer func() { step.End(err) }()
	o.Progress = step
	img, err := pull.Find(ctx, reference, o.Options)
	if err != nil {
		return nil, err
	}
	ui.say("found %s: %s, %s", img.Reference, cmp.Or(img.Title, "a file in a container image"), size(img.Size))
	if err := os.MkdirAll(o.out, 0o777); err != nil {
		return nil, err
	}
	res := &pullResult{Reference: img.Reference, Digest: img.Manifest.String(), Platform: img.Platform, Arch: img.Arch}
	return res, res.fetch(ctx, ui, img, o.out, "", "")
}

// fetch fetches an image into a folder, under its own name if it is given none.
// If it must have a digest, there will be no file that has it not.
func (r *pullResult) fetch(ctx context.Context, ui *ui, img *pull.Image, dir, name, sha256 string) error {
	return guarded(ctx, func() error { return r.save(ctx, ui, img, dir, name, sha256) })
}

func (r *pullResult) save(ctx context.Context, ui *ui, img *pull.Image, dir, name, sha256 string) error {
	part, err := openPart(ctx, ui, filepath.Join(dir, "."+img.BlobDigest().Encoded()+".part"))
	if err != nil {
		return err
	}
	defer part.Close()
	want := img.Expected()
	want.Name = cmp.Or(name, want.Name)
	if done, err := r.standing(ctx, want, dir); done || err != nil {
		os.Remove(part.Name())
		return err
	}
	tmp := filepath.Join(dir, "."+img.BlobDigest().Encoded()+".unpacked.part")
	unpacked, err := create(tmp, 0o666)
	if err != nil {
		return err
	}
	defer os.Remove(tmp)
	defer unpacked.Close()

	file, err := img.Fetch(ctx, part, unpacked)
	if err == nil && sha256 != "" && file.SHA256 != sha256 {
		err = fmt.Errorf("%w: %s has sha256 %s, not %s", oci.ErrVerify, img.Reference, file.SHA256, sha256)
	}
	if err != nil {
		return leave(ui, part, err)
	}
	whole := part
	if file.Unpacked {
		whole = unpacked
	}
	r.Path = filepath.Join(dir, cmp.Or(name, file.Name))
	r.Size, r.Allocated, err = commit(whole, whole.Name(), r.Path)
	r.Format, r.SHA256, r.Uncompressed = file.Format, file.SHA256, file.Uncompressed
	if err == nil && file.Unpacked {
		os.Remove(part.Name())
	}
	return err
}

// standing reports whether the file is there already, from an earlier pull.
func (r *pullResult) standing(ctx context.Context, want pull.File, dir string) (bool, error) {
	name := filepath.Join(dir, want.Name)
	info, err := os.Lstat(name)
	if want.Name == "" || want.SHA256 == "" || err != nil || !info.Mode().IsRegular() || want.Size > 0 && want.Size != info.Size() {
		return false, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return false, nil
	}
	defer f.Close()
	sum := newSink(ctx, nil)
	if _, err := io.Copy(sum, f); err != nil || sum.Sum() != want.SHA256 {
		return false, ctx.Err()
	}
	r.Path, r.Size, r.Allocated = name, info.Size(), onDisk(info)
	r.SHA256, r.Uncompressed, r.Format = want.SHA256, want.Uncompressed, want.Format
	return true, nil
}

// openPart opens what an earlier pull may have left of a file, and waits until
// no other one works on it.
func openPart(ctx context.Context, ui *ui, name string) (*os.File, error) {
	for waiting := false; ; {
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o666)
		if err != nil {
			return nil, err
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			err = checkPart(f, name)
		}
		if err == nil {
			return f, nil
		}
		f.Close()
		if errors.Is(err, errGone) {
			continue
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, &os.PathError{Op: "lock", Path: name, Err: err}
		}
		if !waiting {
			ui.say("waiting for another pull of the same image to this folder ...")
			waiting = true
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

var errGone = errors.New("it was renamed or removed")

// checkPart refuses a file that somebody else can write to, whatever is in it
// now, and one that is no longer what has the name.
func checkPart(f *os.File, name string) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	stat := info.Sys().(*syscall.Stat_t)
	if !info.Mode().IsRegular() || int(stat.Uid) != os.Geteuid() || stat.Nlink > 1 {
		return errors.New("it is not a file of ours")
	}
	now, err := os.Lstat(name)
	if err != nil || !os.SameFile(info, now) {
		return errGone
	}
	return nil
}

// leave says what is left of a pull that did not come to its end.
func leave(ui *ui, part *os.File, err error) error {
	info, statErr := part.Stat()
	if statErr != nil || info.Size() == 0 || errors.Is(err, oci.ErrVerify) {
		os.Remove(part.Name())
		return err
	}
	ui.say("%s of it are kept in %s, for the next pull to go on", size(info.Size()), part.Name())
	return err
}
