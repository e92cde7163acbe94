package registry

// Progress receives the progress of a transfer. Several goroutines call it at
// once.
type Progress interface {
	Expect(bytes int64) // adds to the number of bytes to transfer
	Done(bytes int64)   // adds to the number of bytes transferred
}

// Silent ignores progress.
var Silent Progress = silent{}

type silent struct{}

func (silent) Expect(int64) {}
func (silent) Done(int64)   {}
