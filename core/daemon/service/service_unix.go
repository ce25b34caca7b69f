//go:build unix

// Package service says who runs this process, and what restarts it.
package service

import (
	"fmt"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/opengatewayprotocol/ogp/core/config"
)

// InJournal reports whether standard error goes to systemd's journal
// (systemd.exec(5), JOURNAL_STREAM).
func InJournal(env []string) bool {
	var st syscall.Stat_t
	if err := syscall.Fstat(2, &st); err != nil {
		return false
	}
	return config.Getenv(env, "JOURNAL_STREAM") == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

// UnitArgs names the systemd unit that we run in, as journalctl wants it; empty:
// none that we know.
func UnitArgs() string {
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
