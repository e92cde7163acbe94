package layer

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"maps"
	"math"
	"net/url"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/selinux"
)

const (
	chunk    = 256 << 10 // bytes read, hashed and written at once: they stay in the cache of a core
	large    = 64 << 10  // content of this size and more is aligned in the pack,
	block    = 4 << 10   // to this
	maxName  = 255
	maxPath  = 4095
	maxXattr = 1<<16 - 1 // one value, as Linux stores it
	maxAttrs = 1 << 20   // all xattrs of one object or entry
)

// Scan reads an uncompressed layer to the end of r, writes the content of its
// files to pack and returns the index. A pack that is a new file gets holes
// where sparse files have them.
func Scan(r io.Reader, pack io.Writer, limits Limits) (*Index, error) {
	return doScan(r, pack, limits, false)
}

// ScanPlain is Scan for a layer on top of a commit. Nothing in it is an object:
// every name below sysroot/ostree/repo is an [Entry] like any other.
func ScanPlain(r io.Reader, pack io.Writer, limits Limits) (*Index, error) {
	return doScan(r, pack, limits, true)
}

func doScan(r io.Reader, pack io.Writer, limits Limits, plain bool) (*Index, error) {
	limits = limits.withDefaults()
	s := &scanner{
		index:  Index{Plain: plain},
		in:     &input{r: r, sum: sha256.New(), buf: make([]byte, chunk), limit: limits.Tar},
		out:    newOutput(pack),
		sum:    sha256.New(),
		buf:    make([]byte, chunk),
		limits: limits,
		seen:   map[objectName]bool{},
		xattrs: map[ostree.Checksum]*xattrSet{},
		shared: map[ostree.Checksum][]byte{},
	}
	s.tar = tar.NewReader(s.in)
	last := "the beginning"
	for n := 0; ; n++ {
		h, err := s.tar.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("header behind %s: %w", last, s.in.cause(err))
		}
		last = quote(h.Name)
		if n >= limits.Entries {
			return nil, fmt.Errorf("%s: more than %d entries", last, limits.Entries)
		}
		if err := s.entry(h); err != nil {
			return nil, fmt.Errorf("%s: %w", last, err)
		}
	}
	return s.finish()
}

// A scanner is the state of Scan.
type scanner struct {
	in      *input
	tar     *tar.Reader
	out     *output
	sum     hash.Hash // of the object at hand
	buf     []byte
	limits  Limits
	index   Index
	seen    map[objectName]bool
	xattrs  map[ostree.Checksum]*xattrSet // by the checksum of their bytes
	shared  map[ostree.Checksum][]byte
	pending *pendingXattrs
	meta    int64 // bytes that limits.Meta bounds
	holes   int64 // bytes counted against limits.Holes
}

type objectName struct {
	id  ostree.Checksum
	typ ostree.ObjectType
}

// pendingXattrs are those of the file that must come next.
type pendingXattrs struct {
	id  ostree.Checksum
	raw []byte
}

// An xattrSet is a set of extended attributes in the forms that are needed: that
// of objects, that of entries.
type xattrSet struct {
	raw   []byte
	attrs map[string]string
}

func (s *scanner) finish() (*Index, error) {
	if s.pending != nil {
		return nil, fmt.Errorf("object %s: its xattrs are there, the file is not", s.pending.id)
	}
	if _, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{s.in}, s.buf); err != nil {
		return nil, err
	}
	if err := s.out.close(); err != nil {
		return nil, err
	}
	s.in.sum.Sum(s.index.DiffID[:0])
	s.index.TarSize, s.index.PackSize, s.index.PackSum = s.in.off, s.out.off, s.out.crc
	return &s.index, nil
}

// The repository in a layer, and its objects.
const (
	RepoDir    = "sysroot/ostree/repo/"
	objectsDir = RepoDir + "objects/"
)

