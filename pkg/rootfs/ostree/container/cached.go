package container

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/internal/record"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/layer"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree"
)

// A Cache keeps the results of imports under keys, which are 64 hexadecimal
// digits. An import is a pure function of its inputs, so an entry saves the work
// and changes nothing.
type Cache interface {
	// Load returns an entry, which can be read as long as the layers of the image.
	Load(key string) (entry rootfs.Blob, ok bool)
	// Store keeps an entry, which consists of parts, and returns it as Load does. A
	// cache without room keeps nothing.
	Store(key string, parts ...[]byte) (entry rootfs.Blob, ok bool)
	// Remove removes an entry that is damaged.
	Remove(key string)
}

// format names the format of a cached import and the version of the import
// itself: it changes whenever Import would return another tree, warning or note
// for the same image.
const format = "ohpimp 3"

// A packed blob is content that tells where it is: the digest of its layer and
// the offset in the layer's pack.
type packed interface {
	Pack() (layer string, off int64)
}

// cachedImport is doImport that looks into the cache of the image first. A damaged
// entry is removed and made again.
func cachedImport(img *Image, o Options) (*Tree, error) {
	if img.Cache == nil {
		return doImport(img, o)
	}
	key := importKey(img, o)
	if entry, ok := img.Cache.Load(key); ok {
		if t, err := decode(img, entry); err == nil {
			return t, nil
		}
		img.Cache.Remove(key)
	}
	t, err := doImport(img, o)
	if err != nil {
		return nil, err
	}
	t.store(img, key)
	return t, nil
}

// store keeps a tree in the cache of the image. The composefs image is in the cache
// then, and no longer in memory.
func (t *Tree) store(img *Image, key string) {
	b, err := t.encode(img)
	if err != nil {
		return
	}
	size := int64(len(t.composefs))
	entry, ok := img.Cache.Store(key, b, t.composefs, binary.BigEndian.AppendUint64(nil, uint64(size)))
	if ok && size > 0 {
		t.composefs, t.Composefs = nil, rootfs.Section(entry, int64(len(b)), size)
	}
}

// importKey returns the digest of all that an import depends on. Layers are known by
// their digests.
func importKey(img *Image, o Options) string {
	w := record.NewWriter(format + layer.Format)
	w.String(img.Digest)
	w.Bytes(img.Manifest)
	w.Bytes(img.Config)
	w.Uint(uint64(len(img.Layers)))
	for _, l := range img.Layers {
		w.String(l.Digest)
		w.String(l.DiffID)
	}
	w.String(o.Reference)
	w.String(cmp.Or(o.Merge, MergeOSTree))
	w.String(o.Importer)
	w.Bool(o.everywhere)
	sum := sha256.Sum256(w.Sealed())
	return hex.EncodeToString(sum[:])
}

var errNoPack = errors.New("content that is not in the pack of a layer")

// encode returns a tree as a cache keeps it. An entry of the cache is
//
//	record | composefs image | size of the image, 64 bits, big-endian
//
// and the record is
//
//	commits | ACL | warnings | notes | refs | SHA-256 of the image | metadata | files
//
// Content is a layer and an offset in its pack. The names of metadata objects are
// their checksums, which decode computes again; only detached metadata has a name
// of its own.
func (t *Tree) encode(img *Image) ([]byte, error) {
	w := record.NewWriter(format)
	w.Grow(t.size())
	w.Fixed(t.Deployed[:])
	w.Fixed(t.Base[:])
	w.String(t.ACL)
	w.Uint(uint64(len(t.Warnings)))
	for _, warning := range t.Warnings {
		w.Int(int64(warning.Layer))
		w.String(warning.Path)
		w.String(warning.What)
	}
	w.Uint(uint64(len(t.Notes)))
	for _, note := range t.Notes {
		w.String(note)
	}
	w.Uint(uint64(len(t.Repo.Refs)))
	for _, name := range slices.Sorted(maps.Keys(t.Repo.Refs)) {
		id := t.Repo.Refs[name]
		w.String(name)
		w.Fixed(id[:])
	}
	sum := sha256.Sum256(t.composefs)
	w.Fixed(sum[:])
	encodeMetadata(w, t.Repo)
	err := encodeFiles(w, t.Repo, img)
	return w.Sealed(), err
}

// size returns about the size of the record of a tree.
func (t *Tree) size() int {
	const file, object = 64, 4
	n := file*len(t.Repo.Files) + object*len(t.Repo.Metadata)
	for _, b := range t.Repo.Metadata {
		n += len(b)
	}
	return n + n/16
}

func encodeMetadata(w *record.Writer, r *ostree.Repo) {
	w.Uint(uint64(len(r.Metadata)))
	byName := func(a, b ostree.ObjectName) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), bytes.Compare(a.ID[:], b.ID[:]))
	}
	for _, name := range slices.SortedFunc(maps.Keys(r.Metadata), byName) {
		w.Uint(uint64(name.Type))
		if name.Type == ostree.CommitMetaObject {
			w.Fixed(name.ID[:])
		}
		w.Bytes(r.Metadata[name])
	}
}

