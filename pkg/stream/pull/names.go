package pull

import "github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"

// formatOfType returns the format of a media type, or "".
func formatOfType(mediaType string) string {
	t, _ := filetype.ParseMediaType(mediaType)
	return t.String()
}

// formatOfName returns the format of a file by its name, or "".
func formatOfName(name string) string {
	t := filetype.ParseName(name)
	if t.Format == "" {
		return ""
	}
	return t.String()
}

// normal returns the canonical name of a format.
func normal(format string) string { return filetype.Parse(format).String() }

// sameFormat reports whether an image has a wanted format. The format raw includes raw.gzip.
func sameFormat(have, want string) bool { return filetype.Parse(have).Is(filetype.Parse(want)) }

// plainName returns the name of the decompressed file.
func plainName(name string) string {
	plain, _ := filetype.CutCompression(name)
	return plain
}

// isPacked reports whether the name of a file has the suffix of a compression.
func isPacked(name string) bool { return plainName(name) != name }