func (s *scanner) entry(h *tar.Header) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return s.global(h)
	}
	name, err := cleanName(h.Name)
	if err != nil {
		return err
	}
	if h.Size < 0 || h.Size > s.limits.Tar-s.out.off {
		return fmt.Errorf("claims %s, limit of a layer is %s", rootfs.Bytes(h.Size), rootfs.Bytes(s.limits.Tar))
	}
	if id, err := owner(h.Uid); err != nil {
		return fmt.Errorf("uid %d: %w", id, err)
	}
	if id, err := owner(h.Gid); err != nil {
		return fmt.Errorf("gid %d: %w", id, err)
	}
	if err := s.keep(len(name) + len(h.Linkname)); err != nil {
		return err
	}
	inRepo := strings.HasPrefix(name, RepoDir)
	s.index.Repo = s.index.Repo || inRepo
	switch {
	case s.index.Plain:
	case inRepo && h.Typeflag == tar.TypeDir:
		return nil
	case strings.HasPrefix(name, RepoDir+"xattrs/"):
		return errors.New("an ostree layer of format 0: encapsulate the image again with a tool of this decade")
	case strings.HasPrefix(name, objectsDir) && !strings.HasPrefix(path.Base(name), ".wh."):
		return s.object(name[len(objectsDir):], h)
	}
	return s.plain(name, h)
}

// global takes a PAX header for the whole archive. Those in use carry a
// comment; one that would change entries is not understood by all readers
// alike.
func (s *scanner) global(h *tar.Header) error {
	for _, key := range slices.Sorted(maps.Keys(h.PAXRecords)) {
		if key != "comment" {
			return fmt.Errorf("PAX header for all entries sets %q, which is not supported", key)
		}
	}
	return nil
}

// keep counts bytes that stay in memory.
func (s *scanner) keep(n int) error {
	if s.meta += int64(n); s.meta > s.limits.Meta {
		return fmt.Errorf("more than %d bytes of names and xattrs", s.limits.Meta)
	}
	return nil
}

// object takes an entry of the objects directory.
func (s *scanner) object(p string, h *tar.Header) error {
	id, typ, err := ostree.ParseObjectPath(p)
	if err != nil {
		return err
	}
	name := objectName{id, typ}
	if s.seen[name] {
		return fmt.Errorf("object %s: twice in the layer", p)
	}
	s.seen[name] = true
	switch typ {
	case ostree.FileXattrsObject:
		return s.sharedXattrs(id, h)
	case ostree.FileXattrsLinkObject:
		return s.fileXattrs(id, h)
	case ostree.FileObject:
		return s.file(id, h)
	}
	return s.metadata(id, typ, h)
}

func (s *scanner) metadata(id ostree.Checksum, typ ostree.ObjectType, h *tar.Header) error {
	switch {
	case !regular(h):
		return fmt.Errorf("object is not a regular file")
	case h.Size > ostree.MaxMetadata:
		return fmt.Errorf("metadata of %d bytes, limit is %d", h.Size, ostree.MaxMetadata)
	case typ == ostree.CommitMetaObject && !s.seen[objectName{id, ostree.CommitObject}]:
		return fmt.Errorf("no commit of that name in front of it")
	}
	s.sum.Reset()
	content, err := s.content(h, s.sum)
	if err != nil {
		return err
	}
	// Detached metadata has the name of its commit, not its own.
	if typ != ostree.CommitMetaObject {
		if err := s.verify(id); err != nil {
			return err
		}
	}
	s.index.Objects = append(s.index.Objects, Object{ID: id, Type: typ, Content: content})
	return nil
}

// verify compares the hash of the content with the name of the object.
func (s *scanner) verify(id ostree.Checksum) error {
	var got ostree.Checksum
	if s.sum.Sum(got[:0]); got != id {
		return fmt.Errorf("%w: it is %s", ErrChecksum, got)
	}
	return nil
}

