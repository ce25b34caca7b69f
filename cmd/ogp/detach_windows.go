package main

import (
	"os"
	"os/exec"
	"syscall"
)

// detach lets the child outlive the console: DETACHED_PROCESS.
func detach(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{CreationFlags: 0x00000008} }

// running reports whether a process of ours is there.
func running(pid int) bool {
	p, err := os.FindProcess(pid) // it opens the process, which fails for one that has gone
	if err != nil {
		return false
	}
	p.Release()
	return true
}
