// Package butane translates Butane configs, variant fcos, to Ignition configs:
//
//	fcos      1.0.0  1.1.0  1.2.0  1.3.0  1.4.0  1.5.0  1.6.0  1.7.0
//	Ignition  3.0.0  3.1.0  3.2.0  3.2.0  3.3.0  3.4.0  3.5.0  3.6.0
//
// Most of a config is Ignition's own, in YAML and with underscores. The rest
// is sugar, which is replaced by what it stands for:
//
//	inline, local, contents_local, ..._keys_local   the text itself
//	storage.trees                                   files, links and directories
//	storage.filesystems.with_mount_unit             a mount or swap unit
//	boot_device                                     disks, raid, luks and filesystems
//	grub                                            a password file for GRUB
//
// What the sugar makes is merged with what the config says itself, by
// Ignition's rules, and the config wins.
//
// Reading is strict: what is unknown, given twice, of the wrong type or newer
// than the config's version is an error, with its line and column. YAML merge
// keys, more than one document, other variants, experimental versions and the
// boot devices of s390x are refused.
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
)

// Options are what a config cannot say itself.
type Options struct {
	// Name is that of the config in errors and warnings; zero means config.bu.
	Name string

	// FilesDir is the directory that local paths start at, and that nothing
	// leads out of. Zero means there is none, and local paths are errors.
	FilesDir string
}

// Translate makes an Ignition config of a Butane config. Errors, one a line,
// and warnings begin with name, line and column. The same input gives the
// same bytes.
func Translate(text []byte, o Options) (ign []byte, warnings []string, err error) {
	t := &translation{name: o.Name, at: places{}}
	if t.name == "" {
		t.name = "config.bu"
	}
	if o.FilesDir != "" {
		if t.files, err = os.OpenRoot(o.FilesDir); err != nil {
			return nil, nil, fmt.Errorf("--files-dir: %w", err)
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
		return nil, nil, errors.New(strings.Join(t.errs, "\n"))
	}
	return ign, t.warnings, nil
}

// maxErrors is the largest number of errors shown: a tree can have one for each file.
const maxErrors = 100

// A translation is one config on its way.
type translation struct {
	name  string
	minor int      // of the config's version
	files *os.Root // nil without a FilesDir
	nodes int      // decoded so far
	size  int      // bytes of local and inline contents so far
	at    places

	mounts []mount
	trees  []tree
	boot   bootDevice
	users  []grubUser

	errs, warnings []string
}

// versions has what a minor version of fcos 1 is in Ignition.
var versions = []string{"3.0.0", "3.1.0", "3.2.0", "3.2.0", "3.3.0", "3.4.0", "3.5.0", "3.6.0"}

// translate is nil when there were errors. Steps go on past errors as long as
// what they need is whole, so that one run shows as many as possible.
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
		panic(err) // strings and numbers
	}
	t.validate(ign)
	return ign
}

// places has where in the Butane config a place of the Ignition config comes
// from, as far as known: one that is not here comes from where its parent does.
type places map[string]*yaml.Node

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

// merge adds to a config what its sugar stands for, and its places.
func (t *translation) merge(c, sugar types.Config, from places) types.Config {
	merged, transcript := merge.MergeStructTranscribe(sugar, c)
	at := places{"$": t.at["$"]}
	for _, m := range transcript.Mappings {
		// An object of both has two mappings, the config's after the sugar's.
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

// validate has Ignition judge what was made, in terms of what it was made of.
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

func (t *translation) errorf(n *yaml.Node, format string, args ...any) {
	t.errs = append(t.errs, t.where(n)+fmt.Sprintf(format, args...))
}

func (t *translation) warnf(n *yaml.Node, format string, args ...any) {
	t.warnings = append(t.warnings, t.where(n)+fmt.Sprintf(format, args...))
}

func (t *translation) where(n *yaml.Node) string {
	return fmt.Sprintf("%s:%d:%d: ", t.name, n.Line, n.Column)
}

// recast gives a decoded object its Go type, which leaves the sugar behind. It
// cannot fail: the types are those of the table of keys, which TestKeys holds
// against Ignition's.
func recast(from, to any) {
	text, err := json.Marshal(from)
	if err == nil {
		err = json.Unmarshal(text, to)
	}
	if err != nil {
		panic(err)
	}
}
