package xfs

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// TestStructSizes compares the sizes of structures with those that
// xfs_check_ondisk_structs of the kernel pins, and with our constants.
func TestStructSizes(t *testing.T) {
	for _, c := range []struct {
		name string
		v    any
		want int
	}{
		{"xfs_dsb", superBlock{}, 264},
		{"xfs_agf", agf{}, 224},
		{"xfs_agi", agi{}, 344},
		{"xfs_agfl", agfl{}, agflHead},
		{"xfs_btree_block, short", shortBlock{}, shortHead},
		{"xfs_btree_block, long", longBlock{}, longHead},
		{"xfs_dinode", dinode{}, coreSize},
		{"xfs_da3_blkinfo", blockInfo{}, 56},
		{"xfs_da3_node_hdr", nodeHeader{}, daHead},
		{"xfs_dir3_leaf_hdr", leafHeader{}, daHead},
		{"xfs_attr3_leaf_hdr", attrLeafHeader{}, attrHead},
		{"xfs_attr_leaf_entry", attrEntry{}, entryBytes},
		{"xfs_attr3_rmt_hdr", textHeader{}, textHead},
		{"xfs_dir3_blk_hdr", dirHeader{}, 48},
		{"xfs_dir3_data_hdr", dataHeader{}, dirHead},
		{"xfs_dir3_free_hdr", freeHeader{}, dirHead},
		{"xfs_dir2_leaf_entry", leafEntry{}, entryBytes},
		{"xfs_alloc_rec", allocRecord{}, 8},
		{"xfs_inobt_rec", inodeRecord{}, 16},
		{"xfs_rmap_rec", rmapRecord{}, 24},
		{"xfs_rmap_key", rmapKey{}, 20},
		{"xlog_rec_header", logRecord{}, 328},
		{"xlog_op_header, xfs_unmount_log_format", logOp{}, 20},
	} {
		if got := binary.Size(c.v); got != c.want {
			t.Errorf("%s has %d bytes, want %d", c.name, got, c.want)
		}
	}
}

// TestEncodeInode compares encode with the encoding of the structure, for an
// inode whose bytes all differ.
func TestEncodeInode(t *testing.T) {
	want := make([]byte, coreSize)
	for i := range want {
		want[i] = byte(i + 1)
	}
	d := get[dinode](want)
	put(want, &d) // without padding
	got := make([]byte, coreSize)
	if d.encode(got); !bytes.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
}
