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
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/daemon"
	"github.com/opengatewayprotocol/ogp/core/logpipe"
	"github.com/opengatewayprotocol/ogp/core/rendezvous"
	"github.com/opengatewayprotocol/ogp/core/rendezvous/valkey"
)

// defaultRendezvousListen is the port of the specification.
const defaultRendezvousListen = ":3000"

// Command is "ogp rendezvous".
func Command(a *cli.App) *cobra.Command {
	var o rendezvous.ServerOptions
	var listen, metrics, format, store string
	var proxies []string
	cmd := &cobra.Command{
		Use: "rendezvous", Short: "Run a rendezvous server", Args: cobra.NoArgs,
		Long: `Run a rendezvous: a server that helps gateways find each other by key and by
invite code. It keeps keys, addresses and the time last seen, and carries no
messages. PORT in the environment sets the port.

By default it keeps its records in memory. With --store it keeps them in Valkey or
Redis, and servers that share one act as one rendezvous:

  valkey://user:password@host:6379/0    also redis://
  valkeys://host:6379/0?ca=/path.pem    with TLS; also rediss://
  file:/path                            a file that holds the URL

The variable OGP_RENDEZVOUS_STORE and rendezvous.store in the configuration say the
same. While the store cannot be reached, every request gets 503, and /readyz says so.

  ogp rendezvous --listen :3000 --metrics-listen 127.0.0.1:9300
  ogp rendezvous --store valkey://10.0.0.5:6379/0 --max-age 24h`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch port := a.Getenv("PORT"); {
			case port == "" || cmd.Flags().Changed("listen"):
			case strings.Contains(port, "://"):
				fmt.Fprintln(a.Err, "PORT is ignored, as Kubernetes has set it for a Service; enableServiceLinks: false in the pod's spec stops that")
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
			if !cmd.Flags().Changed("store") {
				c, _, _, err := a.Load(nil)
				if err != nil {
					return err
				}
				if store, err = c.Rendezvous.Store.Reveal(); err != nil {
					return err
				}
			}
			if err := snapshotOf(a, cmd, &o, store != ""); err != nil {
				return err
			}
			log := logpipe.New(a.Err)
			defer log.Close()
			o.Logger = daemon.NewLogger(log, format, slog.LevelInfo)
			if store != "" {
				s, err := openStore(cmd.Context(), store, o)
				if err != nil {
					return err
				}
				defer s.Close()
				o.Store = s
			}
			return runRendezvous(cmd.Context(), a, o, listen, metrics)
		},
	}
	f := cmd.Flags()
	f.StringVar(&listen, "listen", defaultRendezvousListen, "address to listen on")
	f.StringVar(&metrics, "metrics-listen", "", "address for /metrics and /healthz (default none)")
	f.BoolVar(&o.RequireSigned, "require-signed", false, "refuse unsigned registrations (gateways before 0.7 send them)")
	f.StringSliceVar(&proxies, "trusted-proxies", nil, "address ranges of proxies whose X-Forwarded-For is trusted")
	o.MaxPeers = 1_000_000
	cli.CountVar(f, &o.MaxPeers, "max-peers", "how many gateways are registered at most")
	o.MaxPerAddress = 1_000
	cli.CountVar(f, &o.MaxPerAddress, "max-per-address", "how many of them from one IP address")
	f.StringVar(&store, "store", "", "Valkey or Redis that keeps the records, for several servers: a URL or file:/path (default memory)")
	f.DurationVar(&o.MaxAge, "max-age", 0, "longest registration that a gateway may ask for, up to 24h (default: all live 90 seconds)")
	f.StringVar(&o.Snapshot, "snapshot", "", "file that keeps the records across restarts (default rendezvous.snapshot in the state directory)")
	f.StringVar(&format, "log-format", "text", "text or json")
	return cmd
}

// snapshotOf settles where the snapshot is; a store needs none.
func snapshotOf(a *cli.App, cmd *cobra.Command, o *rendezvous.ServerOptions, stored bool) error {
	switch given := cmd.Flags().Changed("snapshot"); {
	case given && stored && o.Snapshot != "":
		return cli.Usagef("--snapshot is for a rendezvous that keeps its records itself: leave out one of --snapshot and --store")
	case !given && !stored:
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
	if o.MaxAge < 0 || o.MaxAge > 24*time.Hour {
		return cli.Usagef("--max-age %v: want up to 24h", o.MaxAge)
	}
	return nil
}

// openStore opens what --store or the configuration names: a URL, or a file that holds one.
func openStore(ctx context.Context, text string, o rendezvous.ServerOptions) (*valkey.Store, error) {
	text, err := config.NewSecret(text).Reveal()
	if err != nil {
		return nil, err
	}
	at, err := valkey.ParseURL(text)
	if err != nil {
		return nil, cli.Usagef("--store: %v", err) // without the text, which may hold a password
	}
	return valkey.Open(ctx, valkey.Options{At: at, Limits: o.Limits(), MaxAge: o.MaxAge, Logger: o.Logger})
}

// gcPercent lets the heap grow by half between two collections, and not to its double:
// nearly all of it are records, which stay. docs/rendezvous.md#sizing
const gcPercent = 50

func runRendezvous(ctx context.Context, a *cli.App, o rendezvous.ServerOptions, listen, metrics string) error {
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		if _, port, serr := net.SplitHostPort(listen); serr != nil || port == "" {
			return cli.Usagef("--listen %q: want host:port, such as 127.0.0.1:3000 or :3000", listen)
		}
		return &core.Error{Kind: core.Unavailable, Public: "cannot listen on " + listen, Err: reason(err), Hint: "--listen picks another address"}
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
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
	if op, ok := errors.AsType[*net.OpError](err); ok {
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
		return errors.New("it is not a file: name a file")
	}
	probe, err := os.CreateTemp(filepath.Dir(path), ".probe-*")
	if err != nil {
		return errors.New("no file can be written there: name one in a folder that exists and that this user may write to")
	}
	probe.Close()
	return os.Remove(probe.Name())
}
