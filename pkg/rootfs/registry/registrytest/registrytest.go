// Package registrytest starts registry daemons for tests.
package registrytest

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/ohp-assemble/ohp-assemble/pkg/rootfs/treetest"
)

// Debian is the registry that Debian has, an older version of distribution.
const Debian = "docker-registry"

// A Daemon is a registry that is a process of its own, without TLS.
type Daemon struct {
	Host string // with its port

	t            testing.TB
	binary, conf string
	cmd          *exec.Cmd
}

// Start starts a registry, which ends with the test. If it is given the text of
// an htpasswd file, it wants a password. A registry that is not installed skips
// the test, see [treetest.Tool].
func Start(t testing.TB, binary, htpasswd string) *Daemon {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	d := &Daemon{Host: l.Addr().String(), t: t, binary: treetest.Tool(t, binary), conf: filepath.Join(dir, "config.yml")}
	l.Close()
	conf := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %q, secret: s}\n", dir, d.Host)
	if htpasswd != "" {
		conf += fmt.Sprintf("auth: {htpasswd: {realm: test, path: %s/htpasswd}}\n", dir)
	}
	for name, text := range map[string]string{d.conf: conf, filepath.Join(dir, "htpasswd"): htpasswd} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(d.Kill)
	d.Restart()
	return d
}

// Restart starts the registry again with all that it had.
func (d *Daemon) Restart() {
	d.cmd = exec.Command(d.binary, "serve", d.conf)
	if err := d.cmd.Start(); err != nil {
		d.t.Error(err)
		return
	}
	for range 1000 {
		if resp, err := http.Get("http://" + d.Host + "/v2/"); err == nil {
			resp.Body.Close()
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	d.t.Error("the registry does not start")
}

// Kill ends the registry in the middle of whatever it does.
func (d *Daemon) Kill() {
	_ = d.cmd.Process.Kill() // it may have ended
	_ = d.cmd.Wait()
}
