// Package rendezvous runs a rendezvous server: "ogp rendezvous".
package rendezvous

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/daemon"
	"github.com/opengatewayprotocol/ogp/core/logpipe"
	"github.com/opengatewayprotocol/ogp/core/rendezvous"
)

// defaultRendezvousListen is the port of the specification.
const defaultRendezvousListen = ":3000"

// Command is "ogp rendezvous".
func Command(a *cli.App) *cobra.Command {
	var o rendezvous.ServerOptions
	var listen, metrics, format string
	var proxies []string
	cmd := &cobra.Command{
		Use: "rendezvous", Short: "Run a rendezvous server", Args: cobra.NoArgs,
		Long: `Run a rendezvous: a server that helps gateways find each other by key and by
invite code. It keeps keys, addresses and the time last seen, and carries no
messages. PORT in the environment sets the port.

  ogp rendezvous --listen :3000 --metrics-listen 127.0.0.1:9300`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch port := a.Getenv("PORT"); {
			case port == "" || cmd.Flags().Changed("listen"):
			case strings.Contains(port, "://"):
				fmt.Fprintln(a.Err, "PORT is set by Kubernetes for a Service, and ignored; enableServiceLinks: false in the pod keeps it away")
			default:
				listen = ":" + port
			}
			for _, text := range proxies {
				p, err := netip.ParsePrefix(text)
				if err != nil {
					return cli.Usagef("--trusted-proxies %q: want a range such as 10.0.0.0/8", text)
				}
				o.TrustedProxies = append(o.TrustedProxies, p)
			}
			if !cmd.Flags().Changed("snapshot") {
				dir, err := a.StateDir()
				if err != nil {
					return err
				}
				if err := os.MkdirAll(dir, 0o700); err != nil {
					return err
				}
				o.Snapshot = filepath.Join(dir, "rendezvous.snapshot")
			}
			if err := placeForFile(o.Snapshot); err != nil {
				return cli.Usagef("--snapshot %s: %v", o.Snapshot, err)
			}
			log := logpipe.New(a.Err)
			defer log.Close()
			o.Logger = daemon.NewLogger(log, format, slog.LevelInfo)
			return runRendezvous(cmd.Context(), a, o, listen, metrics)
		},
	}
	f := cmd.Flags()
	f.StringVar(&listen, "listen", defaultRendezvousListen, "address to listen on")
	f.StringVar(&metrics, "metrics-listen", "", "address for /metrics and /healthz (default none)")
	f.BoolVar(&o.RequireSigned, "require-signed", false, "refuse unsigned registrations (gateways before 0.7 send them)")
	f.StringSliceVar(&proxies, "trusted-proxies", nil, "ranges of proxies whose X-Forwarded-For is believed")
	o.MaxPeers = 1_000_000
	cli.CountVar(f, &o.MaxPeers, "max-peers", "how many gateways are kept at the most")
	o.MaxPerAddress = 1_000
	cli.CountVar(f, &o.MaxPerAddress, "max-per-address", "how many of them from one address")
	f.StringVar(&o.Snapshot, "snapshot", "", "file that keeps the records over a restart (default rendezvous.snapshot in the state directory)")
	f.StringVar(&format, "log-format", "text", "text or json")
	return cmd
}

func runRendezvous(ctx context.Context, a *cli.App, o rendezvous.ServerOptions, listen, metrics string) error {
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		if _, port, serr := net.SplitHostPort(listen); serr != nil || port == "" {
			return cli.Usagef("--listen %q: want host:port, such as 127.0.0.1:3000 or :3000", listen)
		}
		return &core.Error{Kind: core.Unavailable, Public: "cannot listen on " + listen, Err: reason(err), Hint: "--listen picks another address"}
	}
	s := rendezvous.NewServer(o)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	if metrics != "" {
		mln, err := net.Listen("tcp", metrics)
		if err != nil {
			ln.Close()
			return err
		}
		wg.Go(func() {
			if err := s.ServeMetrics(ctx, mln); err != nil {
				o.Logger.Error("metrics", "err", err)
			}
		})
	}
	if a.JSON {
		a.WriteJSON(map[string]string{"listen": ln.Addr().String()})
	} else {
		fmt.Fprintf(a.Out, "Rendezvous is listening on %s\n\nNext, in a gateway's config.toml:\n\n  [rendezvous]\n  enabled = true\n  url = \"http://<this host>:%d\"\n",
			ln.Addr(), ln.Addr().(*net.TCPAddr).Port)
	}
	o.Logger.Info("rendezvous is running", "listen", ln.Addr().String())
	err = s.Serve(ctx, ln)
	stop()
	return err
}

// reason is the fact in an error of the network, without the layers around it.
func reason(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	var addr *net.AddrError
	var call *os.SyscallError
	switch {
	case errors.As(err, &addr):
		return errors.New(addr.Err)
	case errors.As(err, &call):
		return call.Err
	}
	return err
}

// placeForFile says why no file can be written at path, before a server runs that would
// find it out at its end.
func placeForFile(path string) error {
	if path == "" {
		return nil // none is kept
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return errors.New("it is no file: name a file")
	}
	probe, err := os.CreateTemp(filepath.Dir(path), ".probe-*")
	if err != nil {
		return errors.New("no file can be written there: name one in a folder that is there and may be written")
	}
	probe.Close()
	return os.Remove(probe.Name())
}
