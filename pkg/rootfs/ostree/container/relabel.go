package container

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/selinux"
)

// A writer makes commits of trees, with the labels of a policy.
//
// The checksum of a file covers its label and its content, in this order, and
// labels are in a policy that may come with the last layer. So trees are
// planned first, then all labels are looked up, and then each file is read
// once for every label that it has, which is seldom more than one. Files of
// the repository that have the right label already are not read at all.
type writer struct {
	repo    *ostree.Repo
	policy  *selinux.Policy        // nil leaves labels as they are
	base    func() *selinux.Policy // labels files of layers for which policy has no label; may be nil
	numbers map[place]int
	places  []place
	labels  []string // by number of the place; "" if the policy has none
	lower   []string // the same of the base's policy, as far as it is needed
	objects map[object]*ostree.Checksum
	todo    []job
}

// A place has all that a label depends on.
type place struct {
	path string
	kind uint32
}

// An object is a file with its label.
type object struct {
	file  *rootfs.Inode
	label string
}

// A job is an object whose checksum is not known.
type job struct {
	path string // one that it has, for errors
	object
	id *ostree.Checksum
}

// A planned inode is one that is going to be in a commit.
type planned struct {
	name  string
	n     *rootfs.Inode
	place int
	kids  []*planned
}

func newWriter(repo *ostree.Repo, policy *selinux.Policy) *writer {
	return &writer{repo: repo, policy: policy, numbers: map[place]int{}, objects: map[object]*ostree.Checksum{}}
}

// plan takes note of a tree that is at a path.
func (w *writer) plan(at string, n *rootfs.Inode) *planned {
	where := place{at, n.Type()}
	number, ok := w.numbers[where]
	if !ok {
		number = len(w.places)
		w.numbers[where] = number
		w.places = append(w.places, where)
	}
	p := &planned{name: path.Base(at), n: n, place: number}
	for _, name := range n.Names() {
		p.kids = append(p.kids, w.plan(strings.TrimSuffix(at, "/")+"/"+name, n.Children[name]))
	}
	return p
}

// prepare labels and hashes all that is planned.
func (w *writer) prepare(trees ...*planned) error {
	w.labels, w.lower = make([]string, len(w.places)), make([]string, len(w.places))
	if w.policy != nil {
		all := make([]int, len(w.places))
		for i := range all {
			all[i] = i
		}
		w.lookUp(w.labels, w.policy, all)
	}
	w.lookUpInBase(trees)
	for _, p := range trees {
		w.collect(p)
	}
	return w.hash()
}

// lookUp looks up the labels of places.
func (w *writer) lookUp(labels []string, policy *selinux.Policy, places []int) {
	parallel(len(places), func() func(int) error {
		return func(i int) error {
			at := w.places[places[i]]
			if at.path == "/proc" {
				at.path = "/mnt" // policies have no label for it, ostree has this one
			}
			if context, ok := policy.Lookup(at.path, at.kind); ok {
				labels[places[i]] = context + "\x00"
			}
			return nil
		}
	})
}

// lookUpInBase labels files of layers for which the policy says <<none>>, or for
// which no policy is left: they keep the label that the policy of the base gave them when the layer was
// imported. Files of the base have a label of their own.
func (w *writer) lookUpInBase(trees []*planned) {
	without := map[int]bool{}
	var visit func(p *planned)
	visit = func(p *planned) {
		if w.label(p) == "" {
			without[p.place] = true
		}
		for _, kid := range p.kids {
			visit(kid)
		}
	}
	for _, p := range trees {
		visit(p)
	}
	if len(without) == 0 || w.base == nil {
		return
	}
	if policy := w.base(); policy != nil {
		w.lookUp(w.lower, policy, slices.Sorted(maps.Keys(without)))
	}
}

// label returns the label that an inode gets, with its NUL. An inode without
// one in the policy keeps its own.
func (w *writer) label(p *planned) string {
	return cmp.Or(w.labels[p.place], p.n.Xattrs[selinux.Xattr], w.lower[p.place])
}

// collect finds out which files have to be hashed.
func (w *writer) collect(p *planned) {
	for _, kid := range p.kids {
		w.collect(kid)
	}
	if p.n.IsDir() {
		return
	}
	o := object{p.n, w.label(p)}
	if w.objects[o] != nil {
		return
	}
	id := new(ostree.Checksum)
	w.objects[o] = id
	if known, ok := w.repo.IDs[p.n]; ok && o.label == p.n.Xattrs[selinux.Xattr] {
		*id = known
		return
	}
	w.todo = append(w.todo, job{w.places[p.place].path, o, id})
}

