// Package butane translates Butane configs, variant fcos, to Ignition configs:
//
//	fcos      1.0.0  1.1.0  1.2.0  1.3.0  1.4.0  1.5.0  1.6.0  1.7.0
//	Ignition  3.0.0  3.1.0  3.2.0  3.2.0  3.3.0  3.4.0  3.5.0  3.6.0
//
// Most keys are those of Ignition, with underscores. The others are sugar, which
// the translation replaces:
//
//	inline, local, contents_local, ..._keys_local   data: URLs, or the text itself
//	storage.trees                                   files, links and directories
//	storage.filesystems.with_mount_unit             a mount or swap unit
//	boot_device                                     disks, raid, luks and filesystems
//	grub                                            a password file for GRUB
//
// The result of the sugar is merged with the rest of the config by Ignition's
// rules; the config takes precedence.
//
// Validation is strict. Unknown and duplicate keys, wrong types and keys that are
// newer than the config's version are errors with line and column. Not supported
// are YAML merge keys, several documents, other variants, experimental versions
// and the boot devices of s390x.
//
// See https://coreos.github.io/butane/specs/.
package butane

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/coreos/ignition/v2/config/merge"
	"github.com/coreos/ignition/v2/config/v3_6_experimental/types"
	"go.yaml.in/yaml/v3"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/ignition"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/usage"
)

// Options are the options of a translation.
type Options struct {
	// Name is the config's file name in errors and warnings. Default: config.bu.
	Name string

	// FilesDir is the directory of the files that the config refers to. Paths and
	// links that leave it are errors. If it is empty, all local paths are errors.
	FilesDir string
}

// Translate translates a Butane config to an Ignition config. Warnings begin with
// name, line and column, and so do the errors, one on each line. The output
// depends on the input only.
func Translate(text []byte, o Options) (ign []byte, warnings []string, err error) {
	t := &translation{name: o.Name, at: places{}}
	if t.name == "" {
		t.name = "config.bu"
	}
	if o.FilesDir != "" {
		if t.files, err = os.OpenRoot(o.FilesDir); err != nil {
			return nil, nil, usage.Error{Field: "FilesDir", Err: err}
		}
		defer t.files.Close()
	}
	root, err := t.parse(text)
	if err != nil {
		return nil, nil, err
	}
	ign = t.translate(root)
	if n := len(t.errs) - maxErrors; n > 0 {
		t.errs = append(t.errs[:maxErrors], fmt.Sprintf("%s: and %d more errors", t.name, n))
	}
	if len(t.errs) != 0 {
		err := errors.New(strings.Join(t.errs, "\n"))
		if t.noFiles {
			return nil, nil, usage.Avoidable{Field: "FilesDir", Err: err}
		}
		return nil, nil, err
	}
	return ign, t.warnings, nil
}

// maxErrors is the largest number of errors reported. A tree can have one for each
// file.
const maxErrors = 100

// A translation is the state of the translation of one config.
type translation struct {
	name    string
	minor   int      // of the config's version
	files   *os.Root // nil without Options.FilesDir
	noFiles bool     // local files were refused for lack of files
	nodes   int      // decoded so far
	size    int      // bytes of local and inline contents so far
	at      places

	mounts []mount
	trees  []tree
	boot   bootDevice
	users  []grubUser

	errs, warnings []string
}

// versions are the Ignition versions of the minor versions of fcos 1.
var versions = []string{"3.0.0", "3.1.0", "3.2.0", "3.2.0", "3.3.0", "3.4.0", "3.5.0", "3.6.0"}

// translate returns the Ignition config, or nil after errors. A step with errors
// does not stop the translation unless the next step depends on its result, so
// that one run reports as many errors as possible.
func (t *translation) translate(root *yaml.Node) []byte {
	plain, _ := t.value(root, config1, "", "$").(object)
	if len(t.errs) != 0 {
		return nil
	}
	var c types.Config
	recast(plain, &c)
	c.Ignition.Version = versions[t.minor]

	c = t.merge(t.mountUnits(c))
	t.plant(&c)
	c = t.merge(t.bootDevice(c))
	t.checkPartitions(c)
	c = t.merge(t.grub(c))
	if len(t.errs) != 0 {
		return nil
	}
	ign, err := ignition.Marshal(c)
	if err != nil {
		panic(err) // it has strings and numbers only
	}
	t.validate(ign)
	return ign
}

// places maps paths of the Ignition config to the nodes of the Butane config that
// they come from. A path without an entry has the node of its parent.
type places map[string]*yaml.Node

// nearest returns the node of a path or of its nearest parent.
func (p places) nearest(path string) *yaml.Node {
	for {
		n, ok := p[path]
		i := strings.LastIndexByte(path, '.')
		if ok || i < 0 {
			return n
		}
		path = path[:i]
	}
}

// merge merges a config with the result of its sugar, and their places.
func (t *translation) merge(c, sugar types.Config, from places) types.Config {
	merged, transcript := merge.MergeStructTranscribe(sugar, c)
	at := places{"$": t.at["$"]}
	for _, m := range transcript.Mappings {
		// An object from both has two mappings: first the sugar's, then the config's.
		of := t.at
		if m.From.Tag == merge.TAG_PARENT {
			of = from
		}
		if n := of.nearest(m.From.String()); n != nil {
			at[m.To.String()] = n
		}
	}
	t.at = at
	return merged.(types.Config)
}

// validate validates the result with Ignition's library and reports its findings
// at their places in the Butane config.
func (t *translation) validate(ign []byte) {
	_, report, err := ignition.Parse(ign)
	for _, entry := range report.Entries {
		n := t.at.nearest(entry.Context.String())
		if entry.Kind.IsFatal() {
			t.errorf(n, "%s: %s", entry.Context, entry.Message)
		} else {
			t.warnf(n, "%s: %s", entry.Context, entry.Message)
		}
	}
	if err != nil && len(t.errs) == 0 {
		t.errorf(t.at["$"], "%v", err)
	}
}

// errorf adds an error at a node.
func (t *translation) errorf(n *yaml.Node, format string, args ...any) {
	t.errs = append(t.errs, t.where(n)+fmt.Sprintf(format, args...))
}

// warnf adds a warning at a node.
func (t *translation) warnf(n *yaml.Node, format string, args ...any) {
	t.warnings = append(t.warnings, t.where(n)+fmt.Sprintf(format, args...))
}

// where returns the prefix of an error or warning at a node.
func (t *translation) where(n *yaml.Node) string {
	return fmt.Sprintf("%s:%d:%d: ", t.name, n.Line, n.Column)
}

// recast converts a decoded object to a Go type and drops the sugar. It cannot
// fail: the table of keys has the same types as Ignition's structs, see TestKeys.
func recast(from, to any) {
	text, err := json.Marshal(from)
	if err == nil {
		err = json.Unmarshal(text, to)
	}
	if err != nil {
		panic(err)
	}
}
