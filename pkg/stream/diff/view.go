package diff

import (
	"fmt"
	"path"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk/inspect"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ignition"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/packages"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/system"
)

// A view is a side, read so far that it can be compared.
type view struct {
	Side
	report *inspect.Report // of a disk
	root   *rootfs.Inode   // of the system; nil if it cannot be read
	err    error           // the reason why root is nil
	sizes  map[string]int64
}

func newView(s Side) *view {
	v := &view{Side: s, sizes: map[string]int64{}}
	if s.Disk == nil {
		v.root = s.System.Deployment.System
		if all := inspect.Deployments(s.System.Deployment.Root); len(all) > 0 {
			v.root = all[0].Root
		}
		for _, l := range s.System.Container.Layers {
			v.sizes[SizeLayers] += l.Size
		}
		return v
	}
	v.report = s.Disk.Report()
	v.sizes[SizeVirtual] = s.Disk.Content.Size()
	if s.File > 0 {
		v.sizes[SizeFile], v.sizes[SizeAllocated] = s.File, s.Allocated
	}
	tree, err := s.Disk.Booted()
	if err == nil {
		err = tree.Err() // an empty directory in place of a file system would look like removed files
	}
	if v.err = err; err == nil {
		v.root = tree.Root
	}
	return v
}

// commit returns the deployed commit.
func (v *view) commit() string {
	switch {
	case v.System != nil:
		return v.System.Commit.String()
	case len(v.report.Deployments) > 0:
		return v.report.Deployments[0].Commit
	}
	return ""
}

// hasPartitions reports whether v is a disk that is more than one file system.
func (v *view) hasPartitions() bool { return v.report != nil && len(v.report.Partitions) > 0 }

// ids returns the object ids of files where they are known.
func (v *view) ids() map[*rootfs.Inode]ostree.Checksum {
	if v.System == nil {
		return nil
	}
	return v.System.Deployment.IDs()
}

// containers compares the properties of two containers.
func (d *Diff) containers(a, b *system.System) {
	d.about("digest", a.Container.Digest.String(), b.Container.Digest.String())
	d.about("architecture", a.Arch, b.Arch)
	d.about("created", a.Container.Created.String(), b.Container.Created.String())
	d.about("commit", a.Commit.String(), b.Commit.String())
	for _, name := range union(a.Container.Labels, b.Container.Labels) {
		d.about("label "+name, a.Container.Labels[name], b.Container.Labels[name])
	}
}

// trees compares the systems of two sides.
func (d *Diff) trees(a, b *view) error {
	if a.hasPartitions() && b.hasPartitions() {
		if err := d.ignition(a, b); err != nil {
			return err
		}
	}
	d.packages(a, b)
	rootA, rootB := inCommon(a, b)
	a.sizes[SizeContent], b.sizes[SizeContent] = contentSize(rootA), contentSize(rootB)
	return d.files(rootA, rootB, a.ids(), b.ids())
}

// inCommon returns the parts of two systems that both can have: of an image and
// a container, the files of the deployment.
func inCommon(a, b *view) (rootA, rootB *rootfs.Inode) {
	rootA, rootB = a.root, b.root
	if a.report != nil && b.report != nil {
		return withoutRepo(rootA), withoutRepo(rootB)
	}
	if a.System != nil && b.System != nil {
		return rootA, rootB
	}
	none := rootfs.Dir(0o755)
	for _, name := range []string{"boot", "sysroot", "var"} {
		rootA, rootB = inspect.Mount(rootA, name, none), inspect.Mount(rootB, name, none)
	}
	return rootA, rootB
}

// withoutRepo returns a booted system without the repository and deployments.
func withoutRepo(root *rootfs.Inode) *rootfs.Inode {
	sysroot := root.Children["sysroot"]
	if sysroot == nil || sysroot.Children["ostree"] == nil {
		return root
	}
	return inspect.Mount(root, "sysroot", inspect.Mount(sysroot, "ostree", rootfs.Dir(0o755)))
}

// contentSize returns the size of all files, each once.
func contentSize(root *rootfs.Inode) (n int64) {
	seen := map[*rootfs.Inode]bool{}
	for _, in := range root.Walk() {
		if in.IsFile() && !seen[in] {
			seen[in] = true
			n += in.Size()
		}
	}
	return n
}

// packages compares the package databases.
func (d *Diff) packages(a, b *view) {
	var all [2][]packages.Package
	for i, v := range []*view{a, b} {
		var err error
		if all[i], err = packages.Read(v.root); err != nil {
			d.skip(v, "packages: ", err)
			return
		}
	}
	d.Packages = packages.Diff(all[0], all[1])
	if len(all[0]) > 0 {
		d.same(len(d.Packages), "packages", len(all[0]))
	}
}

// ignition compares the embedded configs, and whether Ignition has run.
func (d *Diff) ignition(a, b *view) error {
	var configs [2]string
	for i, v := range []*view{a, b} {
		in := v.root.Lookup(path.Join("boot", ignition.Path))
		if in == nil {
			configs[i] = "not embedded"
			continue
		}
		sum, err := contentSum(in)
		if err != nil {
			return fmt.Errorf("%s: %w", ignition.Path, err)
		}
		configs[i] = fmt.Sprintf("%s, SHA-256 %s", rootfs.Bytes(in.Size()), sum)
	}
	d.Ignition = compare(d.Ignition, "config", configs[0], configs[1])
	firstBoot := map[bool]string{true: "still to come", false: "over"}
	d.Ignition = compare(d.Ignition, "first boot", firstBoot[a.report.FirstBoot], firstBoot[b.report.FirstBoot])
	d.same(len(d.Ignition), "Ignition", 0)
	return nil
}
