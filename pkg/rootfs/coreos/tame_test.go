package coreos

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// The configuration of a container, in the languages that parsers have
// trouble with.
var texts = []string{
	"usr/lib/bootc/install/x.toml",
	"usr/lib/bootc/kargs.d/x.toml",
	"usr/lib/image-builder/bootc/disk.yaml",
}

// aliases returns a YAML text that becomes 10^levels values.
func aliases(levels int, before, after string) string {
	b := "a0: &a0 {type: gpt}\n"
	for i := range levels {
		b += fmt.Sprintf("a%d: &a%d %s%s*a%d%s\n", i+1, i+1, before, strings.Repeat(fmt.Sprintf("*a%d, ", i), 9), i, after)
	}
	return b + fmt.Sprintf("partition_table: {partitions: [*a%d]}\n", levels)
}

// TestTame has texts that parsers take forever, all memory or all stack for.
func TestTame(t *testing.T) {
	for name, text := range map[string]string{
		"brackets":        "kargs=" + strings.Repeat("[", 4<<20-10),
		"fewer brackets":  "kargs = " + strings.Repeat("[", 20000),
		"braces":          "kargs = " + strings.Repeat("{a=", 20000),
		"dotted key":      strings.Repeat("a.", 20000) + "a = 1",
		"keys":            "[" + strings.Repeat("a", 100000) + "]\n" + strings.Repeat("a=1\n", 20000),
		"no end of lists": strings.Repeat("- ", 30000),
		"and of mappings": strings.Repeat("? ", 30000),
		"alias bomb":      aliases(9, "[", "]"),
		"merged bomb":     aliases(9, "{<<: [", "]}"),
	} {
		for _, file := range texts {
			_, err := ReadConfig(treetest.Texts(t, map[string]string{file: text}), "amd64")
			if err == nil || !strings.HasPrefix(err.Error(), "coreos: "+file+": ") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s in %s: %v", name, file, err)
			}
		}
	}
}

// TestJSONErrors: an error has the line or the key, and no Go type.
func TestJSONErrors(t *testing.T) {
	for _, tc := range []struct{ file, text, want string }{
		{imageFile, "{\"size\": 3,\n\"x\": 1,\n}", "line 3: invalid character '}' looking for beginning of object key string"},
		{imageFile, "", "line 1: unexpected end of JSON input"},
		{imageFile, `{"size": 2.5}`, "key size: number 2.5, want a whole number"},
		{imageFile, `{"vmware-hw-version": "17"}`, "key vmware-hw-version: string, want a whole number"},
		{imageFile, `{"aws-imdsv2-only": "yes"}`, "key aws-imdsv2-only: string, want true or false"},
		{imageFile, `[1]`, "array, want an object"},
		{platformsFile, "[]", "array, want an object"},
		{platformsFile, `{"qemu": {"kernel_arguments": "a"}}`, "qemu: key kernel_arguments: string, want a list"},
		{platformsFile, `{"x86_64": {"qemu": {"grub_commands": [1]}}}`, "qemu: key grub_commands: number, want a string"},
	} {
		_, err := ReadConfig(treetest.Texts(t, map[string]string{tc.file: tc.text}), "amd64")
		if err == nil || err.Error() != "coreos: "+tc.file+": "+tc.want {
			t.Errorf("%s: %v, want %s", tc.text, err, tc.want)
		}
	}
}

// FuzzChoices: a text is taken or refused, and then in one line with its name.
func FuzzChoices(f *testing.F) {
	for name, text := range container {
		if strings.HasSuffix(name, ".toml") {
			f.Add(0, text)
			f.Add(1, text)
		}
	}
	f.Add(2, "partition_table:\n  size: 10 GiB\n  partitions: [{label: root, payload: {type: xfs, mkfs_options: {agcount: 4}}}]\n")
	f.Add(2, aliases(3, "{<<: [", "]}"))
	f.Fuzz(func(t *testing.T, i int, text string) {
		file := texts[uint(i)%uint(len(texts))]
		_, err := ReadConfig(treetest.Texts(t, map[string]string{file: text}), "amd64")
		if err != nil && (strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), file) && !strings.Contains(err.Error(), "stateroot")) {
			t.Errorf("%q: %v", text, err)
		}
	})
}
