//go:build unix

package main

import (
	"os/exec"
	"syscall"
)

// detach lets the child outlive the terminal.
func detach(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }
