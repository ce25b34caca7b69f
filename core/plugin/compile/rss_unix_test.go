//go:build unix

package compile

import (
	"os"
	"runtime"
	"syscall"
)

// maxRSS gives the most memory that a process had, in bytes.
func maxRSS(p *os.ProcessState) int64 {
	use, ok := p.SysUsage().(*syscall.Rusage)
	switch {
	case !ok:
		return 0
	case runtime.GOOS == "darwin":
		return int64(use.Maxrss)
	}
	return int64(use.Maxrss) << 10
}
