package pull

import "strings"

// compressions are the names of compressions, by how they are written in media
// types and in names of files.
var compressions = map[string]string{
	"gz": "gzip", "gzip": "gzip", "xz": "xz", "zst": "zstd", "zstd": "zstd", "zip": "zip", "tgz": "gzip",
}

// compression returns how a file is compressed by its name; empty is not.
func compression(name string) string {
	return compressions[name[strings.LastIndex(name, ".")+1:]]
}

// plainName returns the name of a file when it is decompressed.
func plainName(name string) string {
	i := strings.LastIndex(name, ".")
	switch {
	case i <= 0 || compression(name) == "":
		return name
	case name[i:] == ".tgz":
		return name[:i] + ".tar"
	}
	return name[:i]
}
