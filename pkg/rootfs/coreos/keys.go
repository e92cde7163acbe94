package coreos

// installKeys are the keys of bootc/install/*.toml in bootc 1.16.
var installKeys = foreignKeys{
	"install":                                  {use: used},
	"install.stateroot":                        {use: used},
	"install.root-fs-type":                     {use: used},
	"install.filesystem":                       {use: used},
	"install.filesystem.root":                  {use: used},
	"install.filesystem.root.type":             {use: used},
	"install.kargs":                            {use: used},
	"install.karg-deletes":                     {use: used},
	"install.match-architectures":              {use: used},
	"install.ostree":                           {use: used},
	"install.ostree.bls-append-except-default": {use: used},

	"install.bootupd":                     {use: used}, // for the keys below
	"install.bootupd.skip-boot-uuid":      {use: irrelevant, reason: "grub.cfg is always the static one, which needs no UUID"},
	"install.enforce-container-sigpolicy": {use: irrelevant, reason: "it is about the host that installs"},

	"install.root-mount-spec":         {unsupported, "CoreOS finds its root file system by label", []any{""}},
	"install.boot-mount-spec":         {unsupported, "CoreOS finds its boot file system by label", []any{""}},
	"install.discoverable-partitions": {unsupported, "CoreOS finds its file systems by label", []any{false}},
	"install.bootloader":              {unsupported, "the boot loader is GRUB", []any{"grub"}},
	"install.block": {unsupported, "a disk is encrypted at its first boot, if the Ignition config says so",
		[]any{[]any{"direct"}, []any{"direct", "tpm2-luks"}, []any{"tpm2-luks", "direct"}}},
}

// kargsKeys are the keys of bootc/kargs.d/*.toml.
var kargsKeys = foreignKeys{
	"kargs":               {use: used},
	"match-architectures": {use: used},
}

// imageKeys are the current and former keys of coreos-assembler's image.json.
var imageKeys = foreignKeys{
	"size":               {use: used},
	"extra-kargs":        {use: used},
	"osname":             {use: used},
	"rootfs":             {use: used},
	"aws-volume-type":    {use: used},
	"aws-x86-boot-mode":  {use: used},
	"aws-imdsv2-only":    {use: used},
	"vmware-hw-version":  {use: used},
	"vmware-os-type":     {use: used},
	"vmware-secure-boot": {use: used},

	"bootc-install-to-fs":       {use: irrelevant, reason: "how coreos-assembler makes an image"},
	"bootfs_metadata_csum_seed": {use: irrelevant, reason: "the boot file system always has it"},
	"composefs":                 {use: irrelevant, reason: "prepare-root.conf decides"},
	"compressor":                {use: irrelevant, reason: "compression is an option of the build"},
	"container-imgref":          {use: irrelevant, reason: "the origin is the reference of the container, or an option"},
	"deploy-via-container":      {use: irrelevant, reason: "how coreos-assembler makes an image"},
	"grub-script":               {use: irrelevant, reason: "grub.cfg is bootupd's"},
	"include":                   {use: irrelevant, reason: "names a source of the file"},
	"live-rootfs-fsoptions":     {use: irrelevant, reason: "for live media"},
	"live-rootfs-fstype":        {use: irrelevant, reason: "for live media"},
	"ostree-container-inject-openshift-cvo-labels": {use: irrelevant, reason: "for the container"},
	"ostree-format":        {use: irrelevant, reason: "for the container"},
	"ostree-remote":        {use: irrelevant, reason: "the origin is a container"},
	"platform-compressor":  {use: irrelevant, reason: "compression is an option of the build"},
	"squashfs-compression": {use: irrelevant, reason: "for live media"},

	"bootfs":                    {unsupported, "the boot file system is ext4", []any{"ext4", nil}},
	"ignition-network-kcmdline": {unsupported, "the first boot has no kernel arguments of its own", []any{[]any{}, nil}},
	"luks_rootfs":               {unsupported, "a disk is encrypted at its first boot, if the Ignition config says so", []any{"", false, nil}},
	"rootfs-args":               {unsupported, "no mkfs runs", []any{"", nil}},
}

// platformKeys are the keys of platforms.json.
var platformKeys = foreignKeys{
	"*":                  {use: used},
	"*.grub_commands":    {use: used},
	"*.kernel_arguments": {use: used},
}

// isoKeys are the keys of image-builder's iso.yaml. Disk images do not use the file.
var isoKeys = foreignKeys{
	"label":                {use: irrelevant, reason: "for live media"},
	"kernel_args":          {use: irrelevant, reason: "for live media"},
	"grub2":                {use: used}, // for the keys below
	"grub2.default":        {use: irrelevant, reason: "for live media"},
	"grub2.timeout":        {use: irrelevant, reason: "for live media"},
	"grub2.entries":        {use: used}, // for the keys below
	"grub2.entries.name":   {use: irrelevant, reason: "for live media"},
	"grub2.entries.linux":  {use: irrelevant, reason: "for live media"},
	"grub2.entries.initrd": {use: irrelevant, reason: "for live media"},
}
