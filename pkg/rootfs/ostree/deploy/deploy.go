// Package deploy lays out the root file system and the boot partition of a
// CoreOS disk with one ostree deployment:
//
//	/                                   the root of the disk's root file system
//	├── .aleph-version.json             where the image came from; bootc's is .bootc-aleph.json
//	├── boot/                           mount point
//	└── ostree/
//	    ├── repo/                       objects, refs and config, mode "bare"
//	    ├── boot.1 -> boot.1.1
//	    ├── boot.1.1/OS/BOOTCSUM/0      link to the deployment, the target of ostree=
//	    └── deploy/OS/
//	        ├── var/                    /var of the system
//	        ├── backing/                for a transient root
//	        └── deploy/
//	            ├── COMMIT.0/           the tree, hard links into repo/objects
//	            │   ├── .ostree.cfs     the tree as a composefs image
//	            │   └── etc/            /etc of the system, a copy of usr/etc
//	            └── COMMIT.0.origin     where updates come from
//
// The result is that of "ostree admin deploy" in an empty system root, with one
// difference: all of it has a security context, because no kernel is there to
// give new files one and files without are unusable on an enforcing system.
//
// Left out are upgrades, of which the merge of /etc is the greater part, and
// the boot loader. See ostree-prepare-root(1) and
// https://ostreedev.github.io/ostree/deployment/.
package deploy

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/coreos"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree/composefs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/selinux"
)

// Options say which commit is deployed, and under which names.
type Options struct {
	Commit    ostree.Checksum // of the repository, with all its objects
	System    *rootfs.Inode   // the result of repo.Tree(Commit); nil makes it again
	Composefs rootfs.Blob     // the composefs image of System; nil makes it again
	Stateroot string          // name of the operating system below ostree/deploy; empty means coreos.DefaultStateroot
	Origin    string          // container reference that updates come from, "ostree-unverified-registry:…" or such
	BLSAppend string          // see coreos.Config; empty means coreos.DefaultBLSAppend
	Aleph     Aleph
	Time      rootfs.Time // modification time of files outside of the commit; at least a second after the epoch
}

// A Deployment is a system that is ready to be put on a disk.
type Deployment struct {
	Root     *rootfs.Inode   // tree of the root file system
	System   *rootfs.Inode   // tree of the commit
	Policy   *selinux.Policy // of the system; nil if it has none
	Kernel   string          // version of its kernel
	Bootcsum ostree.Checksum // of its kernel and initramfs

	options Options
	title   string
	labels  labels
}

// New deploys a commit of a repository.
func New(repo *ostree.Repo, o Options) (*Deployment, error) {
	d, err := newDeployment(repo, o)
	if err != nil {
		return nil, fmt.Errorf("deploy: %w", err)
	}
	return d, nil
}

func newDeployment(repo *ostree.Repo, o Options) (*Deployment, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	system, err := o.System, error(nil)
	if system == nil {
		if system, err = repo.Tree(o.Commit); err != nil {
			return nil, err
		}
	}
	if err := checkSystem(system); err != nil {
		return nil, err
	}
	d := &Deployment{System: system, options: o}
	if d.Policy, err = selinux.Load(system); err != nil {
		return nil, err
	}
	d.labels = newLabels(d.Policy)
	if d.Kernel, err = coreos.Kernel(system); err != nil {
		return nil, err
	}
	if d.title, err = title(repo, o.Commit, system); err != nil {
		return nil, err
	}
	// The kernel is hashed while the system is checked out: both take long.
	var sumErr error
	hashed := make(chan struct{})
	go func() {
		defer close(hashed)
		d.Bootcsum, sumErr = bootcsum(system.Resolve(path.Join("usr/lib/modules", d.Kernel)))
	}()
	deployment, err := d.checkout(repo)
	<-hashed
	if err := errors.Join(sumErr, err); err != nil {
		return nil, err
	}
	d.Root, err = d.physicalRoot(repo, deployment)
	return d, err
}

// complete sets defaults and refuses names that would end up elsewhere.
func (o *Options) complete() error {
	if o.Stateroot == "" {
		o.Stateroot = coreos.DefaultStateroot
	}
	if o.BLSAppend == "" {
		o.BLSAppend = coreos.DefaultBLSAppend
	}
	// libostree compares the time of /ostree/deploy with the one that it read
	// last, which begins as zero: it would never read a directory of time zero.
	o.Time.Sec = max(o.Time.Sec, 1)
	if o.Stateroot == "." || o.Stateroot == ".." || strings.ContainsAny(o.Stateroot, "/ \t\r\n\x00") {
		return fmt.Errorf("stateroot %q cannot be a directory of that name", o.Stateroot)
	}
	if o.Origin == "" || strings.ContainsAny(o.Origin, "\r\n\x00") {
		return fmt.Errorf("origin %q is not a reference", o.Origin)
	}
	if strings.ContainsAny(o.BLSAppend, "\r\n\x00") {
		return fmt.Errorf("bls-append-except-default %q is more than a line", o.BLSAppend)
	}
	return nil
}

