//go:build unix

package main

import (
	"fmt"
	"os"
	"path"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// closeBeforeRename says whether an open file keeps its name.
const closeBeforeRename = false

// useAsOutput makes a file the process's standard output and error.
func useAsOutput(f *os.File) error {
	for _, fd := range []int{1, 2} {
		if err := unix.Dup2(int(f.Fd()), fd); err != nil {
			return fmt.Errorf("standard output to %s: %w", f.Name(), err)
		}
	}
	return nil
}

// inJournal reports whether standard error goes to systemd's journal
// (systemd.exec(5), JOURNAL_STREAM).
func (a *app) inJournal() bool {
	var st syscall.Stat_t
	if err := syscall.Fstat(2, &st); err != nil {
		return false
	}
	return a.getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

// unitArgs names the systemd unit that we run in, as journalctl wants it; empty:
// none that we know.
func unitArgs() string {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return ""
	}
	return unitOf(string(text))
}

func unitOf(cgroup string) string {
	_, group, _ := strings.Cut(strings.TrimSpace(cgroup), "::")
	unit := path.Base(group)
	if !strings.HasSuffix(unit, ".service") {
		return ""
	}
	if strings.Contains(group, "/user@") {
		return "--user -u " + unit
	}
	return "-u " + unit
}
