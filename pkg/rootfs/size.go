package rootfs

import "fmt"

// Size formats a size for people: 1.5 GiB.
func Size[N int | int64 | uint64](n N) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	f, i := float64(n), 0
	for ; f >= 1024 && i < len(units)-1; i++ {
		f /= 1024
	}
	if i == 0 || f == float64(int64(f)) {
		return fmt.Sprintf("%.0f %s", f, units[i])
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}

// Bytes formats a size for people and to the byte: 1.5 GiB (1610612736 bytes).
func Bytes[N int | int64 | uint64](n N) string {
	if n < 1024 {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%s (%d bytes)", Size(n), n)
}
