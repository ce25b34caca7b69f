//go:build unix

package files

import "syscall"

// Limit is how many descriptors this process may have; 0: nobody says. Go has
// raised the soft limit to the hard one when the process began.
func Limit() int64 {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return 0
	}
	return int64(min(uint64(l.Cur), 1<<30))
}
