package cli

import (
	"os/exec"
	"syscall"
)

// Detach lets the child outlive the console: DETACHED_PROCESS.
func Detach(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{CreationFlags: 0x00000008} }
