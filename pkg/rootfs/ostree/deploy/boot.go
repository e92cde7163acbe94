package deploy

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/bls"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/coreos"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ostree"
)

// Boot returns the files of ostree and Ignition in the boot file system: kernel,
// boot entry and the stamp of the first boot. It also returns the boot entry. The
// caller adds the files of the boot loader and labels the tree as /boot.
//
// The kernel arguments lack ostree=, which goes before ignition.platform.id,
// where tools expect it, or else last.
func (d *Deployment) Boot(args bls.Args) (*rootfs.Inode, bls.Entry, error) {
	boot, entry, err := d.boot(args)
	if err != nil {
		return nil, nil, fmt.Errorf("deploy: %w", err)
	}
	return boot, entry, nil
}

func (d *Deployment) boot(args bls.Args) (*rootfs.Inode, bls.Entry, error) {
	dir := d.options.Stateroot + "-" + d.Bootcsum.String()
	kernel, err := d.kernelDir()
	if err != nil {
		return nil, nil, err
	}
	entry := d.entry("/boot/ostree/"+dir, kernel, args)
	text, err := bls.Format(entry)
	if err != nil {
		return nil, nil, err
	}
	return d.dir(0o755, "", entries{
		"boot":               d.link(".", ""), // entries name files in /boot, which may be a partition
		"efi":                d.dir(0o755, "", nil),
		"ignition.firstboot": d.text("", ""),
		"loader":             d.link("loader.1", ""),
		"loader.1":           d.dir(0o755, "", entries{"entries": d.dir(0o755, "", entries{"ostree-1.conf": d.text(text, "")})}),
		"ostree":             d.dir(0o755, "", entries{dir: kernel}),
	}), entry, nil
}

// kernelDir returns the directory of the kernel. It is on another file system
// than the objects, so its files are copies, without extended attributes.
func (d *Deployment) kernelDir() (*rootfs.Inode, error) {
	from := d.System.Resolve(path.Join("usr/lib/modules", d.Kernel))
	dir := d.dir(0o755, "", nil)
	for source, name := range map[string]string{
		"vmlinuz":       "vmlinuz-" + d.Kernel,
		"initramfs.img": "initramfs-" + d.Kernel + ".img",
		".vmlinuz.hmac": ".vmlinuz-" + d.Kernel + ".hmac",
		"devicetree":    "devicetree-" + d.Kernel,
	} {
		if n := from.Resolve(source); n != nil {
			dir.Children[name] = d.plainCopy(n)
		}
	}
	if n := from.Lookup("dtb"); n != nil && n.IsDir() && from.Resolve("devicetree") == nil {
		dir.Children["dtb"] = d.plainCopy(n)
	}
	if from.Children["aboot.img"] != nil {
		return nil, errors.New("the kernel is one for Android's boot loader (aboot.img), which is not supported")
	}
	return dir, nil
}

func (d *Deployment) plainCopy(n *rootfs.Inode) *rootfs.Inode {
	plain := *n
	plain.MTime, plain.Xattrs = d.options.Time, nil
	if n.IsDir() {
		plain.Children = make(map[string]*rootfs.Inode, len(n.Children))
		for name, child := range n.Children {
			plain.Children[name] = d.plainCopy(child)
		}
	}
	return &plain
}

// entry returns the boot entry for the files of a directory.
func (d *Deployment) entry(at string, kernel *rootfs.Inode, args bls.Args) bls.Entry {
	ostreeArg := fmt.Sprintf("ostree=/ostree/boot.1/%s/%s/0", d.options.Stateroot, d.Bootcsum)
	var devicetree string
	if kernel.Children["devicetree-"+d.Kernel] != nil {
		devicetree = path.Join(at, "devicetree-"+d.Kernel)
	}
	e := bls.Entry{ // in the order that ostree writes them in
		{Key: "title", Value: d.title + " (ostree:0)"},
		{Key: "version", Value: "1"},
		{Key: "options", Value: insertBefore(args, "ignition.platform.id=", ostreeArg).String()},
		{Key: "devicetree", Value: devicetree},
		{Key: "linux", Value: path.Join(at, "vmlinuz-"+d.Kernel)},
		{Key: "initrd", Value: path.Join(at, "initramfs-"+d.Kernel+".img")},
	}
	if kernel.Children["dtb"] != nil {
		e = append(e, bls.Field{Key: "fdtdir", Value: path.Join(at, "dtb")})
	}
	return e
}

