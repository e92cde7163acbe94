package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// maxLinks is how many symbolic links [Inode.Resolve] follows, as Linux does.
const maxLinks = 40

// Resolve is Lookup that follows symbolic links, with n as the root that no
// link leaves. It returns nil for a missing file and for a loop of links.
func (n *Inode) Resolve(name string) *Inode {
	in, _ := n.find(name)
	return in
}

// ReadFile returns the content of the regular file that name resolves to, of
// at most limit bytes. The error is fs.ErrNotExist if the name does not exist. A dangling link, a directory and a file in place of a parent
// directory are other errors: the author of the tree meant to have the file.
func (n *Inode) ReadFile(name string, limit int64) ([]byte, error) {
	in, err := n.FindFile(name)
	if err != nil {
		return nil, err
	}
	if in.Content == nil {
		return []byte{}, nil
	}
	content, err := ReadAll(in.Content, limit)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return content, nil
}

// FindFile returns the regular file that name resolves to. Its errors are those
// of [Inode.ReadFile].
func (n *Inode) FindFile(name string) (*Inode, error) {
	in, err := n.find(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if !in.IsFile() {
		return nil, fmt.Errorf("%s: not a regular file", name)
	}
	return in, nil
}

// FindDir returns the directory that name resolves to. Its errors are those of
// [Inode.ReadFile].
func (n *Inode) FindDir(name string) (*Inode, error) {
	in, err := n.find(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if !in.IsDir() {
		return nil, fmt.Errorf("%s: not a directory", name)
	}
	return in, nil
}

// find returns the inode that name resolves to. The error is fs.ErrNotExist if a
// name is missing, unless a link leads to it.
func (n *Inode) find(name string) (*Inode, error) {
	type step struct {
		name string
		in   *Inode
	}
	todo := strings.Split(name, "/")
	stack := []step{{"", n}}
	var link step // its target is being followed
	rest := 0     // length of todo behind that target
	for links := 0; len(todo) > 0; {
		at, part := stack[len(stack)-1], todo[0]
		todo = todo[1:]
		if len(todo) < rest {
			link = step{}
		}
		if part == "" || part == "." {
			continue
		}
		if !at.in.IsDir() {
			return nil, fmt.Errorf("%s is not a directory", at.name)
		}
		if part == ".." {
			stack = stack[:max(1, len(stack)-1)]
			continue
		}
		next := step{path.Join(at.name, part), at.in.Children[part]}
		switch {
		case next.in == nil && link.name == path.Clean(name):
			return nil, fmt.Errorf("a link to %s, which does not exist", link.in.Target)
		case next.in == nil && link.in != nil:
			return nil, fmt.Errorf("%s is a link to %s, which does not exist", link.name, link.in.Target)
		case next.in == nil:
			return nil, fs.ErrNotExist
		case next.in.IsLink():
			if links++; links > maxLinks {
				return nil, errors.New("too many links")
			}
			if link.in == nil {
				link, rest = next, len(todo)
			}
			if strings.HasPrefix(next.in.Target, "/") {
				stack = stack[:1]
			}
			todo = append(strings.Split(next.in.Target, "/"), todo...)
		default:
			stack = append(stack, next)
		}
	}
	return stack[len(stack)-1].in, nil
}
