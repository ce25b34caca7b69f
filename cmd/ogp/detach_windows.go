package main

import (
	"os/exec"
	"syscall"
)

// detach lets the child outlive the console: DETACHED_PROCESS.
func detach(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{CreationFlags: 0x00000008} }
