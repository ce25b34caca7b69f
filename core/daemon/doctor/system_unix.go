//go:build linux || darwin || freebsd

package doctor

import (
	"os"

	"golang.org/x/sys/unix"
)

// diskFree is how many bytes this user can still write where path is.
func diskFree(path string) (free, total uint64, ok bool) {
	var s unix.Statfs_t
	if unix.Statfs(path, &s) != nil {
		return 0, 0, false
	}
	return uint64(s.Bavail) * uint64(s.Bsize), uint64(s.Blocks) * uint64(s.Bsize), true
}

// descriptors are how many files this process has open, and may have.
func descriptors() (used, most uint64, ok bool) {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return 0, 0, false
	}
	for _, dir := range []string{"/proc/self/fd", "/dev/fd"} {
		if entries, err := os.ReadDir(dir); err == nil {
			return uint64(len(entries)), uint64(limit.Cur), true
		}
	}
	return 0, uint64(limit.Cur), true
}
