package layout

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/raw"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree/deploy"
)

// A damaged blob ends too early.
type damaged struct{ *strings.Reader }

var errDamaged = errors.New("the cache is damaged")

func (d damaged) ReadAt(p []byte, off int64) (int, error) { return 0, errDamaged }
func (damaged) Origin() string                            { return "layer sha256:1234" }

// onDisk returns an inode of the deployment that is not that of the system.
func onDisk(d *deploy.Deployment, name string) *rootfs.Inode {
	for path, n := range d.Root.Walk() {
		if strings.HasSuffix(path, ".0"+name) {
			return n
		}
	}
	return nil
}

// TestExplain has files that cannot be laid out or read. The error names their path
// in the system, which no file system knows, and their layer.
func TestExplain(t *testing.T) {
	const kernel = "usr/lib/modules/6.1/vmlinuz"
	spoil := func(name string) func(*deploy.Deployment) {
		return func(d *deploy.Deployment) { d.System.Lookup(name).Content = damaged{strings.NewReader("1234")} }
	}
	for name, c := range map[string]struct {
		change func(d *deploy.Deployment)
		want   string
	}{
		"attribute": {func(d *deploy.Deployment) {
			d.System.Lookup("usr/bin/b").Xattrs = map[string]string{"user.x": strings.Repeat("x", 1<<16+1)}
		}, ": /usr/bin/b: attribute"},
		"attribute of a file with a layer": {func(d *deploy.Deployment) {
			spoil("usr/bin/b")(d)
			d.System.Lookup("usr/bin/b").Xattrs = map[string]string{"trusted.": "x"}
		}, ": /usr/bin/b (layer sha256:1234): attribute"},
		"time": {func(d *deploy.Deployment) {
			d.System.Lookup("usr/bin/a").MTime.Sec = 1 << 50
		}, ": /usr/bin/a: time"},
		"directory": {func(d *deploy.Deployment) {
			onDisk(d, "/usr/bin").Xattrs = map[string]string{"bad": ""}
		}, ": /usr/bin: attribute"},
		"configuration": {func(d *deploy.Deployment) {
			onDisk(d, "/etc/selinux/config").Xattrs = map[string]string{"bad": ""}
		}, "etc/selinux/config: attribute"},
		"name in the ESP": {func(d *deploy.Deployment) {
			dir := d.System.Lookup("usr/lib/bootupd/updates/EFI/small")
			dir.Children["g.EFI"] = rootfs.Text(0o644, "twice")
		}, "fat: /usr/lib/bootupd/updates/EFI/small/g.efi: differs"},
		"content":             {spoil("usr/bin/b"), "disk: /usr/bin/b (layer sha256:1234): the cache is damaged"},
		"content of a kernel": {spoil(kernel), "disk: /" + kernel + " (layer sha256:1234): the cache is damaged"},
	} {
		for _, rootFS := range []string{"xfs", "ext4"} {
			root := system(t)
			place(t, root, "usr/bin/a", "a")
			place(t, root, "usr/bin/b", "b")
			d, choices := deployed(t, root)
			c.change(d)
			o := options("qemu")
			o.RootFS = rootFS
			base, err := New(d, choices, o.Options)
			var disk *Disk
			if err == nil {
				disk, err = base.Disk(o.Variant)
			}
			if err == nil {
				err = raw.Write(io.Discard, disk.Image)
			}
			got := d.Explain(err)
			if got == nil || !strings.Contains(got.Error(), c.want) || strings.Contains(got.Error(), "objects") {
				t.Errorf("%s, %s: %v, want %s (was %v)", name, rootFS, got, c.want, err)
			}
			if strings.HasPrefix(name, "content") && !errors.Is(got, errDamaged) {
				t.Errorf("%s, %s: the cause is lost", name, rootFS)
			}
		}
	}
	d, _ := deployed(t, system(t))
	for _, err := range []error{nil, io.ErrUnexpectedEOF, &rootfs.ContentError{Blob: strings.NewReader("of no file"), Err: io.EOF}} {
		if got := d.Explain(err); got != err {
			t.Errorf("%v becomes %v", err, got)
		}
	}
}