// piece is how much is read at once.
const piece = 256 << 10

// hash hashes the files of the jobs, and adds them to the repository.
func (w *writer) hash() error {
	// The largest first, so that no one waits for it in the end.
	slices.SortStableFunc(w.todo, func(a, b job) int { return cmp.Compare(b.file.Size(), a.file.Size()) })
	err := parallel(len(w.todo), func() func(int) error {
		buf := make([]byte, piece)
		return func(i int) error { return w.todo[i].hash(buf) }
	})
	if err != nil {
		return err
	}
	for _, j := range w.todo {
		n := j.file
		if err := w.repo.AddFile(*j.id, n.UID, n.GID, n.Mode, n.Target, j.xattrs(), n.Content); err != nil {
			return fmt.Errorf("%s: %w", quote(j.path), err)
		}
	}
	w.todo = nil
	return nil
}

func (j *job) hash(buf []byte) error {
	n := j.file
	sum := sha256.New()
	sum.Write(ostree.FileHeader(n.UID, n.GID, n.Mode, n.Target, j.xattrs()))
	if n.IsFile() && n.Content != nil {
		size := n.Content.Size()
		for off := int64(0); off < size; {
			part := buf[:min(size-off, piece)]
			if got, err := n.Content.ReadAt(part, off); got < len(part) {
				if err == nil || err == io.EOF {
					err = io.ErrUnexpectedEOF
				}
				return fmt.Errorf("%s: %w", quote(j.path), err)
			}
			sum.Write(part)
			off += int64(len(part))
		}
	}
	sum.Sum(j.id[:0])
	return nil
}

// xattrs returns those of an object, in the form and order that objects have.
func (o object) xattrs() []byte { return labelled(o.file.Xattrs, o.label) }

func labelled(xattrs map[string]string, label string) []byte {
	var list []ostree.Xattr
	if label != "" {
		list = append(list, ostree.Xattr{Name: selinux.Xattr, Value: label})
	}
	for name, value := range xattrs {
		if name != selinux.Xattr && value != "" {
			list = append(list, ostree.Xattr{Name: name, Value: value})
		}
	}
	slices.SortFunc(list, func(a, b ostree.Xattr) int { return strings.Compare(a.Name, b.Name) })
	return ostree.FormatXattrs(list)
}

// write adds the directories of a planned tree to the repository and returns
// the checksums of its root.
func (w *writer) write(p *planned) (tree, meta ostree.Checksum, err error) {
	var list ostree.Tree
	for _, kid := range p.kids {
		if !kid.n.IsDir() {
			list.Files = append(list.Files, ostree.TreeFile{Name: kid.name, ID: *w.objects[object{kid.n, w.label(kid)}]})
			continue
		}
		d := ostree.TreeDir{Name: kid.name}
		if d.Tree, d.Meta, err = w.write(kid); err != nil {
			return tree, meta, err
		}
		list.Dirs = append(list.Dirs, d)
	}
	b := list.Bytes()
	if len(b) > ostree.MaxMetadata {
		return tree, meta, fmt.Errorf("%s: directory of %d entries makes an object of %d bytes, limit is %d",
			quote(w.places[p.place].path), len(p.kids), len(b), ostree.MaxMetadata)
	}
	m := ostree.Meta{UID: p.n.UID, GID: p.n.GID, Mode: p.n.Mode, Xattrs: labelled(p.n.Xattrs, w.label(p))}
	return w.repo.AddMetadata(ostree.DirTreeObject, b), w.repo.AddMetadata(ostree.DirMetaObject, m.Bytes()), nil
}

// parallel calls functions that worker returns, each by one goroutine, with
// the numbers below n. It returns the error of the lowest number.
func parallel(n int, worker func() func(int) error) error {
	var next atomic.Int64
	var wait sync.WaitGroup
	var mutex sync.Mutex
	errs := map[int]error{}
	for range min(n, runtime.GOMAXPROCS(0)) {
		wait.Go(func() {
			do := worker()
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := do(i); err != nil {
					mutex.Lock()
					errs[i] = err
					mutex.Unlock()
				}
			}
		})
	}
	wait.Wait()
	if len(errs) == 0 {
		return nil
	}
	return errs[slices.Min(slices.Collect(maps.Keys(errs)))]
}
