package cli

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ohp-assemble/ohp-assemble/pkg/cloud"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/usage"
)

// DidYouMean returns a hint with one or several suggestions.
func DidYouMean(all ...string) string { return "did you mean " + strings.Join(all, " or ") + "?" }

// ofBuild adds the command to a suggestion of its options.
func ofBuild(hint string) string { return strings.Replace(hint, "mean --", "mean build --", 1) }

// commandHint suggests a command of a group for unknown words, of which the first would
// be the command.
func commandHint(group *cobra.Command, words []string) string {
	arg := words[0]
	if c, _, err := group.Root().Find(words[1:]); len(words) > 1 && slices.Contains(groupWords, arg) {
		if err == nil && c.HasParent() {
			return DidYouMean(c.Name())
		}
		if hint := commandHint(group.Root(), words[1:]); hint != "" {
			return hint
		}
	}
	_, key, _ := strings.Cut(group.CommandPath()+" "+strings.ToLower(arg), " ")
	if old, ok := strings.CutPrefix(key, "manifest "); ok {
		key = "definition " + old
	}
	if platform, ok := strings.CutPrefix(key, "buildextend-"); ok {
		if hint := platformHint(platform); hint != "" {
			return ofBuild(hint)
		}
	}
	if sentence := commandSentences[key]; sentence != "" {
		return sentence
	}
	if meant := commandWords[key]; meant != "" {
		return DidYouMean(meant)
	}
	_, prefix, _ := strings.Cut(group.CommandPath()+" ", " ")
	if prefix == "manifest " {
		prefix = "definition "
	}
	takes := map[string]string{"": "build", "stream ": "stream show", "definition ": "plan"} // a reference
	_, err := os.Stat(arg)
	if err == nil {
		takes = map[string]string{"": "inspect", "stream ": "stream show", "definition ": "definition validate"} // a file
	}
	if takes[prefix] != "" && (err == nil || strings.ContainsAny(arg, "/:@")) {
		return DidYouMean(takes[prefix] + " " + arg)
	}
	var names []string
	for _, c := range group.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	if i := usage.Nearest(arg, names); i >= 0 {
		return DidYouMean(prefix + names[i])
	}
	return ""
}

// optionHint suggests an option of a command for an unknown one.
func optionHint(cmd *cobra.Command, name string) string {
	if cmd.HasSubCommands() && (flagWords[name] != "" || flagSentences[name] != "") {
		build, _, _ := cmd.Root().Find([]string{"build"}) // bootc-image-builder needs no command
		return ofBuild(optionHint(build, name))
	}
	has := func(name string) bool {
		name, _, _ = strings.Cut(name, "=")
		return cmd.Flags().Lookup(name) != nil
	}
	if has(name) { // -platform
		return DidYouMean("--" + name)
	}
	var ours []string
	for word := range strings.FieldsSeq(flagWords[name]) {
		if has(word) {
			ours = append(ours, "--"+word)
		}
	}
	switch {
	case len(ours) == 1 && ours[0] == "--platform":
		return DidYouMean(ours...) + " It chooses the format: " + formats()
	case len(ours) > 0:
		return DidYouMean(ours...)
	case flagSentences[name] == plainReference:
		return plainReference + ": " + strings.TrimSuffix(cmd.UseLine(), " [flags]")
	case flagSentences[name] != "":
		return flagSentences[name]
	}
	if len(name) == 1 {
		name = cmp.Or(shorthandOf(cmd.Root(), name), name)
	}
	others := takers(cmd.Root(), name)
	if others != nil && cmd.HasSubCommands() {
		return "--" + name + " must follow the command"
	}
	if others != nil {
		return fmt.Sprintf("--%s is an option of %s", name, strings.Join(others, ", "))
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	if i := usage.Nearest(name, names); i >= 0 {
		return DidYouMean("--" + names[i])
	}
	return ""
}

// shorthandOf returns the option with a one-letter form in one of the commands, or "".
func shorthandOf(cmd *cobra.Command, letter string) string {
	for _, c := range cmd.Commands() {
		if f := c.LocalFlags().ShorthandLookup(letter); f != nil {
			return f.Name
		}
		if name := shorthandOf(c, letter); name != "" {
			return name
		}
	}
	return ""
}

// takers returns the commands with an option.
func takers(cmd *cobra.Command, name string) (all []string) {
	for _, c := range cmd.Commands() {
		if c.LocalFlags().Lookup(name) != nil {
			_, path, _ := strings.Cut(c.CommandPath(), " ")
			all = append(all, path)
		}
		all = append(all, takers(c, name)...)
	}
	return all
}

// formats lists the formats of images, each with its first platform.
func formats() string {
	var seen, all []string
	for _, p := range cloud.Platforms {
		if !slices.Contains(seen, p.Format.Suffix) {
			seen = append(seen, p.Format.Suffix)
			all = append(all, p.ID+" is "+p.Format.Suffix)
		}
	}
	return strings.Join(all, ", ")
}

// PlatformsHint suggests a platform for the first unknown name, or architectures for all
// names such as linux/arm64.
func PlatformsHint(ids []string) string {
	known := append(cloud.IDs(), cloud.All)
	i := slices.IndexFunc(ids, func(id string) bool { return !slices.Contains(known, id) })
	if i < 0 {
		return ""
	}
	if isPair := func(id string) bool { return strings.HasPrefix(id, "linux/") }; isPair(ids[i]) {
		return platformHint(strings.Join(slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return !isPair(id) }), ","))
	}
	return platformHint(ids[i])
}

