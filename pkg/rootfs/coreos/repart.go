package coreos

import (
	"bytes"
	"cmp"
	"errors"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs"
)

// repartDirs are the directories of systemd-repart's definitions of partitions. A file
// hides files of the same name in earlier directories. The files in NAME.conf.d add
// keys to NAME.conf.
var repartDirs = []string{"usr/lib/repart.d", "usr/local/lib/repart.d", "usr/etc/repart.d"}

// Keys of repart.d for the bounds of a partition's size.
const (
	KeySizeMin = "SizeMinBytes"
	KeySizeMax = "SizeMaxBytes"
)

// maxDefinitions is the largest number of files with definitions.
const maxDefinitions = 100

// repartUnits are systemd's units of sizes.
var repartUnits = map[string]int64{"": 1, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "P": 1 << 50}

// repartKeys are the keys of repart.d(5), for partitions that a CoreOS has.
var repartKeys = foreignKeys{
	"Partition":              {use: used},
	"Partition.Type":         {use: used},
	"Partition.Label":        {use: used},
	"Partition.SizeMinBytes": {use: used},
	"Partition.SizeMaxBytes": {use: used},

	"Partition.CopyBlocks":      {use: unsupported, reason: "the image has the content of a CoreOS"},
	"Partition.CopyFiles":       {use: unsupported, reason: "the image has the content of a CoreOS"},
	"Partition.MakeDirectories": {use: unsupported, reason: "the image has the content of a CoreOS"},
	"Partition.MakeSymlinks":    {use: unsupported, reason: "the image has the content of a CoreOS"},
	"Partition.Subvolumes":      {use: unsupported, reason: "no file system of the image has subvolumes"},
	"Partition.Format":          {use: unsupported, reason: "disk.yaml or bootc's install configuration chooses the root file system", fine: []any{"vfat", "ext4", "xfs"}},
	"Partition.Encrypt":         {use: unsupported, reason: "no partition of the image is encrypted", fine: []any{"off"}},
	"Partition.Integrity":       {use: unsupported, reason: "no partition of the image has dm-integrity", fine: []any{"off"}},
	"Partition.Verity":          {use: unsupported, reason: "no partition of the image has dm-verity", fine: []any{"off"}},
	"Partition.Flags":           {use: unsupported, reason: "partitions of the image have no attributes", fine: []any{"0"}},
	"Partition.NoAuto":          {use: unsupported, reason: "partitions of the image have no attributes", fine: []any{"no", "false", "off", "0"}},
	"Partition.ReadOnly":        {use: unsupported, reason: "partitions of the image have no attributes", fine: []any{"no", "false", "off", "0"}},
	"Partition.UUID":            {use: unsupported, reason: "GUIDs of partitions are derived from the content"},
	"Partition.PaddingMinBytes": {use: unsupported, reason: "partitions of the image follow each other without gaps", fine: []any{"0"}},

	// Shares of the free space of a disk: root gets all of it.
	"Partition.Weight":          {use: irrelevant},
	"Partition.PaddingWeight":   {use: irrelevant},
	"Partition.PaddingMaxBytes": {use: irrelevant},
	"Partition.Priority":        {use: irrelevant},
	// Actions of the booted system.
	"Partition.EncryptedVolume": {use: irrelevant},
	"Partition.FactoryReset":    {use: irrelevant},
	"Partition.GrowFileSystem":  {use: irrelevant},
	"Partition.MountPoint":      {use: irrelevant},
	// Details of the keys above.
	"Partition.AddValidateFS":            {use: irrelevant},
	"Partition.Compression":              {use: irrelevant},
	"Partition.CompressionLevel":         {use: irrelevant},
	"Partition.DefaultSubvolume":         {use: irrelevant},
	"Partition.Discard":                  {use: irrelevant},
	"Partition.EncryptKDF":               {use: irrelevant},
	"Partition.ExcludeFiles":             {use: irrelevant},
	"Partition.ExcludeFilesTarget":       {use: irrelevant},
	"Partition.FileSystemSectorSize":     {use: irrelevant},
	"Partition.IntegrityAlgorithm":       {use: irrelevant},
	"Partition.KeyFile":                  {use: irrelevant},
	"Partition.Minimize":                 {use: irrelevant},
	"Partition.SplitName":                {use: irrelevant},
	"Partition.SupplementFor":            {use: irrelevant},
	"Partition.TPM2PCRs":                 {use: irrelevant},
	"Partition.VerityDataBlockSizeBytes": {use: irrelevant},
	"Partition.VerityHashBlockSizeBytes": {use: irrelevant},
	"Partition.VerityMatchKey":           {use: irrelevant},
}