// encodeFiles appends the files, each after the sets of xattrs up to its own.
func encodeFiles(w *record.Writer, r *ostree.Repo, img *Image) error {
	layers := map[string]uint64{"": 0}
	for i, l := range img.Layers {
		if _, ok := layers[l.Digest]; !ok {
			layers[l.Digest] = uint64(i) + 1
		}
	}
	sets := map[rootfs.XattrsID]uint64{}
	w.Uint(uint64(len(r.Files)))
	ids := slices.AppendSeq(make([]ostree.Checksum, 0, len(r.Files)), maps.Keys(r.Files))
	slices.SortFunc(ids, func(a, b ostree.Checksum) int { return bytes.Compare(a[:], b[:]) })
	for _, id := range ids {
		n := r.Files[id]
		number, known := sets[n.XattrsID()]
		if !known {
			number = uint64(len(sets))
			sets[n.XattrsID()] = number
		}
		w.Uint(number)
		if !known {
			w.Bytes(ostree.XattrsOf(n.Xattrs))
		}
		w.Fixed(id[:])
		w.Uint(uint64(n.Mode))
		w.Uint(uint64(n.UID))
		w.Uint(uint64(n.GID))
		w.String(n.Target)
		if n.Size() == 0 || n.IsLink() {
			w.Uint(0)
			continue
		}
		content, ok := n.Content.(packed)
		if !ok {
			return errNoPack
		}
		from, off := content.Pack()
		number, ok = layers[from]
		if !ok || number == 0 {
			return errNoPack
		}
		w.Uint(number)
		w.Int(off)
		w.Int(n.Size())
	}
	return nil
}

const (
	imageSize = 8         // bytes of the size of a composefs image
	maxRecord = 512 << 20 // one of 300,000 files has 40 MiB
)

// split divides an entry into its record and its composefs image.
func split(entry rootfs.Blob) (b []byte, image rootfs.Blob, err error) {
	var size [imageSize]byte
	end := entry.Size() - imageSize
	if end < 0 {
		return nil, nil, record.ErrDamaged
	}
	if err := rootfs.ReadFull(entry, size[:], end); err != nil {
		return nil, nil, err
	}
	n := binary.BigEndian.Uint64(size[:])
	if n > uint64(end) {
		return nil, nil, record.ErrDamaged
	}
	begin := end - int64(n)
	b, err = rootfs.ReadAll(rootfs.Section(entry, 0, begin), maxRecord)
	return b, rootfs.Section(entry, begin, int64(n)), err
}

// decode returns the tree of a cached import.
func decode(img *Image, entry rootfs.Blob) (*Tree, error) {
	b, image, err := split(entry)
	if err != nil {
		return nil, err
	}
	r, err := record.NewReader(format, b)
	if err != nil {
		return nil, err
	}
	c, err := readConfig(img)
	if err != nil {
		return nil, err
	}
	t := &Tree{Repo: ostree.NewRepo(), Labels: c.Config.Labels}
	copy(t.Deployed[:], r.Fixed(uint64(len(t.Deployed))))
	copy(t.Base[:], r.Fixed(uint64(len(t.Base))))
	t.ACL = r.String()
	for range r.Count() {
		t.Warnings = append(t.Warnings, Warning{int(r.Int()), r.String(), r.String()})
	}
	for range r.Count() {
		t.Notes = append(t.Notes, r.String())
	}
	for range r.Count() {
		name := r.String()
		t.Repo.Refs[name] = readID(r)
	}
	if err := checkSum(image, r.Fixed(sha256.Size)); err != nil {
		return nil, err
	}
	if image.Size() > 0 {
		t.Composefs = image
	}
	decodeMetadata(r, t.Repo)
	if err := decodeFiles(r, t.Repo, img); err != nil {
		return nil, err
	}
	if err := r.End(); err != nil {
		return nil, err
	}
	t.Root, err = t.Repo.Tree(t.Deployed)
	return t, err
}

// checkSum compares content with its SHA-256.
func checkSum(b rootfs.Blob, want []byte) error {
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(b, 0, b.Size())); err != nil {
		return err
	}
	if !bytes.Equal(sum.Sum(nil), want) {
		return record.ErrDamaged
	}
	return nil
}

func readID(r *record.Reader) (id ostree.Checksum) {
	copy(id[:], r.Fixed(uint64(len(id))))
	return id
}

func decodeMetadata(r *record.Reader, repo *ostree.Repo) {
	for range r.Count() {
		t := ostree.ObjectType(r.Uint())
		if t != ostree.CommitMetaObject {
			repo.AddMetadata(t, r.Bytes())
			continue
		}
		name := ostree.ObjectName{ID: readID(r), Type: t}
		repo.Metadata[name] = r.Bytes()
	}
}

func decodeFiles(r *record.Reader, repo *ostree.Repo, img *Image) error {
	var sets [][]byte
	files := r.Count()
	if files > r.Len()/leastFile {
		return record.ErrDamaged
	}
	repo.Grow(files)
	for range files {
		number := r.Uint()
		if number == uint64(len(sets)) {
			sets = append(sets, r.Bytes())
		}
		if number >= uint64(len(sets)) {
			return record.ErrDamaged
		}
		id := readID(r)
		mode, uid, gid := uint32(r.Uint()), uint32(r.Uint()), uint32(r.Uint())
		target := r.String()
		content, err := readContent(r, img)
		if err == nil {
			err = repo.AddFile(id, uid, gid, mode, target, sets[number], content)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// leastFile is the size of the smallest file in an entry.
const leastFile = 7 + len(ostree.Checksum{})

// readContent returns the content of a file, nil for none.
func readContent(r *record.Reader, img *Image) (rootfs.Blob, error) {
	number := r.Uint()
	if number == 0 {
		return nil, r.Err()
	}
	off, size := r.Int(), r.Int()
	if number > uint64(len(img.Layers)) || off < 0 || size <= 0 {
		return nil, fmt.Errorf("content of layer %d at %d: %w", number, off, record.ErrDamaged)
	}
	return img.Layers[number-1].Blob(off, size), nil
}
