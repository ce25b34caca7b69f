//go:build unix

package cli

import (
	"os/exec"
	"syscall"
)

// Detach lets the child outlive the terminal.
func Detach(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }
