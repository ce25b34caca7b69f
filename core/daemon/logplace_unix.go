//go:build unix

package daemon

import (
	"fmt"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/opengatewayprotocol/ogp/core/config"
)

// inJournal reports whether standard error goes to systemd's journal
// (systemd.exec(5), JOURNAL_STREAM).
func inJournal(env []string) bool {
	var st syscall.Stat_t
	if err := syscall.Fstat(2, &st); err != nil {
		return false
	}
	return config.Getenv(env, "JOURNAL_STREAM") == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
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
