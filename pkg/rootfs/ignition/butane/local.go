package butane

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/coreos/ignition/v2/config/v3_6_experimental/types"
	"go.yaml.in/yaml/v3"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ignition"
)

// maxLocal limits the size of a local file. A config is read into memory here and
// in the initramfs, and is stored on a boot partition of a few hundred MiB.
const maxLocal = 64 << 20

// resource replaces inline or local contents by a source.
func (t *translation) resource(n *yaml.Node, m object, path string) {
	if contents, from := t.embedded(n, m); from != nil {
		t.embed(contents, from, m, path)
	}
}

// embed sets the source of a resource to contents.
func (t *translation) embed(contents []byte, from *yaml.Node, m object, path string) {
	_, compressed := m["compression"]
	compressed = compressed && m["compression"] != ""
	if t.minor == 0 {
		m["source"] = "data:," + escape(contents)
	} else {
		source, compression := dataURL(contents, !compressed)
		m["source"] = source
		if !compressed {
			m["compression"] = compression
		}
	}
	t.grow(from, len(m["source"].(string)))
	t.at[path+".source"] = from
}

// config handles a resource that is an Ignition config. It validates the config if
// it is embedded and not compressed.
func (t *translation) config(n *yaml.Node, m object, path string) {
	contents, from := t.embedded(n, m)
	if from == nil {
		return
	}
	if m["compression"] == nil || m["compression"] == "" {
		warnings, err := ignition.Validate(contents)
		if err != nil {
			t.errorf(from, "%v", err)
			return
		}
		for _, w := range warnings {
			t.warnf(from, "%s", w)
		}
	}
	t.embed(contents, from, m, path)
}

// embedded returns the contents given by inline or local, and the node of that
// key's value. The node is nil without embedded contents.
func (t *translation) embedded(n *yaml.Node, m object) (contents []byte, from *yaml.Node) {
	given := 0
	for _, name := range []string{"source", "inline", "local"} {
		if _, ok := m[name]; ok {
			given++
			from = child(n, name)
		}
	}
	if given > 1 {
		t.errorf(from, "source, inline and local are mutually exclusive")
		return nil, nil
	}
	if inline, ok := m["inline"].(string); ok {
		return []byte(inline), from
	}
	if local, ok := m["local"].(string); ok {
		if contents, ok := t.read(from, local); ok {
			return contents, from
		}
	}
	return nil, nil
}

// unitText replaces contents_local of a unit or of a drop-in.
func (t *translation) unitText(n *yaml.Node, m object, path string) {
	local, ok := m["contentsLocal"].(string)
	if !ok {
		return
	}
	from := child(n, "contents_local")
	if _, both := m["contents"]; both {
		t.errorf(from, "contents and contents_local are mutually exclusive")
		return
	}
	if contents, ok := t.readText(from, local); ok {
		m["contents"] = contents
		t.at[path+".contents"] = from
	}
}

// keyFiles adds the lines of a user's key files to the user's keys.
func (t *translation) keyFiles(n *yaml.Node, m object, path string) {
	files, ok := m["sshAuthorizedKeysLocal"].([]any)
	if !ok {
		return
	}
	keys, _ := m["sshAuthorizedKeys"].([]any)
	list := child(n, "ssh_authorized_keys_local")
	for i, file := range files {
		from := follow(list.Content[i])
		contents, _ := t.readText(from, file.(string))
		for line := range strings.Lines(contents) {
			if line = strings.TrimRight(line, "\r\n"); line != "" {
				t.at[fmt.Sprintf("%s.sshAuthorizedKeys.%d", path, len(keys))] = from
				keys = append(keys, line)
			}
		}
	}
	m["sshAuthorizedKeys"] = keys
}

// A tree is an item of storage.trees.
type tree struct {
	from  *yaml.Node
	Local string
	Path  string

	// Owners and modes of the nodes of the tree, if given.
	User     types.NodeUser
	Group    types.NodeGroup
	FileMode *int
	DirMode  *int
}

// node returns the config's node for a path of the tree.
func (tr tree) node(path string) types.Node {
	return types.Node{Path: path, User: tr.User, Group: tr.Group}
}

// hasDirectories reports whether the config gets the directories of the tree. If it
// does not, Ignition creates the parents of files.
func (tr tree) hasDirectories() bool {
	return tr.DirMode != nil || tr.User != types.NodeUser{} || tr.Group != types.NodeGroup{}
}

