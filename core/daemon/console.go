package daemon

import (
	"cmp"
	"context"
	"fmt"
	"net"

	"github.com/opengatewayprotocol/ogp/core/console"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
)

// newConsole makes the console over the methods of the local API.
func (d *Daemon) newConsole(local []control.Handler) *console.Server {
	return console.New(console.Options{Caller: control.Local(local), Events: d.events, Command: cmp.Or(d.o.Command, "ogp"), Version: d.o.Version, Logger: d.log,
		Where: func() string { return fmt.Sprint(d.config().Console) },
		Listen: func() (net.Listener, func(string) bool, error) {
			c := d.config().Console
			return console.Listen(c.Listen, c.Cert, c.Key)
		}})
}

// openConsole is the method "console".
func (d *Daemon) openConsole(_ context.Context, p api.ConsoleParams) (api.ConsoleView, error) {
	if p.End {
		d.console.End()
		return api.ConsoleView{}, nil
	}
	return d.console.Open(p.UID)
}
