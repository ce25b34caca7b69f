// Package agents connects agents with the gateway: it serves the agent's tools, and writes
// them into the settings of the programs that agents run in.
package agents

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/cobra"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/daemon"
	"github.com/opengatewayprotocol/ogp/core/mcp"
)

// starts says how to start a gateway that does not run.
type starts struct {
	control.Caller
	app *cli.App
}

// Call calls a method.
func (s starts) Call(ctx context.Context, method string, params, result any) error {
	err := s.Caller.Call(ctx, method, params, result)
	if errors.Is(err, control.ErrNoDaemon) {
		return core.Refusef(core.Unavailable, "the gateway does not run, or its agent's socket is switched off; ask your human to run %q", s.app.Command("start"))
	}
	return err
}

// MCPCommand is "ogp mcp".
func MCPCommand(a *cli.App) *cobra.Command {
	var socket string
	var operator bool
	cmd := &cobra.Command{
		Use: "mcp", Short: "Serve the agent's tools, over standard input and output", Args: cobra.NoArgs,
		Long: `Serve the Model Context Protocol over standard input and output, for the program
that your agent runs in. The tools read, send, ask and answer, over the agent's
own socket; they cannot change whom you trust or what peers may do. "ogp agent install"
writes this into that program's settings.

  ogp mcp`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := agentClient(a, cmd, socket)
			if err != nil {
				return err
			}
			o := mcp.Options{Agent: starts{client, a}, Version: a.Version}
			if operator {
				if o.Operator, err = a.Daemon(); err != nil {
					return err
				}
			}
			err = mcp.New(o).Run(cmd.Context(), &sdk.IOTransport{Reader: io.NopCloser(a.In), Writer: stay{a.Out}})
			if errors.Is(err, io.EOF) || cmd.Context().Err() != nil { // the program has ended, or ended us
				return nil
			}
			return err
		},
	}
	cmd.Flags().StringVar(&socket, "socket", "", "the agent's socket, where the gateway runs under another account")
	cmd.Flags().BoolVar(&operator, "operator", false, "also serve tools that approve, grant, remove and name peers")
	return cmd
}

// agentClient is a client of the agent's socket.
func agentClient(a *cli.App, cmd *cobra.Command, socket string) (*control.Client, error) {
	if socket != "" {
		return control.DialShared(socket), nil
	}
	dir, err := a.StateDir()
	if err != nil {
		return nil, err
	}
	path := control.AgentPath(dir)
	if c, _, _, err := a.Load(nil); err == nil { // the daemon says what is wrong with it
		path = daemon.AgentSocket(c, dir)
	}
	return control.Dial(path), nil
}

// stay is a writer that the protocol's end does not close.
type stay struct{ io.Writer }

func (stay) Close() error { return nil }