// readRepart reads the sizes of partitions from the definitions of systemd-repart. Like
// systemd-repart, it assigns definitions to the partitions of a type in the order of
// file names. The first definition of a type therefore belongs to the image's
// partition; a second one is a partition that the image does not have.
func (c *Config) readRepart(root *rootfs.Inode) error {
	files := c.confFiles(root, repartDirs)
	seen := map[partitionKind]bool{}
	for _, base := range slices.Sorted(maps.Keys(files)) {
		d := c.readDefinition(root, base, files[base])
		if d == nil {
			continue
		}
		kind := c.partitionKind(d.keys["Type"], d.keys["Label"])
		if kind == otherPartition || seen[kind] && kind != loaderPartition {
			c.warn("%s: the image has no such partition (Type=%.100s Label=%.100s)", d.file, d.keys["Type"], d.keys["Label"])
			continue
		}
		seen[kind] = true
		keys := map[string]any{}
		for name, value := range d.keys {
			keys[name] = value
		}
		c.checkKeys(d.file, repartKeys, map[string]any{"Partition": keys})
		if wish := c.wish(kind); wish != nil {
			c.readRange(d, kind, wish)
		}
	}
	return nil
}

// A definition is a file of repart.d with its additions.
type definition struct {
	file string
	keys map[string]string // of its section Partition
	from map[string]string // file that has a key
}

// readDefinition reads a definition. It returns nil for an empty file or a link to
// /dev/null, which only hide another file, and for a definition with errors.
func (c *Config) readDefinition(root *rootfs.Inode, base, file string) *definition {
	d := &definition{file: file, keys: map[string]string{}, from: map[string]string{}}
	var dirs []string
	for _, dir := range repartDirs {
		dirs = append(dirs, path.Join(dir, base+".d"))
	}
	added := c.confFiles(root, dirs)
	files := []string{file}
	for _, name := range slices.Sorted(maps.Keys(added)) {
		files = append(files, added[name])
	}
	for _, name := range files {
		var text []byte
		if root.Resolve(path.Dir(name)).Children[path.Base(name)].Target != "/dev/null" {
			var err error
			if text, err = root.ReadFile(name, maxText); err != nil {
				c.warn("%v: it has no effect on an image", err)
			}
		}
		if name == file && len(bytes.TrimSpace(text)) == 0 {
			return nil
		}
		c.parseDefinition(d, name, string(text))
	}
	return d
}

// parseDefinition adds the keys of a text. Like systemd, it skips invalid lines.
func (c *Config) parseDefinition(d *definition, file, text string) {
	section, odd := "", ""
	text = strings.NewReplacer("\r\n", "\n", "\\\n", " ").Replace(text)
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSpace(line)
		name, value, found := strings.Cut(line, "=")
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
		case line[0] == '[':
			if section = line; section != "[Partition]" {
				odd = cmp.Or(odd, line)
			}
		case section != "[Partition]":
		case !found:
			odd = cmp.Or(odd, line)
		default:
			name = strings.TrimSpace(name)
			d.keys[name], d.from[name] = strings.TrimSpace(value), file
		}
	}
	if odd != "" {
		c.warn("%s: line %.100q is neither [Partition] nor KEY=VALUE, and has no effect", file, odd)
	}
}

// readRange sets the size of a partition from the limits of a definition: the allowed
// size nearest to the default of a CoreOS, usually the minimum. If the limits allow both
// the default and the size from another file, it sets none.
func (c *Config) readRange(d *definition, kind partitionKind, wish *Size) {
	const least, most = KeySizeMin, KeySizeMax
	bound := func(key string) int64 {
		text := d.keys[key]
		if text == "" {
			return 0
		}
		n, ok := parseSize(text, repartUnits)
		if !ok {
			c.warn("%s: %s=%.100s is not a number of bytes, K, M, G or T, and has no effect", d.from[key], key, text)
		}
		return n
	}
	low, high := bound(least), bound(most)
	if high != 0 && low > high {
		c.warn("%s: %s=%.100s is more than %s=%.100s, and both have no effect", d.file, least, d.keys[least], most, d.keys[most])
		return
	}
	if kind == rootPartition && high != 0 {
		c.warn("%s: %s=%.100s has no effect: root grows to the end of the disk at the first boot", d.from[most], most, d.keys[most])
		high = 0
	}
	// Partitions are whole MiB.
	low = (min(low, 1<<60) + 1<<20 - 1) &^ (1<<20 - 1)
	if high != 0 {
		high = max(high&^(1<<20-1), low, 1<<20)
	}
	usual := map[partitionKind]int64{espPartition: DefaultESPSize, bootPartition: DefaultBootSize}[kind]
	for _, want := range []int64{usual, wish.Bytes} {
		switch {
		case want < low:
			*wish = Size{low, d.from[least], least}
			return
		case high != 0 && want > high:
			*wish = Size{high, d.from[most], most}
			return
		}
		if wish.Bytes == 0 {
			return
		}
	}
}

// confFiles returns the files NAME.conf in directories, by name.
func (c *Config) confFiles(root *rootfs.Inode, dirs []string) map[string]string {
	files := map[string]string{}
	for _, dir := range dirs {
		if root.Resolve(path.Dir(dir)) == nil {
			continue // usr/local may be a link into /var, which is empty
		}
		n, err := root.FindDir(dir)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				c.warn("%v: it has no effect on an image", err)
			}
			continue
		}
		for _, name := range n.Names() {
			if !strings.HasSuffix(name, ".conf") || strings.HasPrefix(name, ".") {
				continue
			}
			if len(files) == maxDefinitions {
				c.warn("%s: more than %d files, the others have no effect on an image", dir, maxDefinitions)
				break
			}
			files[name] = path.Join(dir, name)
		}
	}
	return files
}
