package cli

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/oci"
)

// missingAuthFile returns an addition to a hint if the environment names a missing file of
// credentials. As in skopeo, that is not an error: the first login creates the file.
func missingAuthFile(ran *cobra.Command) string {
	file := os.Getenv("REGISTRY_AUTH_FILE")
	if _, err := os.Stat(file); file == "" || err == nil || ran.Flags().Changed("authfile") {
		return ""
	}
	return " (now " + file + ", which cannot be read)"
}

var errLogin = errors.New("the reference contains a login, must be HOST/NAME; use --creds USER:PASSWORD")

var loginPrefix = regexp.MustCompile(`^(?:docker://)?([^/@:]+):[^/@]*@[^/]+/`)

// hasLogin reports whether an argument is a reference with a user and a password before
// its host. No error may repeat such an argument.
func hasLogin(arg string) bool {
	m := loginPrefix.FindStringSubmatch(arg)
	if m == nil || slices.Contains([]string{"oci", "oci-archive", "dir", "docker-archive", "containers-storage"}, m[1]) {
		return false
	}
	_, err := os.Lstat(arg)
	return err != nil
}

// FlagHint returns a hint about an error that a flag of the command could avoid, or "".
func FlagHint(cmd *cobra.Command, args []string, err error) string {
	if h := wordHint(cmd, args, err); h != "" || Hint(err) != "" {
		return h
	}
	flags := cmd.Flags()
	if flags.Lookup("tls-verify") == nil {
		return ""
	}
	var platform *oci.PlatformError
	text := err.Error() // the library has errors of mirrors as text only
	switch {
	case strings.Contains(text, http.ErrSchemeMismatch.Error()):
		return "the server does not support HTTPS: --tls-verify=false allows plain HTTP with a registry; a URL can begin with http://"
	case strings.Contains(text, "tls: failed to verify certificate"):
		return "--cert-dir names a folder with the CA of a registry (ca.crt); --tls-verify=false accepts any certificate of a registry"
	case errors.As(err, &platform) && !flags.Changed("arch") && len(platform.Arches()) > 0:
		return "choose with --arch: " + strings.Join(platform.Arches(), ", ")
	case flags.Lookup("platform") != nil:
		if h := platformWord(flags.Lookup("platform"), flags.Args()); h != "" {
			return h
		}
	}
	if flags.Lookup("policy") != nil {
		for _, arg := range flags.Args() {
			h := ""
			if !IsPath(arg) {
				h = referenceHint(arg, err)
			} else if flags.Lookup("platform") != nil { // the others take files as well
				h = pathHint(arg)
			}
			if h != "" {
				return h
			}
		}
	}
	return ""
}

// originForm matches references to containers in the form of ostree and bootc.
var originForm = regexp.MustCompile(`^(?:ostree-remote-[a-z]+:[^:/]+|ostree-[a-z-]+|registry):(?:registry:)?(?:docker://)?(\S+)$`)

// pathHint explains a path in place of a reference.
func pathHint(arg string) string {
	if IsFolder(arg) {
		return Hint(FolderError(arg))
	}
	return "the reference of a container in a file is oci-archive:FILE or docker-archive:FILE"
}

// referenceHint explains an argument that is not a reference, but looks like one, and one of
// podman's own images.
func referenceHint(arg string, err error) string {
	web := strings.TrimPrefix(strings.TrimPrefix(arg, "https://"), "http://")
	switch m := originForm.FindStringSubmatch(arg); {
	case m != nil:
		return DidYouMean(m[1]) + " The other form is for --origin"
	case web != arg:
		return DidYouMean(web)
	case errors.As(err, new(*net.OpError)) && strings.HasPrefix(strings.TrimPrefix(arg, "docker://"), "localhost/"):
		return "localhost is a registry on this machine; " + podmanStore
	}
	return ""
}

// switchValues are words for the value of a switch.
var switchValues = words{"false": "false", "no": "false", "off": "false", "0": "false", "true": "true", "yes": "true", "on": "true", "1": "true"}

// wordHint explains a flag such as "--tls-verify false" or a list such as "qemu, metal", where
// the word after it is an argument.
func wordHint(cmd *cobra.Command, args []string, err error) string {
	for i, arg := range args[:max(len(args)-1, 0)] {
		name, long := strings.CutPrefix(arg, "--")
		value := args[i+1]
		if arg == "--" {
			return ""
		}
		if f := cmd.Flags().Lookup(name); long && f != nil && f.Value.Type() == "bool" && switchValues[strings.ToLower(value)] != "" {
			return fmt.Sprintf("write --%s=%s: without the = the word %q is an argument", name, switchValues[strings.ToLower(value)], value)
		}
		if strings.HasSuffix(arg, ",") && errors.As(err, new(UsageError)) {
			return fmt.Sprintf("write a list without spaces, or in quotes: without them the word %q is an argument", value)
		}
	}
	return ""
}
