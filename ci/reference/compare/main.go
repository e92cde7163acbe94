// Command compare lists the differences of two disks: partition table, boot code, and
// the files of the three file systems, with path, type, mode, owner, size, content,
// link target, hard links, extended attributes and immutable flag. It compares times
// only if the reference has the epoch.
//
//	compare OURS REFERENCE
//
// It needs root, because it mounts the file systems through loop devices, read-only. It
// reads the EFI system partition with mtools. A table lists the expected differences
// and their reasons; compare prints their number. The exit status is 1 if there are
// others.
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
)

func main() {
	all := flag.Bool("v", false, "list explained differences one by one too")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: compare [-v] OURS REFERENCE")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 2 {
		flag.Usage()
		os.Exit(2)
	}
	c := comparison{reasons: map[string]int{}, verbose: *all}
	if err := c.run(flag.Arg(0), flag.Arg(1)); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

// A comparison collects differences.
type comparison struct {
	names       int            // compared on both disks
	unexplained int            // differences
	reasons     map[string]int // explained differences
	verbose     bool
}

func (c *comparison) run(ours, reference string) error {
	a, err := openDisk(ours)
	if err != nil {
		return fmt.Errorf("%s: %w", ours, err)
	}
	defer a.close()
	b, err := openDisk(reference)
	if err != nil {
		return fmt.Errorf("%s: %w", reference, err)
	}
	defer b.close()

	c.tables(a, b)
	for _, fs := range []string{"esp", "boot", "root"} {
		if err := c.trees(fs, a, b); err != nil {
			return err
		}
	}
	fmt.Printf("%d names compared\n", c.names)
	for _, reason := range slices.Sorted(maps.Keys(c.reasons)) {
		fmt.Printf("%6d  explained: %s\n", c.reasons[reason], reason)
	}
	if c.unexplained > 0 {
		return fmt.Errorf("%d unexplained differences", c.unexplained)
	}
	fmt.Println("no unexplained difference")
	return nil
}

// differ records a difference in one property of one name.
func (c *comparison) differ(fs, name, aspect, ours, reference string) {
	line := fmt.Sprintf("%s:%s: %s: ours %s, reference %s", fs, name, aspect, ours, reference)
	for _, k := range known {
		if k.fs == fs && k.path.MatchString(name) && slices.Contains(strings.Fields(k.aspects), aspect) {
			c.reasons[k.reason]++
			if c.verbose {
				fmt.Println("explained", line)
			}
			return
		}
	}
	fmt.Println("DIFFERS  ", line)
	c.unexplained++
}

// tables compares the partitions and the boot code of the first sector.
func (c *comparison) tables(a, b *disk) {
	if a.guid != b.guid {
		c.differ("disk", "", "guid", a.guid, b.guid)
	}
	if !slices.Equal(a.bootCode, b.bootCode) {
		c.differ("disk", "", "boot-code", fmt.Sprintf("%.16x...", a.bootCode), fmt.Sprintf("%.16x...", b.bootCode))
	}
	for i := range max(len(a.partitions), len(b.partitions)) {
		var p, q partition
		if i < len(a.partitions) {
			p = a.partitions[i]
		}
		if i < len(b.partitions) {
			q = b.partitions[i]
		}
		// If the disks differ in size, their last partitions do as well.
		if q.name == "root" {
			q.size = p.size
		}
		if p != q {
			c.differ("disk", fmt.Sprintf("partition %d", i+1), "entry", fmt.Sprint(p), fmt.Sprint(q))
		}
	}
}

// trees compares the file systems of one partition.
func (c *comparison) trees(fs string, a, b *disk) error {
	ours, err := a.tree(fs)
	if err != nil {
		return fmt.Errorf("ours: %s: %w", fs, err)
	}
	theirs, err := b.tree(fs)
	if err != nil {
		return fmt.Errorf("reference: %s: %w", fs, err)
	}
	if len(ours.entries) < 2 || len(theirs.entries) < 2 {
		return errors.New(fs + ": a tree without files")
	}
	names := maps.Clone(ours.entries)
	maps.Copy(names, theirs.entries)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		x, y := ours.entries[name], theirs.entries[name]
		switch {
		case x == nil:
			c.differ(fs, name, "only-reference", "nothing", y.String())
		case y == nil:
			c.differ(fs, name, "only-ours", x.String(), "nothing")
			c.labelled(fs, name, x)
		default:
			c.names++
			c.entries(fs, name, x, y)
		}
	}
	return nil
}

