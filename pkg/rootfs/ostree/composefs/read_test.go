package composefs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree"
)

// read returns the tree that an image was made from. It is a plain reader of
// EROFS: it follows the image and knows nothing of how it was laid
// out. Content is a hole of the right size.
func read(img []byte) (*rootfs.Inode, map[*rootfs.Inode]ostree.Checksum, error) {
	r := reader{img: img, ids: map[*rootfs.Inode]ostree.Checksum{}}
	r.at(superOffset, &r.super)
	root, err := r.inode(int(r.super.RootNid))
	if err != nil {
		return nil, nil, err
	}
	maps.DeleteFunc(root.Children, func(_ string, n *rootfs.Inode) bool { return n.Type() == rootfs.ModeChar })
	if root.Xattrs[xattrOpaque] != "y" {
		return nil, nil, fmt.Errorf("root is not opaque")
	}
	delete(root.Xattrs, xattrOpaque)
	return root, r.ids, nil
}

type reader struct {
	img   []byte
	super superBlock
	ids   map[*rootfs.Inode]ostree.Checksum
}

func (r *reader) at(off int, v any) {
	if _, err := binary.Decode(r.img[off:], binary.LittleEndian, v); err != nil {
		panic(err)
	}
}

func (r *reader) inode(nid int) (*rootfs.Inode, error) {
	pos := nid * slotSize
	var e inodeExtended
	size := 64
	if r.img[pos]&formatExtended != 0 {
		r.at(pos, &e)
	} else {
		var c inodeCompact
		r.at(pos, &c)
		size = 32
		e = inodeExtended{Format: c.Format, XattrICount: c.XattrICount, Mode: c.Mode, Size: uint64(c.Size), U: c.U,
			UID: uint32(c.UID), GID: uint32(c.GID), Nlink: uint32(c.Nlink)}
	}
	n := &rootfs.Inode{Mode: uint32(e.Mode), UID: e.UID, GID: e.GID}
	xattrEnd := pos + size
	if e.XattrICount > 0 {
		xattrEnd += 12 + 4*(int(e.XattrICount)-1)
	}
	if err := r.xattrs(n, r.img[pos+size:xattrEnd]); err != nil {
		return nil, err
	}
	switch {
	case n.IsFile():
		return n, r.file(n, int64(e.Size))
	case n.IsLink():
		n.Target = string(r.img[xattrEnd : xattrEnd+int(e.Size)])
	case n.IsDir():
		return n, r.dir(n, int(e.Size), int(e.U), xattrEnd)
	}
	return n, nil
}

func (r *reader) xattrs(n *rootfs.Inode, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	n.Xattrs = map[string]string{}
	shared := int(b[4])
	for i := range shared {
		id := int(binary.LittleEndian.Uint32(b[12+4*i:]))
		r.xattr(n, r.img[int(r.super.XattrBlkAddr)*blockSize+id*4:])
	}
	for b = b[12+4*shared:]; len(b) > 0; {
		b = b[r.xattr(n, b):]
	}
	return nil
}

func (r *reader) xattr(n *rootfs.Inode, b []byte) int {
	nameLen, valueLen := int(b[0]), int(binary.LittleEndian.Uint16(b[2:]))
	for _, p := range xattrPrefixes {
		if p.index == b[1] {
			name := p.name + string(b[4:4+nameLen])
			if rest, ok := strings.CutPrefix(name, overlayEscape); ok {
				name = overlayPrefix + rest
			}
			n.Xattrs[name] = string(b[4+nameLen : 4+nameLen+valueLen])
		}
	}
	return (4 + nameLen + valueLen + 3) &^ 3
}

func (r *reader) file(n *rootfs.Inode, size int64) error {
	if size == 0 {
		return nil
	}
	n.Content = io.NewSectionReader(nil, 0, size)
	id, _, err := ostree.ParseObjectPath(strings.TrimPrefix(n.Xattrs[xattrRedirect], "/"))
	r.ids[n] = id
	delete(n.Xattrs, xattrRedirect)
	delete(n.Xattrs, xattrMetacopy)
	return err
}

func (r *reader) dir(n *rootfs.Inode, size, block, tail int) error {
	n.Children = map[string]*rootfs.Inode{}
	for ; size > 0; size -= blockSize {
		b := r.img[tail:]
		if size >= blockSize || block > 0 && size > blockSize/2 {
			b = r.img[block*blockSize:]
			block++
		}
		if err := r.dirents(n, b[:min(size, blockSize)]); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) dirents(n *rootfs.Inode, b []byte) error {
	count := int(binary.LittleEndian.Uint16(b[8:])) / direntSize
	for i := range count {
		d := b[i*direntSize:]
		end := len(b)
		if i < count-1 {
			end = int(binary.LittleEndian.Uint16(b[(i+1)*direntSize+8:]))
		}
		name, _, _ := bytes.Cut(b[binary.LittleEndian.Uint16(d[8:]):end], []byte{0})
		if s := string(name); s != "." && s != ".." {
			child, err := r.inode(int(binary.LittleEndian.Uint64(d)))
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			n.Children[s] = child
		}
	}
	return nil
}
