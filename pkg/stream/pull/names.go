package pull

import "github.com/ohp-assemble/ohp-assemble/pkg/cloud/filetype"

// formatOfType returns the format that a media type names, or "".
func formatOfType(mediaType string) string {
	t, _ := filetype.ParseMediaType(mediaType)
	return t.String()
}

// formatOfName returns the format that the name of a file tells, or "".
func formatOfName(name string) string {
	t := filetype.ParseName(name)
	if t.Format == "" {
		return ""
	}
	return t.String()
}

// normal returns the only name of a format that has several.
func normal(format string) string { return filetype.Parse(format).String() }

// sameFormat reports whether an image is of a format: a raw.gzip is a raw.
func sameFormat(have, want string) bool { return filetype.Parse(have).Is(filetype.Parse(want)) }

// plainName returns the name of a file when it is decompressed.
func plainName(name string) string {
	plain, _ := filetype.CutCompression(name)
	return plain
}

// isPacked reports whether the name of a file has the suffix of a compression.
func isPacked(name string) bool { return plainName(name) != name }
