package main

import (
	"cmp"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/ohp-assemble/ohp-assemble/cmd/ohp-assemble/internal/cli"
	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/registry"
)

// registryFlags are the options of every command that connects to a registry, with the
// names and meanings of skopeo.
type registryFlags struct {
	authFile  string
	creds     string
	certDir   string
	tlsVerify bool
}

func (r *registryFlags) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&r.authFile, "authfile", "", "`file` of registry credentials (default: $REGISTRY_AUTH_FILE, or those of podman and docker)")
	f.StringVar(&r.creds, "creds", "", "credentials for the registry, as `USER[:PASSWORD]`; they override files")
	f.StringVar(&r.certDir, "cert-dir", "", "`folder` of certificates for the registry: CAs (*.crt), and a client's certificate and key (*.cert, *.key)")
	f.BoolVar(&r.tlsVerify, "tls-verify", true, "require HTTPS and verify certificates of registries")
}

// options validates the flags and returns the options for registries.
func (r *registryFlags) options() (registry.Options, error) {
	o := registry.Options{AuthFile: cmp.Or(r.authFile, os.Getenv("REGISTRY_AUTH_FILE")), CertDir: r.certDir}
	if !r.tlsVerify {
		o.TLSVerify = &r.tlsVerify
	}
	// containers/image treats a missing file or folder like an empty one.
	if _, err := os.Stat(r.authFile); r.authFile != "" && err != nil {
		return o, fmt.Errorf("--authfile: %w", err)
	}
	if _, err := os.ReadDir(r.certDir); r.certDir != "" && err != nil {
		return o, fmt.Errorf("--cert-dir: %w", err)
	}
	if r.creds != "" {
		login, err := registry.ParseLogin(r.creds)
		if err != nil {
			return o, cli.Usage(fmt.Errorf("--creds: %w", err))
		}
		o.Login = login
	}
	return o, nil
}
