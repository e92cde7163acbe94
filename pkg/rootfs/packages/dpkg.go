package packages

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

const (
	dpkgFile = "status"
	maxDpkg  = 64 << 20 // of the file
	maxLine  = 1 << 20
)

// readDpkg reads the status file. It has paragraphs of lines "Field: value"; a line
// that begins with a space continues the field before it.
func readDpkg(dir *rootfs.Inode) (all []Package, err error) {
	in := dir.Resolve(dpkgFile)
	switch {
	case in == nil || !in.IsFile():
		return nil, errNone
	case in.Size() == 0:
		return nil, nil
	case in.Size() > maxDpkg:
		return nil, fmt.Errorf("%s, want at most %s", rootfs.Bytes(in.Size()), rootfs.Bytes(maxDpkg))
	}
	fields := map[string]string{}
	end := func() {
		if words := strings.Fields(fields["Status"]); fields["Package"] != "" && len(words) == 3 && words[2] == "installed" {
			all = append(all, Package{"dpkg", fields["Package"], fields["Version"], fields["Architecture"]})
		}
		clear(fields)
	}
	lines := bufio.NewScanner(io.NewSectionReader(in.Content, 0, in.Size()))
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		line := lines.Text()
		if strings.TrimSpace(line) == "" {
			end()
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		switch name {
		case "Package", "Status", "Version", "Architecture":
			fields[name] = strings.TrimSpace(value)
		}
	}
	end()
	return all, lines.Err()
}
