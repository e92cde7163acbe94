package container

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"maps"
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
	known   map[*rootfs.Inode]ostree.Checksum // files of the base
	policy  *selinux.Policy                   // nil leaves labels as they are
	base    func() *selinux.Policy            // labels files of layers for which policy has no label; may be nil
	places  []place
	labels  []string       // by number of the place; "" if the policy has none
	lower   map[int]string // the same of the base's policy, as far as it is needed
	objects map[*rootfs.Inode]*object
	formed  map[attributes][]byte // as objects have them
	todo    []*object
}

// A place has all that a label depends on.
type place struct {
	path string
	kind uint32
}

// An object is a file with its label.
type object struct {
	file   *rootfs.Inode
	label  string
	path   string // one that it has, for errors
	xattrs []byte // as objects have them
	id     ostree.Checksum
	next   *object // the same file with another label
}

// Attributes are those of an inode with a label.
type attributes struct {
	xattrs rootfs.XattrsID
	label  string
}

// A planned inode is one that is going to be in a commit.
type planned struct {
	name   string
	n      *rootfs.Inode
	place  int     // in the places of the writer
	object *object // of a file
	kids   []planned
}

func newWriter(repo *ostree.Repo, policy *selinux.Policy) *writer {
	return &writer{repo: repo, known: repo.IDs(), policy: policy, objects: map[*rootfs.Inode]*object{}, formed: map[attributes][]byte{}}
}

// plan takes note of a tree. It shares the places of another planned tree, if that
// is not nil.
func (w *writer) plan(root *rootfs.Inode, like *planned) *planned {
	p := w.planAt("", "/", root, like)
	return &p
}

func (w *writer) planAt(dir, name string, n *rootfs.Inode, like *planned) planned {
	p := planned{name: name, n: n}
	var others []planned
	if like != nil && like.n.Type() == n.Type() {
		p.place, others = like.place, like.kids
	} else {
		p.place = len(w.places)
		w.places = append(w.places, place{path: dir + name, kind: n.Type()})
	}
	if !n.IsDir() {
		return p
	}
	dir = strings.TrimSuffix(w.places[p.place].path, "/") + "/"
	names := n.Names()
	p.kids = make([]planned, len(names))
	for i, kid := range names {
		for len(others) > 0 && others[0].name < kid {
			others = others[1:]
		}
		var other *planned
		if len(others) > 0 && others[0].name == kid {
			other = &others[0]
		}
		p.kids[i] = w.planAt(dir, kid, n.Children[kid], other)
	}
	return p
}

// prepare labels and hashes all that is planned.
func (w *writer) prepare(trees ...*planned) error {
	w.labels = make([]string, len(w.places))
	if w.policy != nil {
		w.labels = lookUp(w.policy, w.places)
	}
	w.lookUpInBase(trees)
	for _, p := range trees {
		w.collect(p)
	}
	w.known, w.objects = nil, nil // a large tree has many
	return w.hash()
}

// lookUp returns the labels of places.
func lookUp(policy *selinux.Policy, places []place) []string {
	labels := make([]string, len(places))
	parallel(len(places), func() func(int) error {
		terminated := map[string]string{} // with a NUL; there are few
		return func(i int) error {
			at := places[i]
			if at.path == "/proc" {
				at.path = "/mnt" // policies have no label for it, ostree has this one
			}
			context, ok := policy.Lookup(at.path, at.kind)
			if !ok {
				return nil
			}
			if terminated[context] == "" {
				terminated[context] = context + "\x00"
			}
			labels[i] = terminated[context]
			return nil
		}
	})
	return labels
}

// lookUpInBase labels files of layers for which the policy says <<none>>, or for
// which no policy is left: they keep the label that the policy of the base gave them when the layer was
// imported. Files of the base have a label of their own.
func (w *writer) lookUpInBase(trees []*planned) {
	w.lower = map[int]string{}
	var visit func(p *planned)
	visit = func(p *planned) {
		if w.label(p) == "" {
			w.lower[p.place] = ""
		}
		for i := range p.kids {
			visit(&p.kids[i])
		}
	}
	for _, p := range trees {
		visit(p)
	}
	if len(w.lower) == 0 || w.base == nil {
		return
	}
	policy := w.base()
	if policy == nil {
		return
	}
	var places []place
	numbers := slices.Sorted(maps.Keys(w.lower))
	for _, number := range numbers {
		places = append(places, w.places[number])
	}
	for i, label := range lookUp(policy, places) {
		w.lower[numbers[i]] = label
	}
}

