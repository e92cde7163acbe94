package xfs

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/ohp-assemble/ohp-assemble/pkg/disk"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// A run is an extent of the device, or of a group, in blocks.
type run struct{ start, n uint64 }

// A group is an allocation group while it is filled.
type group struct {
	at, end uint64 // free blocks of the group, for take
	used    []run  // in the numbers of the group, ascending
	pieces  uint64 // number of runs taken
	chunks  uint64
	inodes  *inodeTable
	inoTree []uint64 // blocks of the tree of chunks, without its root
	free    uint64   // unused inodes of chunks
}

// A writer makes a file system of a tree.
type writer struct {
	geo    *geometry
	tree   *tree
	stride uint64
	groups []group
	at     int // the group that blocks are taken from
	pieces []disk.Extent
	totals totals
	rmaps  [][]rmap // of blocks that inodes own, by group
}

// number gives every inode its number. Chunks are spread evenly over the groups
// and are contiguous in each. The two inodes of a realtime device follow the
// root.
func (w *writer) number() error {
	slots := uint64(len(w.tree.nodes)) + 2
	chunks := (slots + chunkInodes - 1) / chunkInodes
	each := (chunks + w.geo.groups - 1) / w.geo.groups
	w.groups = make([]group, w.geo.groups)
	for i := range w.groups {
		k := uint64(i)
		if err := w.placeInodes(k, min(each, chunks-min(chunks, k*each))); err != nil {
			return err
		}
	}
	for i, n := range w.tree.nodes {
		slot := uint64(i)
		if i > 0 {
			slot += 2
		}
		k := slot / chunkInodes / each
		n.ino = w.inodeNumber(k, slot-k*each*chunkInodes)
		w.groups[k].free--
	}
	w.groups[0].free -= 2
	for k := range w.groups {
		a := &w.groups[k]
		for slot := a.chunks*chunkInodes - a.free; slot < a.chunks*chunkInodes; slot++ {
			w.emptyInode(w.inodeNumber(uint64(k), slot))
		}
	}
	return nil
}

// placeInodes places headers, log, chunks of inodes and their tree in a group.
func (w *writer) placeInodes(k, chunks uint64) error {
	g, a := w.geo, &w.groups[k]
	a.chunks, a.free = chunks, chunks*chunkInodes
	a.inodes = newInodeTable(chunks)
	a.at = g.chunkStart(k) + chunks*chunkBlocks
	// Some blocks at the end are left for the trees, which are made last.
	left := 24 + w.stride*g.length(k)/64
	if a.at+left >= g.length(k) {
		return errTooSmall
	}
	a.end = g.length(k) - left
	a.used = append(a.used, run{0, g.header + g.features.roots()})
	if k == g.logGroup {
		a.used = append(a.used, run{g.logStart(), g.logBlocks})
	}
	if chunks > 0 {
		a.used = append(a.used, run{g.chunkStart(k), chunks * chunkBlocks})
	}
	for range inoTree.inner(int(chunks)) {
		a.inoTree = append(a.inoTree, a.at)
		a.used = append(a.used, run{a.at, 1})
		a.at++
	}
	if a.at > a.end {
		return errTooSmall
	}
	return nil
}

// inodeNumber returns the number of an inode in the chunks of a group.
func (w *writer) inodeNumber(group, slot uint64) uint64 {
	return group<<(w.geo.agLog+3) | w.geo.chunkStart(group)<<3 + slot
}

// inodeAt returns the bytes of an inode, to be changed until the next call.
func (w *writer) inodeAt(ino uint64) []byte {
	group := ino >> (w.geo.agLog + 3)
	slot := ino&(1<<(w.geo.agLog+3)-1) - w.geo.chunkStart(group)<<3
	return w.groups[group].inodes.at(slot)
}

// take allocates blocks, in as few runs as possible.
func (w *writer) take(n uint64) ([]run, error) {
	var runs []run
	for n > 0 {
		if w.at == len(w.groups) {
			return nil, errTooSmall
		}
		a := &w.groups[w.at]
		room := a.room(w.geo.features)
		if room == 0 {
			w.at++
			continue
		}
		if w.stride > 0 {
			room = min(room, w.stride)
		}
		r := run{a.at, min(n, room)}
		a.pieces++
		a.used = appendRun(a.used, r)
		a.at += r.n
		n -= r.n
		if w.stride > 0 {
			a.at++
		}
		r.start += uint64(w.at) * w.geo.agBlocks
		runs = appendRun(runs, r)
	}
	return runs, nil
}

// room counts the blocks of a group that can be taken. Where blocks have
// reverse mappings, each run may need one, and their tree needs blocks.
func (a *group) room(f Features) uint64 {
	end := a.end
	if f.rmapbt() {
		end -= min(end, a.pieces/80)
	}
	return end - min(end, a.at)
}

// appendRun appends a run, or extends the last one.
func appendRun(runs []run, r run) []run {
	if k := len(runs) - 1; k >= 0 && runs[k].start+runs[k].n == r.start {
		runs[k].n += r.n
		return runs
	}
	return append(runs, r)
}

// free counts the blocks that were not taken.
func (w *writer) free() (n uint64) {
	for i := range w.groups {
		n += w.geo.length(uint64(i))
		for _, r := range w.groups[i].used {
			n -= r.n
		}
	}
	return n
}

// emit adds bytes at a linear block.
func (w *writer) emit(linear uint64, b []byte) { w.emitBlob(linear, bytes.NewReader(b)) }

// emitBlob adds content at a linear block.
func (w *writer) emitBlob(linear uint64, b rootfs.Blob) {
	w.pieces = append(w.pieces, disk.Extent{Off: int64(linear) * blockSize, Blob: b})
}

// layout places directories, attributes and links, and then the content of files.
func (w *writer) layout() error {
	for _, n := range w.tree.nodes {
		if err := w.plan(n); err != nil {
			return n.fail(err)
		}
		if n.entries != nil {
			n.names, n.kids = nil, nil
		}
	}
	for _, n := range w.tree.nodes {
		if n.in.IsFile() && n.in.Size() > 0 {
			if err := w.file(n); err != nil {
				return err
			}
		}
		w.encode(n)
	}
	return nil
}

// file places the content of a file, in the order of its extents.
func (w *writer) file(n *node) error {
	size := n.in.Size()
	runs, err := w.take(uint64(size+blockSize-1) / blockSize)
	if err != nil {
		return err
	}
	var off int64
	for _, r := range runs {
		length := min(int64(r.n)*blockSize, size-off)
		w.pieces = append(w.pieces, disk.Extent{Off: int64(r.start) * blockSize, Blob: rootfs.Section(n.in.Content, off, length)})
		off += length
	}
	n.data.add(0, runs)
	return w.placeMap(&n.data, n.dataRoom())
}

// usedRuns returns the used runs of a group, ascending and merged.
func (a *group) usedRuns() []run {
	slices.SortFunc(a.used, func(x, y run) int { return cmp.Compare(x.start, y.start) })
	var merged []run
	for _, r := range a.used {
		merged = appendRun(merged, r)
	}
	return merged
}