func (t *translation) tree(n *yaml.Node, m object, _ string) {
	tr := tree{from: n}
	recast(m, &tr)
	if tr.Local == "" {
		t.errorf(n, "storage.trees: missing local")
		return
	}
	if tr.Path == "" {
		tr.Path = "/"
	}
	for _, key := range []string{"file_mode", "dir_mode"} {
		if mode, ok := m[camel(key)].(int); ok && (mode < 0 || mode > 0o7777) {
			t.errorf(child(n, key), "storage.trees.%s: invalid mode %d, must be 0 to 07777", key, mode)
		}
		t.octal(n, key, m)
	}
	for _, key := range []string{"user", "group"} {
		if owner, _ := m[key].(object); owner["id"] != nil && owner["name"] != nil && owner["name"] != "" {
			t.errorf(child(n, key), "storage.trees.%s: id and name are mutually exclusive", key)
		}
	}
	t.trees = append(t.trees, tr)
}

// plant adds the files, links and directories of the trees to a config.
func (t *translation) plant(c *types.Config) {
	nodes := map[string]string{} // types of nodes by path
	for _, d := range c.Storage.Directories {
		nodes[d.Path] = "directory"
	}
	files, links := map[string]int{}, map[string]int{}
	for i, f := range c.Storage.Files {
		nodes[f.Path], files[f.Path] = "file", i
	}
	for i, l := range c.Storage.Links {
		nodes[l.Path], links[l.Path] = "link", i
	}
	for _, tr := range t.trees {
		t.walk(tr, func(name string, d fs.DirEntry, open *os.Root) {
			to := path.Join(tr.Path, name)
			switch {
			case d.IsDir() && !tr.hasDirectories():
			case d.IsDir() && nodes[to] == "":
				t.plantDirectory(tr, to, c)
				nodes[to] = "directory"
			case d.Type().IsRegular() && (nodes[to] == "" || nodes[to] == "file"):
				i, ok := files[to]
				if !ok {
					i = len(c.Storage.Files)
					c.Storage.Files = append(c.Storage.Files, types.File{Node: tr.node(to)})
					t.at[fmt.Sprintf("$.storage.files.%d", i)] = tr.from
				}
				nodes[to], files[to] = "file", i
				t.plantFile(tr, name, &c.Storage.Files[i], open)
			case d.Type() == fs.ModeSymlink && (nodes[to] == "" || nodes[to] == "link"):
				i, ok := links[to]
				if !ok {
					i = len(c.Storage.Links)
					c.Storage.Links = append(c.Storage.Links, types.Link{Node: tr.node(to)})
					t.at[fmt.Sprintf("$.storage.links.%d", i)] = tr.from
				}
				nodes[to], links[to] = "link", i
				t.plantLink(tr, name, &c.Storage.Links[i], open)
			case nodes[to] != "":
				t.errorf(tr.from, "storage.trees: %s: the config has a %s with this path", to, nodes[to])
			default:
				t.errorf(tr.from, "storage.trees: %s: not a file, directory or symbolic link", path.Join(tr.Local, name))
			}
		})
	}
}

// walk visits the files of a tree in the order of their names. It does not follow
// links.
func (t *translation) walk(tr tree, visit func(name string, d fs.DirEntry, open *os.Root)) {
	if t.files == nil {
		t.noFiles = true
		t.errorf(tr.from, "storage.trees: local files need FilesDir")
		return
	}
	root, err := t.files.OpenRoot(below(tr.Local))
	if err != nil {
		t.errorf(tr.from, "storage.trees: %v", cause(tr.Local, err))
		return
	}
	defer root.Close()
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && t.size > ignition.MaxSize {
			return fs.SkipAll // grow has reported the error
		}
		if err == nil {
			visit(name, d, root)
		}
		return err
	})
	if err != nil {
		t.errorf(tr.from, "storage.trees: %s: %v", tr.Local, err)
	}
}

func (t *translation) plantDirectory(tr tree, path string, c *types.Config) {
	mode := tr.DirMode
	if mode == nil {
		mode = new(0o755)
	}
	t.at[fmt.Sprintf("$.storage.directories.%d", len(c.Storage.Directories))] = tr.from
	c.Storage.Directories = append(c.Storage.Directories, types.Directory{
		Node:               tr.node(path),
		DirectoryEmbedded1: types.DirectoryEmbedded1{Mode: mode},
	})
}