// label returns the label that an inode gets, with its NUL. An inode without
// one in the policy keeps its own.
func (w *writer) label(p *planned) string {
	if label := w.labels[p.place]; label != "" {
		return label
	}
	return cmp.Or(p.n.Xattrs[selinux.Xattr], w.lower[p.place])
}

// collect finds out which files have to be hashed.
func (w *writer) collect(p *planned) {
	for i := range p.kids {
		w.collect(&p.kids[i])
	}
	if !p.n.IsDir() {
		p.object = w.object(p)
	}
}

// object returns the object of a planned file.
func (w *writer) object(p *planned) *object {
	label := w.label(p)
	first := w.objects[p.n]
	for o := first; o != nil; o = o.next {
		if o.label == label {
			return o
		}
	}
	o := &object{file: p.n, label: label, path: w.places[p.place].path, next: first}
	w.objects[p.n] = o
	if known, ok := w.known[p.n]; ok && label == p.n.Xattrs[selinux.Xattr] {
		o.id = known
		return o
	}
	o.xattrs = w.xattrs(p.n, label)
	w.todo = append(w.todo, o)
	return o
}

// xattrs returns those of an inode with a label, in the form and order that objects
// have.
func (w *writer) xattrs(n *rootfs.Inode, label string) []byte {
	key := attributes{n.XattrsID(), label}
	raw, ok := w.formed[key]
	if !ok {
		raw = labelled(n.Xattrs, label)
		w.formed[key] = raw
	}
	return raw
}

// piece is how much is read at once.
const piece = 256 << 10

// hash hashes the files to do, and adds them to the repository.
func (w *writer) hash() error {
	var large, small []*object
	for _, o := range w.todo {
		if o.file.Size() < piece {
			small = append(small, o)
		} else {
			large = append(large, o)
		}
	}
	// The largest first, so that no one waits for it in the end.
	slices.SortStableFunc(large, func(a, b *object) int { return cmp.Compare(b.file.Size(), a.file.Size()) })
	queue := append(large, small...)
	err := parallel(len(queue), func() func(int) error {
		buf := make([]byte, piece)
		return func(i int) error { return queue[i].hash(buf) }
	})
	if err != nil {
		return err
	}
	w.repo.Grow(len(w.todo))
	for _, o := range w.todo {
		n := o.file
		if err := w.repo.AddFile(o.id, n.UID, n.GID, n.Mode, n.Target, o.xattrs, n.Content); err != nil {
			return fmt.Errorf("%s: %w", quote(o.path), err)
		}
	}
	w.todo = nil
	return nil
}

// hash computes the checksum of an object.
func (o *object) hash(buf []byte) error {
	n := o.file
	sum := sha256.New()
	sum.Write(ostree.FileHeader(n.UID, n.GID, n.Mode, n.Target, o.xattrs))
	if n.IsFile() && n.Content != nil {
		size := n.Content.Size()
		for off := int64(0); off < size; {
			part := buf[:min(size-off, piece)]
			if err := rootfs.ReadFull(n.Content, part, off); err != nil {
				return fmt.Errorf("%s: %w", quote(o.path), err)
			}
			sum.Write(part)
			off += int64(len(part))
		}
	}
	sum.Sum(o.id[:0])
	return nil
}

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
	list := ostree.Tree{Files: make([]ostree.TreeFile, 0, len(p.kids))}
	for i := range p.kids {
		kid := &p.kids[i]
		if kid.object != nil {
			list.Files = append(list.Files, ostree.TreeFile{Name: kid.name, ID: kid.object.id})
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
	m := ostree.Meta{UID: p.n.UID, GID: p.n.GID, Mode: p.n.Mode, Xattrs: w.xattrs(p.n, w.label(p))}
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
