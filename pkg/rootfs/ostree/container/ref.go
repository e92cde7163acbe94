package container

import (
	"errors"
	"fmt"
	"strings"
)

// ref returns the name of a ref that stands for a string of any characters.
func ref(prefix, s string) (string, error) {
	escaped, err := escape(s)
	if err != nil {
		return "", fmt.Errorf("ref %s: %w", prefix, err)
	}
	return prefix + escaped, nil
}

// escape makes a string fit to be (the end of) the name of a ref. Letters,
// digits and hyphens stay, as do slashes that separate something; underscores
// are doubled and everything else is written in hexadecimal between two.
func escape(s string) (string, error) {
	if s == "" {
		return "", errors.New("empty name")
	}
	var b strings.Builder
	afterWord := false
	for i := range len(s) {
		c := s[i]
		word := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		switch {
		case c == 0:
			return "", fmt.Errorf("name %q has a NUL", s)
		case word, c == '-', c == '/' && afterWord && i < len(s)-1:
			b.WriteByte(c)
		case c == '_':
			b.WriteString("__")
		default:
			fmt.Fprintf(&b, "_%02X_", c)
		}
		afterWord = word
	}
	return b.String(), nil
}

// Reference returns the image in an origin's container-image-reference, as in
// [Options]: how its signature is verified is taken off.
func Reference(origin string) (string, error) {
	verify, image, _ := strings.Cut(origin, ":")
	switch verify {
	case "ostree-remote-image", "ostree-remote-registry":
		remote, rest, _ := strings.Cut(image, ":")
		if remote == "" {
			return "", fmt.Errorf("reference %q: no remote", origin)
		}
		image = rest
	case "ostree-image-signed", "ostree-unverified-image", "ostree-unverified-registry":
	default:
		return "", fmt.Errorf("reference %q: does not begin with how it is verified, such as ostree-image-signed", origin)
	}
	if strings.HasSuffix(verify, "-registry") {
		image = "docker://" + image
	}
	if rest, ok := strings.CutPrefix(image, "registry:"); ok {
		image = "docker://" + rest
	}
	transport, name, ok := strings.Cut(image, ":")
	if name = strings.TrimPrefix(name, "//"); !ok || transport == "" || name == "" {
		return "", fmt.Errorf("reference %q: no transport and name", origin)
	}
	return image, nil
}