// checkSystem refuses trees that ostree would refuse or rearrange.
func checkSystem(system *rootfs.Inode) error {
	if n := system.Children["etc"]; n != nil && (!n.IsDir() || len(n.Children) > 0) {
		return errors.New("the commit has an /etc, which belongs into /usr/etc")
	}
	for _, name := range []string{"usr", "usr/etc"} {
		if n := system.Lookup(name); n == nil || !n.IsDir() {
			return fmt.Errorf("the commit has no directory /%s", name)
		}
	}
	if n := system.Children["var"]; n != nil && !n.IsDir() {
		return errors.New("/var of the commit is not a directory")
	}
	if system.Children[composefsName] != nil {
		return fmt.Errorf("the commit has a file /%s of its own", composefsName)
	}
	return nil
}

// name returns the name of the deployment. Its serial number is always 0.
func (d *Deployment) name() string { return d.options.Commit.String() + ".0" }

// physicalRoot puts the deployment, the repository and their links in their
// places.
func (d *Deployment) physicalRoot(repo *ostree.Repo, deployment *rootfs.Inode) (*rootfs.Inode, error) {
	os, name := d.options.Stateroot, d.name()
	l := d.labels
	repository, err := d.repository(repo)
	if err != nil {
		return nil, err
	}
	root := d.dir(0o755, l.root, entries{
		"boot": d.dir(0o755, l.boot, nil),
		"ostree": d.dir(0o755, l.ostree, entries{
			"repo":   repository,
			"boot.1": d.link("boot.1.1", l.ostree),
			"boot.1.1": d.dir(0o755, l.ostree, entries{os: d.dir(0o755, l.ostree, entries{
				d.Bootcsum.String(): d.dir(0o755, l.ostree, entries{
					"0": d.link("../../../deploy/"+os+"/deploy/"+name, l.ostree),
				}),
			})}),
			"deploy": d.dir(0o755, l.ostree, entries{os: d.dir(0o755, l.ostree, entries{
				"var":     d.stateVar(),
				"backing": d.backing(),
				"deploy": d.dir(0o755, l.ostree, entries{
					name:             deployment,
					name + ".origin": d.text("[origin]\ncontainer-image-reference="+d.options.Origin+"\n", l.origin),
				}),
			})}),
		}),
	})
	return root, d.addAleph(root)
}

// repository returns the tree of ostree/repo.
func (d *Deployment) repository(repo *ostree.Repo) (*rootfs.Inode, error) {
	label := d.labels.repo
	objects := d.objects(repo)
	heads := d.dir(0o755, label, nil)
	// This ref keeps the deployment from being pruned: boot.1.1, index 0.
	if err := d.ref(heads, "ostree/1/1/0", d.options.Commit); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(repo.Refs)) {
		if err := d.ref(heads, name, repo.Refs[name]); err != nil {
			return nil, err
		}
	}
	config := strings.Replace(ostree.RepoConfig, coreos.DefaultBLSAppend, d.options.BLSAppend, 1)
	return d.dir(0o755, label, entries{
		"config":     d.text(config, label),
		"objects":    objects,
		"extensions": d.dir(0o755, label, nil),
		"state":      d.dir(0o755, label, nil),
		"tmp":        d.dir(0o755, label, entries{"cache": d.dir(0o755, label, nil)}),
		"refs": d.dir(0o755, label, entries{
			"heads":   heads,
			"mirrors": d.dir(0o755, label, nil),
			"remotes": d.dir(0o755, label, nil),
		}),
	}), nil
}

// ref adds the file of a ref, whose name has slashes.
func (d *Deployment) ref(heads *rootfs.Inode, name string, commit ostree.Checksum) error {
	dir := heads
	parts := strings.Split(name, "/")
	for i, part := range parts {
		next := dir.Children[part]
		switch last := i == len(parts)-1; {
		case part == "" || part == "." || part == "..":
			return fmt.Errorf("ref %q is not the name of a file", name)
		case last && next == nil:
			next = d.text(commit.String()+"\n", d.labels.repo)
		case next == nil:
			next = d.dir(0o755, d.labels.repo, nil)
		case last || !next.IsDir():
			return fmt.Errorf("ref %q is also another's directory", name)
		}
		dir.Children[part] = next
		dir = next
	}
	return nil
}

// backing returns the directories that an overlay on the root would use.
func (d *Deployment) backing() *rootfs.Inode {
	label := d.labels.ostree
	upper := d.dir(d.System.Mode&0o7777, d.labels.root, nil)
	upper.UID, upper.GID = d.System.UID, d.System.GID
	return d.dir(0o700, label, entries{d.name(): d.dir(0o700, label, entries{
		"root-transient": d.dir(0o700, label, entries{
			"upper": upper,
			"work":  d.dir(0o700, label, nil),
		}),
	})})
}

