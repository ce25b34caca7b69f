package key

import (
	"log/slog"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/daemon"
	"github.com/opengatewayprotocol/ogp/core/logpipe"
	"github.com/opengatewayprotocol/ogp/core/signer"
)

// SignerCommand is "ogp signer".
func SignerCommand(a *cli.App) *cobra.Command {
	var socket, group, format string
	cmd := &cobra.Command{
		Use: "signer", Short: "Run a signer: a process that holds a gateway's key", Args: cobra.NoArgs,
		Long: `Run a signer: a process that has a gateway's private key in its own state directory,
and signs the gateway's envelopes over a Unix socket. The gateway itself then has no
key: its setting "signer" names the socket. The first start makes a key; to keep the
one that a gateway has, stop the gateway and move its key.json here. Only the same
user may use the socket, or with --group the members of a group as well.

  ogp --home /var/lib/ogp-signer signer --socket /run/ogp-signer/signer.sock --group ogp`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := a.DaemonOptions(cmd)
			if err != nil {
				return err
			}
			if socket == "" {
				socket = filepath.Join(o.Dir, "signer.sock")
			}
			if socket, err = filepath.Abs(socket); err != nil {
				return err
			}
			at, err := daemon.KeyPlace(o)
			if err != nil {
				return err
			}
			k, made, err := at.OfSigner()
			if err != nil {
				return err
			}
			ln, err := control.ListenFor(socket, "a signer")
			if err != nil {
				return err
			}
			defer ln.Close()
			if group != "" {
				if err := control.Share(socket, group); err != nil {
					return err
				}
			}
			pipe := logpipe.New(a.Err)
			defer pipe.Close()
			log := daemon.NewLogger(pipe, format, slog.LevelInfo)
			fingerprint := k.Public().Fingerprint()
			_ = a.Done(map[string]string{"signer": "unix:" + socket, "fingerprint": fingerprint},
				"Signing as %s\n\nNext, in the gateway's config.toml:\n\n  signer = \"unix:%s\"", fingerprint, socket)
			log.Info("the signer is running", "socket", socket, "fingerprint", fingerprint, "made", made)
			return (&signer.Server{Key: k, Logger: log}).Serve(cmd.Context(), ln)
		},
	}
	cmd.Flags().StringVar(&socket, "socket", "", "the socket to sign on (default signer.sock in the state directory)")
	cmd.Flags().StringVar(&group, "group", "", "a group whose members may use the socket as well")
	cmd.Flags().StringVar(&format, "log-format", "text", "text or json")
	return cmd
}
