package rootfs

// arches lists the architectures with two names: that of the machine (uname(1), and
// so CoreOS) and that of Go, and so of OCI.
var arches = []struct{ machine, golang string }{
	{"x86_64", "amd64"},
	{"aarch64", "arm64"},
}

// MachineArch returns the name of an architecture in uname(1).
func MachineArch(name string) string {
	for _, a := range arches {
		if a.golang == name {
			return a.machine
		}
	}
	return name
}

// GoArch returns the name of an architecture in Go and OCI.
func GoArch(name string) string {
	for _, a := range arches {
		if a.machine == name {
			return a.golang
		}
	}
	return name
}