// sharedXattrs takes xattrs that files refer to by hard links.
func (s *scanner) sharedXattrs(id ostree.Checksum, h *tar.Header) error {
	raw, err := s.readXattrs(h)
	if err != nil {
		return err
	}
	if sum := ostree.Sum(raw); sum != id {
		return fmt.Errorf("%w: it is %s", ErrChecksum, sum)
	}
	s.shared[id] = raw
	return nil
}

// fileXattrs takes the xattrs of the file that comes next.
func (s *scanner) fileXattrs(id ostree.Checksum, h *tar.Header) error {
	if s.pending != nil {
		return fmt.Errorf("follows the xattrs of %s, whose file is not there", s.pending.id)
	}
	if h.Typeflag != tar.TypeLink {
		raw, err := s.readXattrs(h)
		s.pending = &pendingXattrs{id, raw}
		return err
	}
	dir, base := path.Split(h.Linkname)
	target, typ, err := ostree.ParseObjectPath(path.Base(dir) + "/" + base)
	if err != nil || typ != ostree.FileXattrsObject {
		return fmt.Errorf("link to %s, which are no xattrs", quote(h.Linkname))
	}
	raw, ok := s.shared[target]
	if !ok {
		return fmt.Errorf("link to %s, which is not in front of it", quote(h.Linkname))
	}
	s.pending = &pendingXattrs{id, raw}
	return nil
}

func (s *scanner) readXattrs(h *tar.Header) ([]byte, error) {
	if !regular(h) {
		return nil, errors.New("xattrs are not a regular file")
	}
	if h.Size > maxAttrs {
		return nil, fmt.Errorf("xattrs of %d bytes, limit is %d", h.Size, maxAttrs)
	}
	raw := make([]byte, h.Size)
	if n, err := io.ReadFull(s.tar, raw); err != nil {
		return nil, s.short(h, int64(n), err)
	}
	set := s.xattrSet(raw)
	if set.raw != nil {
		return set.raw, nil
	}
	if _, err := ostree.ParseXattrs(raw); err != nil {
		return nil, err
	}
	set.raw = raw
	return raw, s.keep(len(raw))
}

// xattrSet returns the set of some xattrs, which may be new.
func (s *scanner) xattrSet(raw []byte) *xattrSet {
	key := ostree.Sum(raw)
	if s.xattrs[key] == nil {
		s.xattrs[key] = &xattrSet{}
	}
	return s.xattrs[key]
}

func (s *scanner) file(id ostree.Checksum, h *tar.Header) error {
	xattrs := s.pending
	s.pending = nil
	if xattrs == nil || xattrs.id != id {
		return errors.New("object has no xattrs of its own in front of it")
	}
	o := Object{ID: id, Type: ostree.FileObject, UID: uint32(h.Uid), GID: uint32(h.Gid), Xattrs: xattrs.raw}
	switch {
	case regular(h):
		o.Mode = rootfs.ModeFile | uint32(h.Mode&0o7777)
	case h.Typeflag == tar.TypeSymlink:
		if err := checkTarget(h.Linkname); err != nil {
			return err
		}
		o.Mode, o.Target = rootfs.ModeLink|0o777, h.Linkname
	default:
		return errors.New("object is neither a regular file nor a symbolic link")
	}
	s.sum.Reset()
	s.sum.Write(ostree.FileHeader(o.UID, o.GID, o.Mode, o.Target, o.Xattrs))
	var err error
	if o.Content, err = s.content(h, s.sum); err != nil {
		return err
	}
	s.index.Objects = append(s.index.Objects, o)
	return s.verify(id)
}