// plantFile sets the contents of a file, which must have none. It sets the mode
// only if the config does not.
func (t *translation) plantFile(tr tree, name string, f *types.File, root *os.Root) {
	if f.Contents.Source != nil && *f.Contents.Source != "" {
		t.errorf(tr.from, "storage.trees: %s: the config already has contents for this file", f.Path)
		return
	}
	contents, mode, err := readRegular(root, name)
	if err != nil {
		t.errorf(tr.from, "storage.trees: %v", cause(path.Join(tr.Local, name), err))
		return
	}
	compressed := f.Contents.Compression != nil && *f.Contents.Compression != ""
	source, compression := dataURL(contents, !compressed)
	t.grow(tr.from, len(f.Path)+len(source))
	f.Contents.Source = &source
	if !compressed {
		f.Contents.Compression = &compression
	}
	switch {
	case f.Mode != nil:
	case tr.FileMode != nil:
		f.Mode = tr.FileMode
	case mode&0o111 != 0:
		f.Mode = new(0o755)
	default:
		f.Mode = new(0o644)
	}
}

func (t *translation) plantLink(tr tree, name string, l *types.Link, root *os.Root) {
	if l.Target != nil && *l.Target != "" {
		t.errorf(tr.from, "storage.trees: %s: the config already has a target for this link", l.Path)
		return
	}
	target, err := root.Readlink(filepath.FromSlash(name))
	if err != nil {
		t.errorf(tr.from, "storage.trees: %v", cause(path.Join(tr.Local, name), err))
		return
	}
	l.Target = new(filepath.ToSlash(target))
}

// read reads a file below FilesDir.
func (t *translation) read(from *yaml.Node, local string) (contents []byte, ok bool) {
	if t.files == nil {
		t.noFiles = true
		t.errorf(from, "%s: local files need FilesDir", local)
		return nil, false
	}
	contents, _, err := readRegular(t.files, below(local))
	if err != nil {
		t.errorf(from, "%v", cause(local, err))
		return nil, false
	}
	return contents, true
}

// grow counts bytes added to the config and reports an error when the config
// becomes too large.
func (t *translation) grow(from *yaml.Node, bytes int) {
	if t.size <= ignition.MaxSize && t.size+bytes > ignition.MaxSize {
		t.errorf(from, "this makes the config larger than %d MiB", ignition.MaxSize>>20)
	}
	t.size += bytes
}

// readText reads a file whose text goes into the config unencoded. It must be UTF-8
// because JSON is.
func (t *translation) readText(from *yaml.Node, local string) (contents string, ok bool) {
	text, ok := t.read(from, local)
	if ok && !utf8.Valid(text) {
		t.errorf(from, "%s: not UTF-8", local)
		return "", false
	}
	t.grow(from, len(text))
	return string(text), ok
}

// readRegular reads a regular file. It rejects pipes and devices, which may be
// endless.
func readRegular(root *os.Root, name string) ([]byte, fs.FileMode, error) {
	info, err := root.Stat(name)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, errors.New("not a regular file")
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	contents, err := io.ReadAll(io.LimitReader(f, maxLocal+1))
	if err == nil && len(contents) > maxLocal {
		err = fmt.Errorf("larger than %d MiB", maxLocal>>20)
	}
	return contents, info.Mode(), err
}

// below converts a local path to a path of an os.Root. A path that begins with a
// slash is relative to FilesDir too.
func below(local string) string {
	local = filepath.FromSlash(strings.TrimLeft(local, "/"))
	if local == "" {
		return "."
	}
	return local
}

// cause replaces the path in an error of a file by the path in the config.
func cause(local string, err error) error {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathErr.Err
	}
	return fmt.Errorf("%s: %w", local, err)
}

// compressors keeps gzip writers for reuse, because they are large.
var compressors = sync.Pool{New: func() any {
	z, _ := gzip.NewWriterLevel(nil, gzip.BestCompression) // a valid level
	return z
}}

// dataURL returns the shortest encoding of contents. It always returns a
// compression, if need be "": a config without one would inherit the compression
// of another config in a merge.
func dataURL(contents []byte, compress bool) (source, compression string) {
	source = "data:," + escape(contents)
	if s := "data:;base64," + base64.StdEncoding.EncodeToString(contents); len(s) < len(source) {
		source = s
	}
	if !compress {
		return source, ""
	}
	var packed bytes.Buffer
	z := compressors.Get().(*gzip.Writer)
	z.Reset(&packed)
	z.Write(contents) // into memory, which cannot fail
	z.Close()
	compressors.Put(z)
	if s := "data:;base64," + base64.StdEncoding.EncodeToString(packed.Bytes()); len(s)+len("gzip") < len(source) {
		return s, "gzip"
	}
	return source, ""
}

// escape percent-encodes all but the unreserved characters of RFC 2396.
func escape(contents []byte) string {
	const hex = "0123456789ABCDEF"
	var s strings.Builder
	for _, c := range contents {
		switch {
		case '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', strings.IndexByte("-_.!~*'()", c) >= 0:
			s.WriteByte(c)
		default:
			s.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return s.String()
}
