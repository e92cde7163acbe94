package fat

import (
	"os"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem"
	"github.com/diskfs/go-diskfs/filesystem/fat16"
	"github.com/diskfs/go-diskfs/filesystem/fat32"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// fileSystem is the common interface of both readers of go-diskfs.
type fileSystem interface {
	OpenFile(name string, flag int) (filesystem.File, error)
	Label() string
}

// go-diskfs reads 512-byte sectors only.
func TestReadBack(t *testing.T) {
	for _, shape := range []string{"fat16", "fat32-64m"} {
		for name, root := range trees(t) {
			if name == "big" { // each path is looked up by reading the whole directory
				continue
			}
			t.Run(shape+"/"+name, func(t *testing.T) {
				o := labelled(shapes[shape])
				f := writeFile(t, mustFormat(t, root, o))
				back := file.New(f, true)
				var fsys fileSystem
				var err error
				if o.Bits == 32 {
					fsys, err = fat32.Read(back, o.Size, 0, 512)
				} else {
					fsys, err = fat16.Read(back, o.Size, 0, 512)
				}
				if err != nil {
					t.Fatal(err)
				}
				if got := strings.TrimSpace(fsys.Label()); got != o.Label {
					t.Errorf("label %q", got)
				}
				for where, n := range root.Walk() {
					if !n.IsFile() || n.Size() == 0 || !isASCII(where) {
						continue
					}
					want, err := rootfs.ReadAll(n.Content, n.Size())
					if err != nil {
						t.Fatal(err)
					}
					f, err := fsys.OpenFile("/"+where, os.O_RDONLY)
					if err != nil {
						t.Fatal(err)
					}
					// In one call: its second one reads beyond the end of the file.
					got := make([]byte, n.Size()+1)
					count, err := f.Read(got)
					if string(got[:count]) != string(want) {
						t.Fatalf("%s: %d bytes, want %d: %v", where, count, len(want), err)
					}
				}
			})
		}
	}
}

// isASCII keeps to the names that go-diskfs can look up.
func isASCII(s string) bool { return strings.IndexFunc(s, func(r rune) bool { return r > 126 }) < 0 }
