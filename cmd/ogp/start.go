package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/background"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/logs"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/service"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/settings"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/daemon"
)

func startCommand(a *cli.App) *cobra.Command {
	var inBackground, toFile, newStore, noSave bool
	cmd := &cobra.Command{
		Use: "start", Short: "Run the gateway", Args: cobra.NoArgs,
		Long: `Run the gateway in the foreground, or in the background.

The first start makes the state directory with a key, a configuration file and a
store. Every setting can also be given as a flag; the rarer ones are listed in
config.example.toml. With --background, flags are saved in the configuration file
once the gateway runs; in the foreground they last for one run.

  ogp start --gateway-url https://ogp.example.org --background`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if inBackground && !toFile { // the daemon in the background has the same flags, however they are typed
				_, _, warnings, err := a.Load(cmd)
				if err != nil {
					return err // the start would say the same
				}
				for _, w := range warnings { // its log has them, too
					fmt.Fprintln(a.Err, "warning:", term.SafeLine(string(w)))
				}
				// Nothing is saved that does not work.
				return startBackground(cmd.Context(), a, func() error { return keepFlags(a, cmd, !noSave) })
			}
			if toFile {
				if err := logs.ToFile(a); err != nil {
					return err
				}
			}
			return start(a, cmd, newStore)
		},
	}
	cmd.Flags().BoolVarP(&inBackground, "background", "b", false, "run as a daemon; the log goes to "+daemon.LogFile+" in the state directory")
	cmd.Flags().BoolVar(&newStore, "new-store", false, "start with an empty store if the key's own is missing: peers have to be asked again")
	cmd.Flags().BoolVar(&toFile, cli.ToFileFlag, false, "log to "+daemon.LogFile+", as --background tells its daemon to")
	_ = cmd.Flags().MarkHidden(cli.ToFileFlag) // it is there
	cmd.Flags().BoolVar(&noSave, "no-save", false, "with --background: do not save settings given as flags")
	config.Flags(cmd.Flags())
	return cmd
}

// keepFlags saves the settings that flags have set, so that the next start has them,
// too, and says so.
func keepFlags(a *cli.App, cmd *cobra.Command, save bool) error {
	dir, err := a.StateDir()
	if err != nil {
		return err
	}
	k, err := settings.Keep(a, dir, cmd.Flags(), save)
	settings.Tell(a, k, err, !save)
	return nil
}

// start runs the daemon until it is told to stop.
func start(a *cli.App, cmd *cobra.Command, newStore bool) error {
	o, err := a.DaemonOptions(cmd)
	if err != nil {
		return err
	}
	o.NewStore = newStore
	o.Restart = service.Restart(a.Env)
	o.Ready = func(s api.StatusView, first bool) {
		_ = a.Print(s, func() { banner(a, s, first) }) // has no error
		if k, err := settings.Keep(a, o.Dir, cmd.Flags(), false); err == nil && a.LogFile == "" {
			settings.Tell(a, k, nil, false)
		}
	}
	d, err := daemon.Open(cmd.Context(), o)
	if err != nil {
		return err
	}
	defer d.Close()
	return service.Managed(cmd.Context(), d.Run)
}

// banner tells a newcomer who this gateway is and what to do next.
func banner(a *cli.App, s api.StatusView, first bool) {
	if first {
		fmt.Fprintf(a.Out, "Made a new gateway in %s\n\n", s.StateDir)
	}
	fmt.Fprintf(a.Out, "  Card         %s\n", s.CardURL)
	fmt.Fprintf(a.Out, "  Fingerprint  %s\n", s.Fingerprint)
	fmt.Fprintf(a.Out, "  Listening    %s\n\n", s.Listen+listensTo(s.Listen))
	end := "Ctrl-C stops it"
	if a.LogFile != "" {
		end = a.Here("\"ogp stop\" stops it")
	}
	fmt.Fprintf(a.Out, "The gateway is running, and waits for other gateways; %s.\n", end)
	if len(s.Peers) == 0 {
		ogp := program()
		request := ogp + strings.TrimPrefix(a.Command("federation", "request"), "ogp")
		fmt.Fprintf(a.Out, "No peer yet. In another terminal:\n\n  %s demo    two gateways meet, on this machine\n  %s <their gateway URL>\n", ogp, request)
	}
}

// listensTo says whom a listener hears.
func listensTo(address string) string {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	switch {
	case err != nil || ip == nil:
		return ""
	case ip.IsLoopback():
		return ", this machine alone"
	case ip.IsUnspecified():
		return ", every interface"
	}
	return ""
}

// program is what a user has typed to run this.
func program() string {
	if self, err := os.Executable(); err == nil && strings.Contains(filepath.ToSlash(self), "/go-build") {
		return "go run ./cmd/ogp"
	}
	return "ogp"
}

// startBackground starts the daemon as a process of its own; then it calls works.
func startBackground(ctx context.Context, a *cli.App, works func() error) error {
	running, err := background.Start(ctx, a, os.Args[1:])
	if err != nil {
		return err
	}
	if err := works(); err != nil {
		return err
	}
	return a.Print(running, func() {
		fmt.Fprintf(a.Out, "Gateway is running (pid %d)\n\n  Card         %s\n  Fingerprint  %s\n  Log          %s\n\n", running.PID, running.CardURL, running.Fingerprint, running.Log)
		fmt.Fprintf(a.Out, "Next: %s <their gateway URL>\n", a.Command("federation", "request"))
	})
}

func stopCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use: "stop", Aliases: []string{"shutdown"}, Short: "Stop the running gateway", Args: cobra.NoArgs,
		Long: "Stop the running gateway and wait until it has stopped.\n\n  ogp stop",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			s, err := api.Status.Call(ctx, a, api.None{})
			if err != nil {
				return err
			}
			if _, err := api.Stop.Call(ctx, a, api.None{}); err != nil {
				return err
			}
			for deadline := time.Now().Add(background.Wait); a.Answers(ctx) || daemon.InUse(s.StateDir); {
				if time.Now().After(deadline) {
					return fmt.Errorf("the daemon (pid %d) still runs after %v", s.PID, background.Wait)
				}
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(20 * time.Millisecond):
				}
			}
			return a.Done(map[string]bool{"stopped": true}, "Gateway has stopped")
		},
	}
}