// plain takes an entry that is no object.
func (s *scanner) plain(name string, h *tar.Header) error {
	e := Entry{
		Name:     name,
		Mode:     uint32(h.Mode & 0o7777),
		UID:      uint32(h.Uid),
		GID:      uint32(h.Gid),
		MTime:    rootfs.Time{Sec: h.ModTime.Unix(), Nsec: uint32(h.ModTime.Nanosecond())},
		Absolute: strings.HasPrefix(h.Name, "/"),
	}
	switch h.Typeflag {
	case tar.TypeLink:
		target, err := cleanName(h.Linkname)
		if err != nil {
			return fmt.Errorf("hard link to %s: %w", quote(h.Linkname), err)
		}
		if s.isObject(target) {
			return nil
		}
		s.index.Repo = s.index.Repo || strings.HasPrefix(target, RepoDir)
		e.HardLink, e.Target, e.Absolute = true, target, strings.HasPrefix(h.Linkname, "/")
	case tar.TypeSymlink:
		if err := checkTarget(h.Linkname); err != nil {
			return err
		}
		e.Mode, e.Target = e.Mode|rootfs.ModeLink, h.Linkname
	case tar.TypeDir:
		e.Mode |= rootfs.ModeDir
	case tar.TypeChar, tar.TypeBlock:
		if uint64(h.Devmajor) > math.MaxUint32 || uint64(h.Devminor) > math.MaxUint32 {
			return fmt.Errorf("device number %d:%d is out of range", h.Devmajor, h.Devminor)
		}
		e.Mode, e.Rdev = e.Mode|rootfs.ModeChar, unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))
		if h.Typeflag == tar.TypeBlock {
			e.Mode = e.Mode&^rootfs.ModeType | rootfs.ModeBlock
		}
	case tar.TypeFifo:
		e.Mode |= rootfs.ModeFIFO
	default:
		if !regular(h) {
			return fmt.Errorf("tar entry of type %q is not supported", h.Typeflag)
		}
		e.Mode |= rootfs.ModeFile
	}
	var err error
	if e.Xattrs, err = s.entryXattrs(h); err != nil {
		return err
	}
	if e.Content, err = s.content(h, nil); err != nil {
		return err
	}
	s.index.Entries = append(s.index.Entries, e)
	return nil
}

// isObject reports whether a name is that of an object of this layer.
func (s *scanner) isObject(name string) bool {
	p, ok := strings.CutPrefix(name, objectsDir)
	if !ok {
		return false
	}
	id, typ, err := ostree.ParseObjectPath(p)
	return err == nil && s.seen[objectName{id, typ}]
}

// Names of xattrs in PAX records: the prefix of star, which all tools write, that of
// libarchive, which has names and values encoded, and GNU tar's name of a label of
// SELinux.
const (
	starXattr       = "SCHILY.xattr."
	libarchiveXattr = "LIBARCHIVE.xattr."
	gnuLabel        = "RHT." + selinux.Xattr
)

// paxXattr returns the xattr in a PAX record, if it is one.
func paxXattr(key, value string) (name, text string, ok bool, err error) {
	if name, ok := strings.CutPrefix(key, starXattr); ok {
		return name, value, true, nil
	}
	if key == gnuLabel {
		return selinux.Xattr, value, true, nil
	}
	coded, ok := strings.CutPrefix(key, libarchiveXattr)
	if !ok {
		return "", "", false, nil
	}
	if name, err = url.PathUnescape(coded); err != nil {
		return "", "", false, fmt.Errorf("xattr %s: bad name", quote(coded))
	}
	b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(value, "="))
	if err != nil {
		return "", "", false, fmt.Errorf("xattr %s: value is not base64", quote(name))
	}
	return name, string(b), true, nil
}

func (s *scanner) entryXattrs(h *tar.Header) (map[string]string, error) {
	var attrs map[string]string
	total := 0
	for _, key := range slices.Sorted(maps.Keys(h.PAXRecords)) { // star's are last, and count
		name, value, ok, err := paxXattr(key, h.PAXRecords[key])
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		switch total += len(name) + len(value); {
		case name == "" || len(name) > maxName || strings.Contains(name, "\x00"):
			return nil, fmt.Errorf("xattr %s: bad name", quote(name))
		case len(value) > maxXattr:
			return nil, fmt.Errorf("xattr %s: value of %d bytes, limit is %d", quote(name), len(value), maxXattr)
		case total > maxAttrs:
			return nil, fmt.Errorf("xattrs of more than %d bytes", maxAttrs)
		}
		if attrs == nil {
			attrs = map[string]string{}
		}
		attrs[name] = value
	}
	if attrs == nil {
		return nil, nil
	}
	raw := ostree.XattrsOf(attrs)
	set := s.xattrSet(raw)
	if set.attrs != nil {
		return set.attrs, nil
	}
	set.attrs = attrs
	return attrs, s.keep(len(raw))
}

