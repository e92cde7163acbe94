package xfs

const (
	logRecordSize = 0x8000 // bytes of a record at most
	logHeadSize   = 512    // always one sector of 512 bytes
)

// writeLog writes a log that was closed cleanly: one unmount record at its
// start. The rest of the log must be zeros.
func (w *writer) writeLog() {
	g := w.geo
	b := make([]byte, max(2*logHeadSize, g.sector)) // the header and one sector, or the sector of the log
	put(b, &logRecord{
		MagicNo: magicLog, Cycle: 1, Version: 2, Len: uint32(len(b) - logHeadSize), LSN: 1 << 32, TailLSN: 1 << 32,
		PrevBlock: null32, NumLogOps: 1, CycleData: [64]uint32{0xb0c0d0d0}, Fmt: 1, UUID: g.uuid, Size: logRecordSize,
	})
	// The transaction is 0xb0c0d0d0: the cycle stands in the first word of every
	// sector, and the word itself in CycleData.
	put(b[logHeadSize:], &logOp{TID: 1, Len: 8, ClientID: 0xaa, Flags: 0x20, Magic: [2]byte{'n', 'U'}})
	for at := 2 * logHeadSize; at < len(b); at += 512 {
		be.PutUint32(b[at:], 1)
	}
	w.emit(g.logGroup*g.agBlocks+g.logStart(), b)
}