const labelName = "security.selinux"

// labelled reports an inode without an SELinux label, for which there is no reason.
func (c *comparison) labelled(fs, name string, ours *entry) {
	if fs != "esp" && ours.xattrs[labelName] == "" {
		c.differ(fs, name, "unlabelled", "none", "-")
	}
}

func (c *comparison) entries(fs, name string, ours, theirs *entry) {
	different(c, fs, name, "mode", ours.mode, theirs.mode)
	different(c, fs, name, "owner", ours.owner, theirs.owner)
	different(c, fs, name, "rdev", ours.rdev, theirs.rdev)
	different(c, fs, name, "target", ours.target, theirs.target)
	different(c, fs, name, "links", ours.links, theirs.links)
	different(c, fs, name, "immutable", ours.immutable, theirs.immutable)
	if theirs.epoch && fs == "root" && timed.MatchString(name) {
		different(c, fs, name, "time", ours.epoch, theirs.epoch)
	}
	different(c, fs, name, "content", ours.content, theirs.content)
	if fs == "esp" {
		return
	}
	if theirs.xattrs[labelName] != "" || ours.xattrs[labelName] != "" {
		different(c, fs, name, "label", ours.xattrs[labelName], theirs.xattrs[labelName])
	}
	// A tree without a policy has no labels.
	if theirs.xattrs[labelName] != "" {
		c.labelled(fs, name, ours)
	}
	different(c, fs, name, "xattrs", ours.otherXattrs(), theirs.otherXattrs())
}

// timed matches the names whose time ostree sets to the epoch: content objects and
// their checkout. Metadata objects have the time of the import.
var timed = exactly(`ostree/repo/objects/.*\.file|ostree/deploy/[^/]*/deploy/COMMIT\.0/.*`)

func different[T cmp.Ordered | bool](c *comparison, fs, name, aspect string, ours, theirs T) {
	if ours != theirs {
		c.differ(fs, name, aspect, fmt.Sprint(ours), fmt.Sprint(theirs))
	}
}

// Known differences and their reasons. A pattern matches the whole path. COMMIT is the
// checksum of the deployed commit, in paths and in small text files. No row has a
// missing label (unlabelled).
var known = []struct {
	fs      string
	path    *regexp.Regexp
	aspects string
	reason  string
}{
	{"root", exactly(`\.(aleph-version|coreos-aleph-version|bootc-aleph)\.json`), "only-ours",
		"the installer's note on what was installed; the ostree command line writes none"},
	{"root", exactly(`ostree/repo/objects/(CO/MMIT|../.*)\.commit(meta)?`), "only-ours only-reference content",
		"the commit that an import of a container makes has metadata of its own"},
	{"root", exactly(`ostree/repo/objects/..(/.*\.(dirtree|dirmeta))?`), "only-ours",
		"the commits of the container's layers have trees of their own"},
	{"root", exactly(`ostree/repo/(refs/heads/ostree/container(/.*)?|refs/heads/ostree/1/1/0)`), "only-ours content",
		"an import of a container names its commits by refs"},
	{"root", exactly(`ostree/repo/(\.lock|\.ostree-.*|tmp/.*|state/.*|summary.*)`), "only-reference only-ours",
		"scratch files of the running ostree"},
	{"root", exactly(`(ostree/lock|ostree/deploy/.*\.deployments-.*)`), "only-reference",
		"scratch files of the running ostree"},
	{"root", exactly(`ostree/deploy/[^/]*/deploy/COMMIT\.0\.origin`), "content",
		"the origin names the reference that was built from"},
	{"root", exactly(`(\.|lost\+found|ostree|ostree/(repo|deploy|boot\.1(\.1)?)(/[^/]*)?|ostree/boot\.1\.1/.*|ostree/repo/.*|` +
		`ostree/deploy/[^/]*/(deploy|backing)(/.*)?)`), "label",
		"ostree leaves these without a label and the reference script gives them a common one"},
	{"root", exactly(`lost\+found`), "only-ours only-reference", "only ext4 has it"},
	{"root", exactly(`\.`), "xattrs", "mkfs.xfs leaves a note to the file system checker there"},
	{"boot", exactly(`bootupd-state\.json`), "only-ours", "bootupd's record; the reference script does not run bootupd"},
}

func exactly(pattern string) *regexp.Regexp { return regexp.MustCompile("^(?:" + pattern + ")$") }
