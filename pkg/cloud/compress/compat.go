package compress

import "github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"

// Kind and its values are older names of those of package filetype.
type Kind = filetype.Compression

const (
	None = filetype.None
	Gzip = filetype.Gzip
	Xz   = filetype.Xz
	Zstd = filetype.Zstd
	Zip  = filetype.Zip
)

// Parse is [filetype.ParseCompression].
func Parse(name string) (Kind, error) { return filetype.ParseCompression(name) }
