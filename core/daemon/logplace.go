package daemon

import (
	"cmp"
	"os"

	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/daemon/service"
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
	case service.InJournal(d.o.env()):
		return LogJournal
	}
	return LogStderr
}

// restart is what restarts us, in words: who runs a service by hand beside its manager has
// one that is not started at boot, nor after a crash.
func (d *Daemon) restart() string {
	byHand := map[bool]string{true: api.RestartByHand, false: api.RestartInForeground}[d.o.LogFile != ""]
	return service.Restart(cmp.Or(d.o.Restart, byHand), config.Getenv(d.o.env(), "NOTIFY_SOCKET") != "", service.UnitArgs(), os.Getpid())
}
