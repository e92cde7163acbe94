// Package boot starts a disk image in QEMU and reads the booted
// system's report about itself.
//
// The machine is emulated (TCG), so that a boot needs only QEMU, but takes a minute
// rather than seconds. The systems of the fixture print lines to the serial console, of
// the form
//
//	PROOF: key=value
//
// and `PROOF: end` at the end. [Boot] collects the lines and returns as soon as the
// boot has succeeded or failed. A boot has no time limit, because a busy host may need
// ten times as long as an idle one. It fails if the machine is idle for two minutes
// without output, or if the console shows an emergency shell, a panic or an empty boot
// menu.
//
// The tests in this package check the values of the lines.
package boot

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Firmware is the firmware that starts the machine.
type Firmware string

// The firmwares of an x86_64 machine. A machine of aarch64 has only UEFI.
const (
	BIOS Firmware = "bios" // SeaBIOS
	UEFI Firmware = "uefi" // OVMF or AAVMF, Secure Boot off
)

// An architecture is the machine for the disks of an architecture.
type architecture struct {
	qemu       string
	args       []string
	code, vars string // UEFI firmware and its empty variable store, as Debian installs them
}

// The CPU models save time: page tables of five levels would cost a tenth of the time
// on x86_64, and pointer authentication half of it on aarch64.
var architectures = map[string]architecture{
	"x86_64": {
		"qemu-system-x86_64", []string{"-machine", "q35", "-cpu", "max,la57=off"},
		"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd",
	},
	"aarch64": {
		"qemu-system-aarch64", []string{"-machine", "virt", "-cpu", "cortex-a72"},
		"/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd",
	},
}

// formats are QEMU's names of formats, by file suffix.
var formats = map[string]string{"raw": "raw", "qcow2": "qcow2", "vmdk": "vmdk", "vhd": "vpc", "vhdx": "vhdx"}

// Options describes the disk and the machine. Only Disk has no default.
type Options struct {
	Disk     string
	Format   string    // QEMU's name of the format; empty means by the file's suffix
	Arch     string    // empty means x86_64
	Firmware Firmware  // empty means BIOS
	Sector   int       // bytes of the disk's sectors; zero means 512
	Memory   int       // MiB; zero means 512
	Keep     bool      // the guest's writes go to the disk, and it must power off by itself
	Args     []string  // further arguments for QEMU
	Echo     io.Writer // receives each console line immediately
}

// Boot runs a machine until it has printed its proof or has failed. With Keep it also
// waits until the guest has powered off, so that the disk is complete. Boot returns the
// report even with an error. The error ends with the last lines of the console.
func Boot(ctx context.Context, o Options) (*Report, error) {
	scratch, err := os.MkdirTemp("", "boot-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(scratch)
	args, err := arguments(o, scratch)
	if err != nil {
		return nil, err
	}
	r := &Report{Proof: map[string][]string{}}
	w := watcher{report: r, echo: o.Echo, start: time.Now(), silence: silence}
	err = w.run(ctx, exec.CommandContext(ctx, o.machine().qemu, args...), o.Keep)
	if err != nil {
		return r, fmt.Errorf("boot: %s: %s: %w%s", filepath.Base(o.Disk), o.firmware(), err, r.tail(60))
	}
	return r, nil
}

func (o Options) machine() architecture { return architectures[cmp.Or(o.Arch, "x86_64")] }

func (o Options) firmware() Firmware {
	if o.Firmware == "" {
		return BIOS
	}
	return o.Firmware
}

// arguments returns QEMU's command line. UEFI gets a copy of the variable store,
// because OVMF writes to it.
func arguments(o Options, scratch string) ([]string, error) {
	snapshot, memory := "on", o.Memory
	suffix := strings.TrimPrefix(filepath.Ext(o.Disk), ".")
	format := cmp.Or(o.Format, formats[suffix])
	if format == "" {
		return nil, fmt.Errorf("boot: %s: no disk of the format %q is booted", o.Disk, suffix)
	}
	if o.Keep {
		snapshot = "off"
	}
	if memory == 0 {
		memory = 512
	}
	// In QEMU's options, a comma in a file name is doubled.
	name := strings.ReplaceAll(o.Disk, ",", ",,")
	// One CPU: with several emulated CPUs, Linux sometimes crashes while it patches its
	// own code, because a CPU may see incomplete changes of another one. On two cores,
	// two machines at a time are as fast as one machine with two CPUs.
	args := append([]string{
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio",
		"-accel", "tcg", "-smp", "1", "-m", fmt.Sprint(memory),
		"-device", "virtio-rng-pci",
		"-drive", fmt.Sprintf("if=none,id=disk,file=%s,format=%s,snapshot=%s,cache=unsafe,discard=unmap", name, format, snapshot),
		"-device", fmt.Sprintf("virtio-blk-pci,drive=disk,bootindex=1,logical_block_size=%[1]d,physical_block_size=%[1]d", cmp.Or(o.Sector, 512)),
	}, o.machine().args...)
	switch o.firmware() {
	case BIOS:
	case UEFI:
		vars, err := os.ReadFile(o.machine().vars)
		if err != nil {
			return nil, fmt.Errorf("boot: UEFI firmware: %w", err)
		}
		private := filepath.Join(scratch, "vars.fd")
		if err := os.WriteFile(private, vars, 0o600); err != nil {
			return nil, err
		}
		args = append(args,
			"-drive", "if=pflash,unit=0,format=raw,readonly=on,file="+o.machine().code,
			"-drive", "if=pflash,unit=1,format=raw,file="+private)
	default:
		return nil, fmt.Errorf("boot: unknown firmware %q", o.Firmware)
	}
	return append(args, o.Args...), nil
}

// Missing returns an error if a program or firmware for booting is not installed.
func Missing(o Options) error {
	m := o.machine()
	if _, err := exec.LookPath(m.qemu); err != nil {
		return fmt.Errorf("%s not installed", m.qemu)
	}
	if o.firmware() == UEFI {
		if _, err := os.Stat(m.code); err != nil {
			return fmt.Errorf("UEFI firmware not installed: %w", err)
		}
	}
	return nil
}