// stateVar returns /var of the system, which begins as that of the commit.
func (d *Deployment) stateVar() *rootfs.Inode {
	v := rootfs.Dir(0o755)
	if n := d.System.Children["var"]; n != nil {
		v = d.copyTree(n)
		delete(v.Children, ".updated")
	}
	v.MTime = d.options.Time
	if d.System.Resolve("usr/lib/tmpfiles.d") == nil {
		d.addClassicVar(v)
	}
	if d.Policy == nil {
		return v
	}
	v.Children[".ostree-selabeled"] = d.text("", "") // ostree would go through all of it again
	return d.Policy.Label(v, "/var")
}

// addClassicVar adds the files that ostree expects in /var of a system that does
// not make them when it boots.
func (d *Deployment) addClassicVar(v *rootfs.Inode) {
	classic := entries{
		"lib":  d.dir(0o755, "", nil),
		"log":  d.dir(0o755, "", nil),
		"tmp":  d.dir(0o1777, "", nil),
		"lock": d.link("../run/lock", ""),
		"run":  d.link("../run", ""),
	}
	for name, n := range classic {
		if v.Children[name] == nil {
			v.Children[name] = n
		}
	}
}

// composefsName is where the initramfs looks for the composefs image.
const composefsName = ".ostree.cfs"

// checkout returns the tree of the deployment.
func (d *Deployment) checkout(repo *ostree.Repo) (*rootfs.Inode, error) {
	image := d.options.Composefs
	if image == nil {
		b, err := composefs.Format(d.System, composefs.Options{IDs: repo.IDs()})
		if err != nil {
			return nil, d.Explain(err)
		}
		image = bytes.NewReader(b)
	}
	c := checkout{time: d.options.Time, links: map[*rootfs.Inode]int{}}
	root := copyDir(c.tree(d.System))
	if v := root.Children["var"]; v != nil && v.Children[".updated"] != nil {
		v = copyDir(v)
		delete(v.Children, ".updated")
		root.Children["var"] = v
	}
	etc := d.copyTree(d.System.Lookup("usr/etc"))
	delete(etc.Children, ".updated")
	root.Children["etc"] = d.Policy.Label(etc, "/etc")
	file := d.text("", d.labels.usr)
	file.Content = image
	root.Children[composefsName] = file
	root.MTime = d.options.Time
	root.Immutable = true // nothing but ostree itself belongs here
	return root, nil
}

// maxLinks is how many names ext4 allows a file; XFS allows more.
const maxLinks = 65000

// A checkout links files to their objects.
type checkout struct {
	time  rootfs.Time
	links map[*rootfs.Inode]int // names that a file has beside its object
}

// tree returns the checkout of a tree, which is the tree itself as far as it has
// no files to copy.
func (c checkout) tree(n *rootfs.Inode) *rootfs.Inode {
	if n.IsDir() {
		var dir *rootfs.Inode
		for _, name := range n.Names() {
			child := c.tree(n.Children[name])
			if child == n.Children[name] {
				continue
			}
			if dir == nil {
				dir = copyDir(n)
			}
			dir.Children[name] = child
		}
		return cmp.Or(dir, n)
	}
	// Empty files are many and equal, so ostree does not link them.
	if n.IsFile() && n.Size() == 0 || c.links[n]+1 >= maxLinks {
		file := *n
		file.MTime = c.time
		return &file
	}
	c.links[n]++
	return n
}

// copyDir copies a directory with its entries, which stay the same inodes.
func copyDir(n *rootfs.Inode) *rootfs.Inode {
	dir := *n
	dir.Children = maps.Clone(n.Children)
	return &dir
}

// copyTree copies a tree, every name of it a file of its own.
func (d *Deployment) copyTree(n *rootfs.Inode) *rootfs.Inode {
	fresh := *n
	fresh.MTime = d.options.Time
	if n.IsDir() {
		fresh.Children = make(map[string]*rootfs.Inode, len(n.Children))
		for name, child := range n.Children {
			fresh.Children[name] = d.copyTree(child)
		}
	}
	return &fresh
}

type entries map[string]*rootfs.Inode

func (d *Deployment) dir(perm uint32, context string, children entries) *rootfs.Inode {
	n := rootfs.Dir(perm)
	if children != nil {
		n.Children = children
	}
	return d.made(n, context)
}

func (d *Deployment) text(s, context string) *rootfs.Inode {
	return d.made(rootfs.Text(0o644, s), context)
}

func (d *Deployment) link(target, context string) *rootfs.Inode {
	return d.made(rootfs.Link(target), context)
}

// made gives an inode that is not in the commit its time and context.
func (d *Deployment) made(n *rootfs.Inode, context string) *rootfs.Inode {
	n.MTime = d.options.Time
	n.Xattrs = d.labels.xattrs(context)
	return n
}