// content copies the content of an entry to the pack and to sum, if any.
func (s *scanner) content(h *tar.Header, sum hash.Hash) (Content, error) {
	if !regular(h) {
		return Content{}, nil
	}
	start := s.in.at()
	c := Content{TarOff: start, Size: h.Size}
	if sparse(h) {
		c.TarOff = -1
	}
	if c.Size >= large {
		if err := s.out.align(); err != nil {
			return Content{}, err
		}
	}
	c.Off = s.out.off
	for left := c.Size; left > 0; {
		n, err := s.tar.Read(s.buf[:min(left, chunk)])
		if n == 0 && err != nil {
			return Content{}, s.short(h, c.Size-left, err)
		}
		if sum != nil {
			sum.Write(s.buf[:n])
		}
		write := s.out.Write
		if sparse(h) {
			write = s.out.writeSparse
		}
		if _, err := write(s.buf[:n]); err != nil {
			return Content{}, err
		}
		left -= int64(n)
		if holes := c.Size - left - (s.in.at() - start); holes > s.limits.Holes-s.holes {
			return Content{}, fmt.Errorf("claims %s, %w; limit of the holes in a layer is %s", rootfs.Bytes(c.Size), ErrHoles, rootfs.Bytes(s.limits.Holes))
		}
	}
	s.holes += max(c.Size-(s.in.at()-start), 0)
	return c, nil
}

// short is the error for content that could not be read whole.
func (s *scanner) short(h *tar.Header, got int64, err error) error {
	err = s.in.cause(err)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("claims %d bytes, the layer ends after %d: %w", h.Size, got, io.ErrUnexpectedEOF)
	}
	return err
}

// regular reports whether an entry is a regular file. TypeCont is one on
// everything that is not a CONVEX of 1988.
func regular(h *tar.Header) bool {
	return h.Typeflag == tar.TypeReg || h.Typeflag == tar.TypeCont || h.Typeflag == tar.TypeGNUSparse
}

// sparse reports whether the content of a file has holes in the tar.
func sparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// owner checks a user or group number. The highest means "none" to chown(2).
func owner(id int) (int, error) {
	if id < 0 || int64(id) >= math.MaxUint32 {
		return id, errors.New("out of range")
	}
	return id, nil
}

// cleanName returns a name as it is kept, or an error for one that no file
// system or no importer takes.
func cleanName(name string) (string, error) {
	switch {
	case !utf8.ValidString(name):
		return "", errors.New("name is not UTF-8")
	case strings.Contains(name, "\x00"):
		return "", errors.New("name has a NUL")
	}
	clean := strings.TrimPrefix(path.Clean("/"+name), "/")
	if len(clean) > maxPath {
		return "", fmt.Errorf("name of %d bytes, limit is %d", len(clean), maxPath)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", errors.New("name leads out of its directory")
		}
		if len(part) > maxName {
			return "", fmt.Errorf("part of the name has %d bytes, limit is %d", len(part), maxName)
		}
	}
	if clean == "" {
		return ".", nil
	}
	return clean, nil
}

// checkTarget checks the target of a symbolic link. It may point anywhere:
// nothing here follows it.
func checkTarget(target string) error {
	switch {
	case target == "" || len(target) > maxPath:
		return fmt.Errorf("symbolic link to a name of %d bytes, limits are 1 and %d", len(target), maxPath)
	case !utf8.ValidString(target) || strings.Contains(target, "\x00"):
		return fmt.Errorf("symbolic link to %s, which is not UTF-8", quote(target))
	}
	return nil
}

