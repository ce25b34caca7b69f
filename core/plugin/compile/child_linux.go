package compile

import (
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// self is the file of this program: the very one that runs, also when an upgrade has put another in its place.
func self() (string, error) {
	const exe = "/proc/self/exe"
	if _, err := os.Stat(exe); err == nil {
		return exe, nil
	}
	return os.Executable()
}

// runBound runs a child, which watches its own memory and which the system ends first where none is left.
func runBound(cmd *exec.Cmd, _ uint64) error { return cmd.Run() }

// lowerPriority lets everything else on the machine come first, and has the system end this process before any
// other when it is out of memory. A priority belongs to a thread, and new threads take it over.
func lowerPriority() {
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0)
	threads, _ := os.ReadDir("/proc/self/task")
	for _, t := range threads {
		if id, err := strconv.Atoi(t.Name()); err == nil {
			_ = syscall.Setpriority(syscall.PRIO_PROCESS, id, niceness)
		}
	}
}
