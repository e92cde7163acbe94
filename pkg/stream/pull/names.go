package pull

import (
	"slices"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/stream"
)

// compressions maps suffixes of file names and of media types to compressions.
var compressions = map[string]string{
	"gz": "gzip", "gzip": "gzip", "xz": "xz", "zst": "zstd", "zstd": "zstd", "zip": "zip", "tgz": "gzip",
}

// compression returns the compression of a file by its name, or "".
func compression(name string) string {
	return compressions[name[strings.LastIndex(name, ".")+1:]]
}

// plainName returns the name of the decompressed file.
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

// formatOfType returns the format of a media type.
func formatOfType(mediaType string) string {
	format, ok := strings.CutPrefix(mediaType, stream.MediaTypePrefix)
	if !ok {
		return ""
	}
	return normal(format)
}

// formatOfName returns the format of a file by its name.
func formatOfName(name string) string {
	words := strings.Split(name, ".")
	n := 1
	if compression(name) != "" && !strings.HasSuffix(name, ".tgz") {
		n = 2
	}
	if len(words) <= n {
		return ""
	}
	return normal(strings.Join(words[len(words)-n:], "."))
}

// normal returns the canonical name of a format: with the compression as in media types,
// and with the file suffix for Google's archive.
func normal(format string) string {
	if slices.Contains([]string{"gce.tgz", "tgz", "tar.gzip"}, format) {
		return "tar.gz"
	}
	name, packed, ok := strings.Cut(format, ".")
	if long := compressions[packed]; ok && long != "" && format != "tar.gz" {
		return name + "." + long
	}
	return format
}

// sameFormat reports whether an image has a wanted format. The format raw includes raw.gzip.
func sameFormat(have, want string) bool {
	name, _, _ := strings.Cut(have, ".")
	return have == normal(want) || name == want
}