// quote returns a name for errors: shortened, with unprintable characters escaped.
func quote(name string) string {
	const most = 200
	if len(name) > most {
		name = name[:most] + "…"
	}
	if q := fmt.Sprintf("%+q", name); q != `"`+name+`"` {
		return q
	}
	return name
}

// An input reads the tar in large pieces and hashes each as a whole.
type input struct {
	r     io.Reader
	sum   hash.Hash
	buf   []byte
	rest  []byte // read and hashed, not yet handed out
	off   int64  // bytes read from r
	limit int64
	err   error // final error of r
}

func (in *input) Read(p []byte) (int, error) {
	for len(in.rest) == 0 {
		if in.err != nil {
			return 0, in.err
		}
		n, err := in.r.Read(in.buf)
		in.sum.Write(in.buf[:n])
		in.rest, in.err = in.buf[:n], err
		if in.off += int64(n); in.off > in.limit {
			in.rest, in.err = nil, fmt.Errorf("more than %d bytes", in.limit)
		}
	}
	n := copy(p, in.rest)
	in.rest = in.rest[n:]
	return n, nil
}

// at returns where in the tar the reader is.
func (in *input) at() int64 { return in.off - int64(len(in.rest)) }

// cause returns the real cause of an error of the tar reader, which replaces every
// error by its own.
func (in *input) cause(err error) error {
	if in.err != nil && in.err != io.EOF {
		return in.err
	}
	return err
}

// An output writes the pack.
type output struct {
	w       *bufio.Writer
	file    sparseFile // nil for a pack without holes
	skipped bool       // it has holes
	off     int64
	crc     uint32
}

// A sparseFile is a file that can have holes.
type sparseFile interface {
	io.Seeker
	Truncate(size int64) error
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func newOutput(w io.Writer) *output {
	file, _ := w.(sparseFile)
	return &output{w: bufio.NewWriterSize(w, chunk), file: file}
}

func (out *output) Write(p []byte) (int, error) {
	out.crc = crc32.Update(out.crc, castagnoli, p)
	out.off += int64(len(p))
	return out.w.Write(p)
}

// writeSparse is Write that leaves holes in the file instead of blocks of zeros.
func (out *output) writeSparse(p []byte) (int, error) {
	if out.file == nil {
		return out.Write(p)
	}
	for rest := p; len(rest) > 0; {
		n, hole := run(rest)
		if !hole {
			if _, err := out.Write(rest[:n]); err != nil {
				return 0, err
			}
		} else if err := out.skip(rest[:n]); err != nil {
			return 0, err
		}
		rest = rest[n:]
	}
	return len(p), nil
}

// run returns the length of the run of blocks of zeros, or of other blocks, that p
// begins with.
func run(p []byte) (n int, hole bool) {
	for n < len(p) {
		part := p[n:min(n+block, len(p))]
		zero := bytes.Equal(part, zeros[:len(part)])
		if n > 0 && zero != hole {
			break
		}
		hole = zero
		n += len(part)
	}
	return n, hole
}

// skip leaves a hole for zeros.
func (out *output) skip(p []byte) error {
	if err := out.w.Flush(); err != nil {
		return err
	}
	out.crc = crc32.Update(out.crc, castagnoli, p)
	out.off += int64(len(p))
	out.skipped = true
	_, err := out.file.Seek(int64(len(p)), io.SeekCurrent)
	return err
}

// close writes buffered data, and the hole at the end if there is one.
func (out *output) close() error {
	if err := out.w.Flush(); err != nil || !out.skipped {
		return err
	}
	return out.file.Truncate(out.off)
}

var zeros [block]byte

func (out *output) align() error {
	_, err := out.Write(zeros[:-out.off&(block-1)])
	return err
}

// PackSum returns the checksum of a pack as the index has it.
func PackSum(r io.Reader) (uint32, error) {
	h := crc32.New(castagnoli)
	_, err := io.CopyBuffer(h, struct{ io.Reader }{r}, make([]byte, chunk))
	return h.Sum32(), err
}
