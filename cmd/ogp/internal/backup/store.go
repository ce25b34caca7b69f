package backup

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/core/daemon"
	"github.com/opengatewayprotocol/ogp/core/text"
)

// StoreCommand is "ogp store".
func StoreCommand(a *cli.App) *cobra.Command {
	return cli.Group("store", "Copy the state from one store into another", &cobra.Command{
		Use: "migrate <where>", Short: "Copy the state into a PostgreSQL database, or back", Args: cobra.ExactArgs(1),
		Long: `Copy peers, messages, queues and all else into another store, and compare both. The
gateway has to be stopped. The store in use stays as it is: when the copy is done,
change the setting "store" to switch to it. If a copy was cut short, run the same
command again to continue; after a whole copy it compares both once more. On a terminal
it shows how far it is, and elsewhere says so every 10 seconds on standard error.

  ogp store migrate file:/etc/ogp/store    # holds: postgres://user:password@host/database
  ogp store migrate sqlite                 # back into the state directory`,
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := a.StateDir()
			if err != nil {
				return err
			}
			far := newProgress(a.Err)
			n, err := daemon.CopyStore(cmd.Context(), dir, a.LoadOptions(cmd), args[0], far.tell)
			far.end()
			if err != nil {
				return err
			}
			return a.Print(n, func() {
				what := "Copied and compared"
				if n.Before {
					what = "The copy was finished before, and both are equal"
				}
				fmt.Fprintf(a.Out, "%s: %s, %s, %s, %s, %s, %s\n", what, text.Count(n.Peers, "peer", "peers"),
					text.Count(n.Events, "message or event", "messages and events"), text.Count(n.Receipts, "receipt", "receipts"),
					text.Count(n.Deliveries, "notice that waits", "notices that wait"), text.Count(n.Outbox, "envelope of ours", "envelopes of ours"), text.Count(n.Replies, "reply", "replies"))
				switch {
				case args[0] == "sqlite":
					fmt.Fprintf(a.Out, "Next: %s\n", a.Command("config", "unset", "store"))
				case strings.Contains(args[0], "://"): // it may hold a password
					a.Sayf(a.Out, "Next: write it to a file that only you can read, and \"ogp config set store file:/path/of/it\"\n")
				default:
					fmt.Fprintf(a.Out, "Next: %s\n", a.Command("config", "set", "store", args[0]))
				}
			})
		},
	})
}
