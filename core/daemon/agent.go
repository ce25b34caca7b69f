package daemon

import (
	"cmp"
	"context"
	"net"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/agent"
	"github.com/opengatewayprotocol/ogp/core/brake"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control"
)

// AgentSocket is where the agent's socket of a state directory is.
func AgentSocket(c *config.Config, dir string) string {
	return cmp.Or(c.Agent.Socket, control.AgentPath(dir))
}

// perDay is what the agent may send to one peer within 24 hours.
func perDay(c *config.Config) brake.Use {
	return brake.Use{Messages: c.Agent.MessagesPerDay, Bytes: int64(c.Agent.BytesPerDay)}
}

// agentMost is the same for the store.
func (d *Daemon) agentMost() core.Limit { return brake.Within(perDay(d.config())) }

// listenAgent opens the agent's socket, mode 0600 or, for a group, 0660; nil where it is
// switched off.
func (d *Daemon) listenAgent() (net.Listener, error) {
	c := d.config()
	if !c.Agent.Enabled {
		return nil, nil
	}
	path := AgentSocket(c, d.dir)
	ln, err := control.Listen(path)
	if err == nil && c.Agent.SocketGroup != "" {
		if err = control.Share(path, c.Agent.SocketGroup); err != nil {
			ln.Close()
		}
	}
	if err != nil {
		return nil, &core.Error{Kind: core.Unavailable, Public: "cannot open the agent's socket", Err: err,
			Hint: "correct agent.socket or agent.socket_group in config.toml, or set agent.enabled = false there"}
	}
	return ln, nil
}

// openRole makes the role of the agent.
func (d *Daemon) openRole(ctx context.Context) (err error) {
	d.role, err = agent.New(ctx, agent.Options{Gateway: d.gateway, Store: d.store, Command: d.o.Command, PerDay: func() brake.Use { return perDay(d.config()) }})
	return err
}

// serveAgent answers the agent, and nothing but its own methods.
func (d *Daemon) serveAgent(ctx context.Context) error {
	if d.agentSock == nil {
		return nil
	}
	server := &control.Server{Handlers: d.role.Handlers(), Logger: d.log, Restart: d.restart, Name: control.AgentSocketName, MaxBytes: control.SpokenBytes}
	return server.Serve(ctx, d.agentSock)
}
