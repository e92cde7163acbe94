package rootfs

// Architectures have two names: the one that a machine has for itself
// (uname(1), and so CoreOS), and the one of Go, and so of OCI. Where they differ:
var arches = []struct{ machine, golang string }{
	{"x86_64", "amd64"},
	{"aarch64", "arm64"},
}

// MachineArch returns the name that a machine has for its architecture.
func MachineArch(name string) string {
	for _, a := range arches {
		if a.golang == name {
			return a.machine
		}
	}
	return name
}

// GoArch returns the name that Go, and so OCI, has for an architecture.
func GoArch(name string) string {
	for _, a := range arches {
		if a.machine == name {
			return a.golang
		}
	}
	return name
}
