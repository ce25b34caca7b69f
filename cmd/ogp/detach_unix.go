//go:build unix

package main

import (
	"os/exec"
	"syscall"
)

// detach lets the child outlive the terminal.
func detach(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }

// running reports whether a process of ours is there.
func running(pid int) bool { return syscall.Kill(pid, 0) == nil }
