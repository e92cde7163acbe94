package coreos

// A Platform has the settings that make an image visible on the console of a
// platform. The tables below are not in package cloud, which lists the platforms,
// because cloud imports this package, and a container without a platforms.json
// must be readable without it.
type Platform struct {
	GRUB   []string `json:"grub_commands"`    // lines of grub2/console.cfg
	Kernel []string `json:"kernel_arguments"` // after ignition.platform.id
}

var (
	serial = []string{"serial --speed=115200", "terminal_input serial console", "terminal_output serial console"}

	serialFirst = []string{"console=tty0", "console=ttyS0,115200n8"} // the last is /dev/console
	screenFirst = []string{"console=ttyS0,115200n8", "console=tty0"}
)

// consoles are the settings of Fedora CoreOS's platforms.yaml, for containers
// without a platforms.json. A platform that is not here needs none.
var consoles = map[string]map[string]Platform{
	"x86_64": {
		"applehv":    {Kernel: []string{"console=tty0", "console=hvc0"}},
		"aws":        {serial, serialFirst},
		"azure":      {Kernel: serialFirst}, // GRUB's output would appear twice with the serial port
		"gcp":        {serial, serialFirst},
		"ibmcloud":   {serial, serialFirst},
		"kubevirt":   {serial, screenFirst},
		"openstack":  {serial, screenFirst},
		"packet":     {[]string{"serial --unit=1 --speed=115200", "terminal_input serial", "terminal_output serial"}, []string{"console=ttyS1,115200n8"}},
		"qemu":       {serial, serialFirst},
		"virtualbox": {serial, screenFirst},
		"vmware":     {serial, screenFirst},
	},
	"aarch64": {
		"applehv":   {Kernel: []string{"console=tty0", "console=hvc0"}},
		"aws":       {[]string{"serial --speed=115200 efi0", "terminal_input serial_efi0", "terminal_output serial_efi0"}, []string{"console=ttyS0,115200n8"}},
		"azure":     {Kernel: []string{"console=tty0", "console=ttyAMA0,115200n8"}},
		"openstack": {serial, []string{"console=ttyAMA0,115200n8", "console=tty0"}},
		"packet":    {[]string{"serial --speed=115200", "terminal_input serial", "terminal_output serial"}, []string{"console=ttyAMA0,115200"}},
		"qemu":      {GRUB: serial}, // the kernel finds the console by itself
	},
}

// emerging are the settings of platforms that Fedora CoreOS has no images for. They
// come from the platforms' documentation. They apply to containers with a
// platforms.json too, which does not list these platforms.
var emerging = map[string]map[string]Platform{
	"x86_64": {
		"akamai":   {[]string{"serial --speed=19200", "terminal_input serial console", "terminal_output serial console"}, []string{"console=tty0", "console=ttyS0,19200n8"}}, // as in the Lish console
		"scaleway": {serial, serialFirst},
	},
	"aarch64": {
		"nvidiabluefield": {Kernel: []string{"console=hvc0", "console=ttyAMA0"}}, // as in coreos-assembler's boot stream
		"scaleway":        {Kernel: []string{"console=tty0", "console=ttyAMA0,115200n8"}},
	},
}
