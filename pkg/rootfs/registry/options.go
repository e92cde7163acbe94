package registry

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.podman.io/image/v5/types"
)

// Options say how to talk to registries. The zero value behaves as skopeo does
// without options.
type Options struct {
	AuthFile     string // file of credentials; default as in containers-auth.json(5)
	Login        *Login // credentials for the registry of the reference; default are those of the files
	CertDir      string // folder of certificates for every registry; default is one per registry, see containers-certs.d(5)
	TLSVerify    *bool  // false allows plain HTTP and unknown certificates; default as in registries.conf
	RegistryConf string // a registries.conf; default is the system's

	WriteTimeout time.Duration // limit for a registry that reads nothing of an upload; default is two minutes
	ReadTimeout  time.Duration // limit for a registry that sends nothing; default is two minutes when reading, and none when publishing
	Backoff      time.Duration // delay before the first retry, which doubles each time; default is 250 ms
}

// A Login is a user name with a password or token, as in containers-auth.json(5).
type Login = types.DockerAuthConfig

// ParseLogin parses a user name with an optional password: USER[:PASSWORD].
func ParseLogin(s string) (*Login, error) {
	user, password, _ := strings.Cut(s, ":")
	if user == "" {
		return nil, errors.New("missing user name, must be USER[:PASSWORD]")
	}
	return &Login{Username: user, Password: password}, nil
}

// DefaultTimeout is the default of both timeouts of [Options].
const DefaultTimeout = 2 * time.Minute

// ForReading returns the options with the default ReadTimeout for a client that
// only reads. A registry may be silent for long before it answers an upload, so
// that [Open] sets no limit by itself.
func (o Options) ForReading() Options {
	if o.ReadTimeout <= 0 {
		o.ReadTimeout = DefaultTimeout
	}
	return o
}

// System returns the options in the form that containers/image takes.
func (o Options) System() *types.SystemContext {
	sys := &types.SystemContext{
		AuthFilePath:             o.AuthFile,
		DockerAuthConfig:         o.Login,
		DockerCertPath:           o.CertDir,
		SystemRegistriesConfPath: o.RegistryConf,
		DockerRegistryUserAgent:  userAgent,
	}
	if o.TLSVerify != nil {
		sys.DockerInsecureSkipTLSVerify = types.NewOptionalBool(!*o.TLSVerify)
	}
	return sys
}

const userAgent = "ohp-assemble"

// CredentialsError adds the name of the file of credentials to an error about a
// login in it, because the library omits it. An empty name stands for the
// default files.
func CredentialsError(file string, err error) error {
	if !errors.As(err, new(base64.CorruptInputError)) {
		return err
	}
	return fmt.Errorf("%s: a login is not valid base64: %w", cmp.Or(file, "one of the files of credentials, see containers-auth.json(5)"), err)
}