func insertBefore(args bls.Args, prefix, arg string) bls.Args {
	for i, a := range args {
		if strings.HasPrefix(a, prefix) {
			return args[:i:i].Append(arg).Append(args[i:]...)
		}
	}
	return args.Append(arg)
}

// bootcsum is the checksum of the files that the boot loader loads: kernel, initramfs,
// and the device tree or trees.
func bootcsum(modules *rootfs.Inode) (ostree.Checksum, error) {
	h := sha256.New()
	for _, name := range []string{"vmlinuz", "initramfs.img", "devicetree"} {
		n := modules.Resolve(name)
		if n == nil && name == "devicetree" {
			continue
		}
		if n == nil || !n.IsFile() {
			return ostree.Checksum{}, fmt.Errorf("%s of the kernel is not a file", name)
		}
		if err := hashFile(h, n); err != nil {
			return ostree.Checksum{}, fmt.Errorf("%s of the kernel: %w", name, err)
		}
	}
	if dtb := modules.Lookup("dtb"); dtb != nil && dtb.IsDir() && modules.Resolve("devicetree") == nil {
		if err := hashTree(h, modules, "dtb"); err != nil {
			return ostree.Checksum{}, err
		}
	}
	return ostree.Checksum(h.Sum(nil)), nil
}

// hashTree hashes the files below a directory, names in byte order, directories
// in their place.
func hashTree(h io.Writer, modules *rootfs.Inode, dir string) error {
	for _, name := range modules.Lookup(dir).Names() {
		name = path.Join(dir, name)
		if modules.Lookup(name).IsDir() {
			if err := hashTree(h, modules, name); err != nil {
				return err
			}
			continue
		}
		n := modules.Resolve(name)
		if n == nil || !n.IsFile() {
			return fmt.Errorf("%s of the kernel is not a file", name)
		}
		if err := hashFile(h, n); err != nil {
			return fmt.Errorf("%s of the kernel: %w", name, err)
		}
	}
	return nil
}

func hashFile(h io.Writer, n *rootfs.Inode) error {
	if n.Content == nil {
		return nil
	}
	size := n.Content.Size()
	copied, err := io.Copy(h, io.NewSectionReader(n.Content, 0, size))
	if err == nil && copied < size {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// title returns the title of a system in a boot menu: its name, and the version
// of the commit unless the name has it already.
func title(repo *ostree.Repo, commit ostree.Checksum, system *rootfs.Inode) (string, error) {
	release, err := osRelease(system)
	if err != nil {
		return "", err
	}
	name := release["PRETTY_NAME"]
	if name == "" {
		name = release["ID"]
	}
	if name == "" {
		return "", errors.New("os-release has neither PRETTY_NAME nor ID")
	}
	c, err := repo.Commit(commit)
	if err != nil {
		return "", err
	}
	for _, p := range c.Metadata {
		version := strings.TrimSuffix(string(p.Value), "\x00")
		if p.Key == "version" && p.Type == "s" && !strings.Contains(name, version) {
			name += " " + version
		}
	}
	return name, nil
}

// maxRelease bounds os-release.
const maxRelease = 1 << 20

// osRelease reads the assignments in a system's os-release.
func osRelease(system *rootfs.Inode) (map[string]string, error) {
	system = coreos.Running(system)
	for _, name := range []string{"usr/lib/os-release", "usr/etc/os-release"} {
		text, err := system.ReadFile(name, maxRelease)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		values := map[string]string{}
		for line := range strings.Lines(string(text)) {
			if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(key, "#") {
				values[key] = unquote(value)
			}
		}
		return values, nil
	}
	return nil, errors.New("the commit has no usr/lib/os-release")
}

// unquote undoes the quotes and escapes of a shell.
func unquote(s string) string {
	var b strings.Builder
	var quote byte
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote != 0 && c == quote:
			quote = 0
		case c == '\\' && quote != '\'' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
