package treetest

import "strings"

// Fedora returns the configuration files of an architecture's container, in the form
// that Fedora CoreOS uses in 2026. The root file system is xfs, the size 12 GiB, and
// platforms.json has qemu with console=ARCH.
func Fedora(arch string) map[string]string {
	return map[string]string{
		"usr/lib/bootc/install/10-boot.toml":    "[install.bootupd]\nskip-boot-uuid = true\n[install]\nroot-mount-spec = \"\"\nboot-mount-spec = \"\"\n",
		"usr/lib/bootc/install/10-append.toml":  "[install.ostree]\nbls-append-except-default = 'grub_users=\"\"'\n",
		"usr/lib/bootc/install/12-root.toml":    "# image-builder says more\n[install.filesystem.root]\ntype = \"ext4\"\n",
		"usr/lib/bootc/install/15-ostree.toml":  "[install]\nenforce-container-sigpolicy = true\n",
		"usr/lib/image-builder/bootc/iso.yaml":  "label: os\nkernel_args: [console=tty0]\ngrub2:\n  timeout: 3\n  entries:\n  - {name: Live, linux: \"${kernelpath}\", initrd: \"${initrdpath}\"}\n",
		"usr/lib/image-builder/bootc/disk.yaml": FedoraDisk(arch),
		"usr/share/coreos-assembler/image.json": `{"live-rootfs-fstype": "erofs", "live-rootfs-fsoptions": "-zlzma", "deploy-via-container": true, "size": 12,
		"container-imgref": "ostree-remote-image:example:registry:registry.example/os:branched", "extra-kargs": ["mitigations=auto,nosmt"],
		"ignition-network-kcmdline": [], "ostree-remote": "example", "bootfs_metadata_csum_seed": true, "vmware-os-type": "fedora64Guest",
		"vmware-hw-version": 17, "compressor": "xz", "bootfs": "ext4", "rootfs": "xfs", "rootfs-args": "", "composefs": false,
		"ostree-format": "oci-chunked-v1", "ostree-container-inject-openshift-cvo-labels": false, "squashfs-compression": "zstd",
		"vmware-secure-boot": true, "aws-imdsv2-only": true, "aws-volume-type": "gp3", "aws-x86-boot-mode": "uefi-preferred"}`,
		"usr/share/coreos-assembler/platforms.json": `{"qemu": {"kernel_arguments": ["console=` + arch + `"]}, "azure": {"kernel_arguments": ["a"], "grub_commands": ["g"]}}`,
	}
}

// FedoraDisk returns the disk.yaml of an architecture. As in Fedora CoreOS, only
// the one of ppc64le has partition labels and a size of the root partition.
func FedoraDisk(arch string) string {
	const (
		first    = "    - size: 1 MiB\n      bootable: true\n      type: "
		reserved = "8DA63339-0007-60C0-C436-083AC8230908\n"
		esp      = `    - size: "127 MiB"
      type: C12A7328-F81F-11D2-BA4B-00A0C93EC93B
      payload_type: filesystem
      payload: {type: vfat, mountpoint: /boot/efi, label: EFI-SYSTEM, fstab_options: "umask=0077", fstab_freq: 0, fstab_passno: 2}
`
		boot = `    - size: "384 MiB"
      type: BC13C2FF-59E6-4262-A352-B275FD6F7172
      payload_type: filesystem
      payload: {type: ext4, uuid: 96d15588-3596-4b3c-adca-a2ff7279ea63, mountpoint: /boot, label: boot, fstab_options: defaults, fstab_freq: 0, fstab_passno: 0}
`
		root    = "    - type: "
		payload = "\n      payload_type: filesystem\n      payload: {type: xfs, uuid: 910678ff-f77e-4a7d-8d53-86f2ac47a823, mountpoint: /, label: root, fstab_options: defaults, fstab_freq: 0, fstab_passno: 0"
	)
	table := map[string]string{
		"x86_64":  first + "21686148-6449-6E6F-744E-656564454649\n" + esp + boot + root + "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709" + payload + "}\n",
		"aarch64": first + reserved + esp + boot + root + "B921B045-1DF0-41C3-AF44-4C6F280D3FAE" + payload + "}\n",
		"riscv64": first + reserved + esp + boot + root + "72EC70A6-CF74-40E6-BD49-4BDA08E8F224" + payload + "}\n",
		"ppc64le": strings.NewReplacer("    - size: 1 MiB", "    - label: PowerPC-PReP-boot\n      size: 4 MiB").Replace(first) + "9E1A2D38-C612-4316-AA26-8B49521E5A8B\n" +
			"    - label: reserved\n      size: 1 MiB\n      type: " + reserved + "    - label: boot\n      " + strings.TrimPrefix(boot, "    - ") +
			"    - label: root\n      size: 2684354560\n      type: C31C45E6-3F39-412E-80FB-4809C4980599" + payload + ", mkfs_options: {agcount: 2}}\n",
	}[arch]
	head := "mount_configuration: none\npartition_table:\n  type: \"gpt\"\n  uuid: \"00000000-0000-4000-a000-000000000001\"\n  extra_padding: 1031168\n"
	if arch == "ppc64le" {
		head += "  policy:\n    grow_root_to_fill_disk: false\n"
	}
	return head + "  partitions:\n" + table
}
