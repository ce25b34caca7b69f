// Package slack has the kernel wake the program less often.
package slack

import (
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// usual is the kernel's own, in nanoseconds. Whoever has set another one wants that.
	usual = 50_000
	ours  = 250_000
)

// Take lets the kernel put off for up to a quarter of a millisecond what a thread sleeps for.
// Go's runtime looks after its threads every 20 microseconds from the moment that there is
// something to do, and at a lone message that was a sixth of all CPU. With more slack, what
// waits behind a write to disk would wait longer for a thread. A thread has the slack of who
// has made it, and the runtime makes its own before any of our code runs: hence the program
// runs anew in this process, before it has done anything. Where that cannot be, Take does
// nothing. docs/performance.md#the-whole-process
func Take() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	now, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil || now != usual {
		return
	}
	program, err := os.Executable()
	if err != nil {
		return
	}
	if unix.Prctl(unix.PR_SET_TIMERSLACK, ours, 0, 0, 0) == nil {
		_ = syscall.Exec(program, os.Args, os.Environ())
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, usual, 0, 0, 0)
	}
}
