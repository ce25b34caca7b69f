//go:build !unix && !windows

package compile

import (
	"os"
	"os/exec"
)

// self is the file of this program.
func self() (string, error) { return os.Executable() }

// runBound runs a child, which watches its own memory.
func runBound(cmd *exec.Cmd, _ uint64) error { return cmd.Run() }

func lowerPriority() {}
