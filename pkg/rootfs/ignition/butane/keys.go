package butane

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// An object is a mapping with Ignition's key names, and with the keys of sugar.
type object = map[string]any

type kind int

const (
	text kind = iota
	number
	boolean
	list
	mapping
)

var kinds = [...]string{"string", "whole number", "boolean", "list", "mapping"}

// A shape is the type of a value.
type shape struct {
	kind kind
	item *shape         // of a list
	keys map[string]key // of a mapping

	// sugar replaces the keys of a decoded mapping that are not Ignition's. It is
	// optional.
	sugar func(t *translation, n *yaml.Node, m object, path string)
}

// A key is a key of a mapping, and the minor version that introduced it.
type key struct {
	name  string
	since int
	shape *shape
}

var (
	str   = &shape{kind: text}
	num   = &shape{kind: number}
	truth = &shape{kind: boolean}
	strs  = listOf(str)
)

func listOf(item *shape) *shape { return &shape{kind: list, item: item} }

func mappingOf(sugar func(*translation, *yaml.Node, object, string), keys ...[]key) *shape {
	s := &shape{kind: mapping, keys: map[string]key{}, sugar: sugar}
	for _, ks := range keys {
		for _, k := range ks {
			s.keys[k.name] = k
		}
	}
	return s
}

// since returns keys of one shape. Spaces separate their names.
func since(minor int, names string, s *shape) (keys []key) {
	for _, name := range strings.Fields(names) {
		keys = append(keys, key{name, minor, s})
	}
	return keys
}

// config1 is the shape of a config of fcos 1.x.
var config1 = mappingOf(nil,
	since(0, "variant version", str),
	since(0, "ignition", mappingOf(nil,
		since(0, "config", mappingOf(nil,
			since(0, "merge", listOf(reference((*translation).config))),
			since(0, "replace", reference((*translation).config)))),
		since(0, "timeouts", mappingOf(nil,
			since(0, "http_response_headers http_total", num))),
		since(0, "security", mappingOf(nil,
			since(0, "tls", mappingOf(nil,
				since(0, "certificate_authorities", listOf(reference((*translation).resource))))))),
		since(1, "proxy", mappingOf(nil,
			since(1, "http_proxy https_proxy", str),
			since(1, "no_proxy", strs))))),
	since(4, "kernel_arguments", mappingOf(nil,
		since(4, "should_exist should_not_exist", strs))),
	since(0, "passwd", mappingOf(nil,
		since(0, "users", listOf(user)),
		since(0, "groups", listOf(group)))),
	since(0, "systemd", mappingOf(nil,
		since(0, "units", listOf(mappingOf((*translation).unitText,
			since(0, "name contents", str),
			since(5, "contents_local", str),
			since(0, "enabled mask", truth),
			since(0, "dropins", listOf(mappingOf((*translation).unitText,
				since(0, "name contents", str),
				since(5, "contents_local", str))))))))),
	since(0, "storage", storage),
	since(3, "boot_device", boot),
	since(5, "grub", mappingOf(nil,
		since(5, "users", listOf(mappingOf((*translation).grubUser,
			since(5, "name password_hash", str)))))))

var user = mappingOf((*translation).user,
	since(0, "name gecos home_dir password_hash primary_group shell", str),
	since(0, "uid", num),
	since(0, "groups ssh_authorized_keys", strs),
	since(5, "ssh_authorized_keys_local", strs),
	since(0, "no_create_home no_log_init no_user_group system", truth),
	since(2, "should_exist", truth))

var group = mappingOf((*translation).group,
	since(0, "name password_hash", str),
	since(0, "gid", num),
	since(0, "system", truth),
	since(2, "should_exist", truth))

var storage = mappingOf(nil,
	since(0, "disks", listOf(mappingOf(nil,
		since(0, "device", str),
		since(0, "wipe_table", truth),
		since(0, "partitions", listOf(mappingOf(nil,
			since(0, "label guid type_guid", str),
			since(0, "number size_mib start_mib", num),
			since(0, "should_exist wipe_partition_entry", truth),
			since(2, "resize", truth))))))),
	since(0, "raid", listOf(mappingOf(nil,
		since(0, "name level", str),
		since(0, "devices options", strs),
		since(0, "spares", num)))),
	since(0, "filesystems", listOf(mappingOf((*translation).mount,
		since(0, "device format label path uuid", str),
		since(0, "options", strs),
		since(1, "mount_options", strs),
		since(0, "wipe_filesystem", truth),
		since(1, "with_mount_unit", truth)))),
	since(2, "luks", listOf(mappingOf(nil,
		since(2, "name device label uuid", str),
		since(2, "key_file", contents),
		since(2, "options", strs),
		since(5, "open_options", strs),
		since(2, "wipe_volume", truth),
		since(5, "discard", truth),
		since(2, "clevis", mappingOf(nil,
			since(2, "tang", listOf(tang)),
			since(2, "threshold", num),
			since(2, "tpm2", truth),
			since(2, "custom", mappingOf(nil,
				since(2, "config pin", str),
				since(2, "needs_network", truth))))),
		since(6, "cex", mappingOf(nil,
			since(6, "enabled", truth)))))),
	since(0, "files", listOf(mappingOf((*translation).mode, node,
		since(0, "contents", contents),
		since(0, "append", listOf(contents)),
		since(0, "mode", num)))),
	since(0, "directories", listOf(mappingOf((*translation).mode, node,
		since(0, "mode", num)))),
	since(0, "links", listOf(mappingOf(nil, node,
		since(0, "target", str),
		since(0, "hard", truth)))),
	since(1, "trees", listOf(mappingOf((*translation).tree,
		since(1, "local path", str),
		since(7, "file_mode dir_mode", num),
		since(7, "user group", owner)))))

// node are the common keys of files, directories and links.
var node = append(since(0, "path", str),
	append(since(0, "overwrite", truth),
		since(0, "user group", owner)...)...)

var owner = mappingOf(nil,
	since(0, "id", num),
	since(0, "name", str))

var tang = mappingOf(nil,
	since(2, "url thumbprint", str),
	since(5, "advertisement", str))

// contents is a resource with inline since version 1.0.0.
var contents = mappingOf((*translation).resource,
	since(0, "source inline compression", str),
	since(1, "local", str),
	since(1, "http_headers", headers),
	since(0, "verification", verification))

// reference returns a resource with inline since version 1.1.0.
func reference(sugar func(*translation, *yaml.Node, object, string)) *shape {
	return mappingOf(sugar,
		since(0, "source", str),
		since(1, "inline local compression", str),
		since(1, "http_headers", headers),
		since(0, "verification", verification))
}

var headers = listOf(mappingOf(nil,
	since(1, "name value", str)))

var verification = mappingOf(nil,
	since(0, "hash", str))

var boot = mappingOf((*translation).readBootDevice,
	since(3, "layout", str),
	since(3, "mirror", mappingOf(nil,
		since(3, "devices", strs))),
	since(3, "luks", mappingOf(nil,
		since(3, "tang", listOf(tang)),
		since(3, "threshold", num),
		since(3, "tpm2", truth),
		since(5, "discard", truth),
		since(6, "device", str),
		since(6, "cex", mappingOf(nil,
			since(6, "enabled", truth))))))

// camel returns Ignition's name of a key.
func camel(name string) string {
	if stem, ok := strings.CutSuffix(name, "_mib"); ok {
		return stem + "MiB"
	}
	words := strings.Split(name, "_")
	for i, w := range words[1:] {
		words[1+i] = strings.ToUpper(w[:1]) + w[1:]
	}
	return strings.Join(words, "")
}
