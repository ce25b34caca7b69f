package daemon

import (
	"cmp"
	"os"
	"strings"

	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control/api"
)

// The places that a daemon logs to, other than a file.
const (
	LogJournal = "journal"
	LogStderr  = "stderr"
)

// logPlace is where this process logs to.
func (d *Daemon) logPlace() string {
	switch {
	case d.o.LogFile != "":
		return d.o.LogFile
	case inJournal(d.o.env()):
		return LogJournal
	}
	return LogStderr
}

// restart is what restarts us, in words: who runs a service by hand beside its manager has
// one that is not started at boot, nor after a crash.
func (d *Daemon) restart() string {
	return restartWords(cmp.Or(d.o.Restart, api.RestartByHand), config.Getenv(d.o.env(), "NOTIFY_SOCKET") != "", unitArgs(), os.Getpid())
}

// restartWords says what restarts a process that is managed by systemd in a unit, or has a
// process id of 1, as one has in a container; otherwise that is by hand.
func restartWords(byHand string, managed bool, unit string, pid int) string {
	switch {
	case managed && strings.HasPrefix(unit, "--user "):
		return "systemctl " + strings.Replace(unit, "-u ", "restart ", 1)
	case managed && unit != "":
		return "sudo systemctl " + strings.Replace(unit, "-u ", "restart ", 1)
	case managed:
		return "restart its service"
	case pid == 1:
		return "restart its container"
	}
	return byHand
}
