//go:build unix && !linux

package compile

import (
	"os"
	"os/exec"
	"syscall"
)

// self is the file of this program.
func self() (string, error) { return os.Executable() }

// runBound runs a child, which watches its own memory.
func runBound(cmd *exec.Cmd, _ uint64) error { return cmd.Run() }

// lowerPriority lets everything else on the machine come first.
func lowerPriority() { _ = syscall.Setpriority(syscall.PRIO_PROCESS, 0, niceness) }
