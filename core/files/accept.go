package files

import (
	"log/slog"
	"net"
	"time"
)

// Patient makes a listener's Accept wait while no descriptor is left, where it would fail.
// It is said in the log once, and once when it is over. For listeners on this machine:
// who comes from outside is turned away meanwhile, see core/web.
func Patient(ln net.Listener, logger *slog.Logger) net.Listener {
	return &patient{Listener: ln, logger: logger}
}

type patient struct {
	net.Listener
	logger *slog.Logger
	short  bool // of Accept alone
}

func (p *patient) Accept() (net.Conn, error) {
	const longest = time.Second
	for wait := time.Millisecond; ; wait = min(2*wait, longest) {
		c, err := p.Listener.Accept()
		switch {
		case err == nil && p.short:
			p.short = false
			p.logger.Info("connections are taken again", "listen", p.Addr())
			return c, nil
		case err == nil || !Short(err):
			return c, err
		case !p.short:
			p.short = true
			p.logger.Warn("no descriptor is left: connections wait until there is", "listen", p.Addr(), "err", err)
		}
		time.Sleep(wait)
	}
}
