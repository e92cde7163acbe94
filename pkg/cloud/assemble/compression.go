package assemble

import (
	"github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/usage"
)

// AsPublished is the name of the compression that each platform's files are published
// with.
const AsPublished = "platform"

// CompressionNames returns the names of all compressions, with none and [AsPublished].
func CompressionNames() []string {
	names := []string{filetype.None.String()}
	for _, c := range filetype.Compressions() {
		names = append(names, c.String())
	}
	return append(names, AsPublished)
}

// SetCompression sets Compression and AsPublished to the compression of a name, one of
// [CompressionNames].
func (r *Request) SetCompression(name string) (err error) {
	r.Compression, r.AsPublished = filetype.None, name == AsPublished
	if r.AsPublished {
		return nil
	}
	if err := usage.Check(name, CompressionNames()...); err != nil {
		return err
	}
	r.Compression, err = filetype.ParseCompression(name)
	return err
}