// platformWord suggests --platform for arguments that are names of platforms or formats, as
// image-builder and coreos-assembler take them, and another value for --platform of pull, which
// takes any name.
func platformWord(flag *pflag.Flag, args []string) string {
	value := strings.ToLower(flag.Value.String())
	known := slices.Contains(cloud.IDs(), flag.Value.String())
	if !known && (platformWords[value] != "" || slices.Contains(cloud.IDs(), value) || strings.HasPrefix(value, "linux/")) {
		return platformHint(value)
	}
	for _, arg := range args {
		if _, err := os.Stat(arg); err != nil && isPlatformWord(strings.ToLower(arg)) {
			return platformHint(arg)
		}
	}
	return ""
}

// isPlatformWord reports whether a word in lower case is a platform, or a format, cloud or
// hypervisor that platformHint knows.
func isPlatformWord(word string) bool {
	return slices.Contains(cloud.IDs(), word) || platformWords[word] != "" || platformSentences[word] != ""
}

// platformHint suggests a platform for an unknown name.
func platformHint(name string) string {
	lower := strings.ToLower(name)
	known := append(cloud.IDs(), cloud.All)
	var ours []string
	switch arch, isPair := strings.CutPrefix(strings.ReplaceAll(lower, ",linux/", ","), "linux/"); {
	case isPair:
		return DidYouMean("--arch " + arch)
	case slices.Contains(known, lower):
		ours = []string{lower}
	case platformSentences[lower] != "":
		return platformSentences[lower]
	case platformWords[lower] != "":
		ours = strings.Fields(platformWords[lower])
	default:
		i := usage.Nearest(name, known)
		if i < 0 {
			return ""
		}
		ours = []string{known[i]}
	}
	for i := range ours {
		ours[i] = "--platform " + ours[i]
	}
	return DidYouMean(ours...)
}

// FormatHint explains --format to users who expect it to choose the format of
// images.
func FormatHint(format string) string {
	format = strings.ToLower(format)
	if strings.Contains(format, "{{") {
		return "templates are not supported: use --format json, and a program such as jq"
	}
	if !isPlatformWord(format) {
		return ""
	}
	return "--format is the format of the printed result; --platform chooses the format of images, --image-format that of pull"
}

// WrongWords returns the words of other programs with a meaning that the command does
// not have, so that a hint would mislead.
func WrongWords(root *cobra.Command) (wrong []string) {
	isCommand := func(name string) bool {
		c, rest, err := root.Find(strings.Fields(name))
		return err == nil && len(rest) == 0 && c != root
	}
	for word, meant := range commandWords {
		known := !slices.ContainsFunc(strings.Split(meant, " or "), func(name string) bool { return !isCommand(name) })
		if !known || isCommand(word) {
			wrong = append(wrong, word+": "+meant)
		}
	}
	for word, meant := range flagWords {
		for name := range strings.FieldsSeq(meant) {
			name, _, _ = strings.Cut(name, "=")
			if name != "creds" && name != "cert-dir" && takers(root, name) == nil {
				wrong = append(wrong, word+": --"+name)
			}
		}
	}
	for word, meant := range platformWords {
		for id := range strings.FieldsSeq(meant) {
			if !slices.Contains(cloud.IDs(), id) {
				wrong = append(wrong, word+": --platform "+id)
			}
		}
	}
	return wrong
}
