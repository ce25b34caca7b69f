// Package service runs the gateway as a service of the system.
package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/settings"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control/api"
)

// The names of our service.
const (
	UnitName     = "ogp"
	launchdLabel = "org.opengatewayprotocol.ogp"
	about        = "OGP gateway"
)

// systemHome is where the state of a system service is that runs as a user of its
// own: systemd makes it, by StateDirectory.
const systemHome = "/var/lib/ogp"

// spec is what a service is to run.
type spec struct {
	Program string // the binary
	Home    string // the state directory
	Config  string // the configuration file; empty: that of the state directory
	System  bool   // for the whole machine; otherwise for this user
	RunAs   string // for System: the user; empty: one that systemd makes up
	LowPort bool   // it listens below port 1024
}

// ownUser says whether systemd makes up the user, and the state directory with it.
func (s spec) ownUser() bool { return s.System && s.RunAs == "" && runtime.GOOS == "linux" }

// makeHome makes the state directory, as a unit cannot write to one that is not
// there, and gives it to whom the service runs as.
func (s spec) makeHome() error {
	if _, err := os.Stat(s.Home); err == nil || s.ownUser() {
		return nil
	}
	if err := os.MkdirAll(s.Home, 0o700); err != nil || s.RunAs == "" {
		return err
	}
	return giveTo(s.Home, s.RunAs)
}

// args are the arguments of the program.
func (s spec) args(more ...string) []string {
	args := []string{"start", "--home", s.Home}
	if s.Config != "" {
		args = append(args, "--config", s.Config)
	}
	return append(args, more...)
}

// view is how a service does.
type view struct {
	Installed bool   `json:"installed"`
	File      string `json:"file,omitempty"`
	State     string `json:"state"` // of the manager: active, failed, inactive, ...
	Enabled   bool   `json:"enabled"`
	PID       int    `json:"pid,omitempty"`
}

// manager is what runs services on this system.
type manager interface {
	install(spec) (file string, err error)
	uninstall() error
	start() error
	stop() error
	status() (view, error)
}

// Command is "ogp service".
func Command(a *cli.App) *cobra.Command {
	return cli.Group("service", "Run the gateway as a service of this system", installCommand(a), uninstallCommand(a),
		statusCommand(a), actionCommand(a, "start", "Start the service", "Started", manager.start),
		actionCommand(a, "stop", "Stop the service", "Stopped", manager.stop))
}

func systemFlag(cmd *cobra.Command, system *bool) {
	cmd.Flags().BoolVar(system, "system", false, "for the whole machine; otherwise for this user")
}

func installCommand(a *cli.App) *cobra.Command {
	var system, show bool
	var runAs string
	cmd := &cobra.Command{
		Use: "install", Short: "Install the gateway as a service", Args: cobra.NoArgs,
		Long: `Install the gateway as a service of this user, or with --system of the machine: on
Linux a hardened systemd unit with a watchdog, on macOS a launchd agent, on Windows a
service. It runs this copy of ogp on this state directory. A systemd system service
runs as a user of its own, with its state in /var/lib/ogp, unless --run-as names one.
Settings given as flags are saved in its configuration file. --print only shows what
would be installed.

  ogp service install --print`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := specOf(a, system, runAs)
			if err != nil {
				return err
			}
			if show {
				text := textFor(runtime.GOOS, s)
				return a.Print(map[string]string{"text": text}, func() {
					fmt.Fprint(a.Out, text)
				})
			}
			if err := canListen(cmd, a); err != nil {
				return err
			}
			given := config.GivenFlags(cmd.Flags())
			if len(given) > 0 && s.ownUser() && s.Config == "" {
				return cli.Usagef("settings of a service with a user of its own go into a file: --config /etc/ogp/config.toml")
			}
			if err := s.makeHome(); err != nil {
				return fmt.Errorf("make the state directory: %w", err)
			}
			file, err := services(a, system).install(s)
			if err != nil {
				return err
			}
			k, err := settings.Keep(a, s.Home, cmd.Flags(), true)
			if err != nil {
				return err
			}
			settings.Tell(a, k, nil, false)
			return a.Print(map[string]string{"installed": file}, func() {
				fmt.Fprintf(a.Out, "Installed %s\n", file)
				next := []string{"service", "start"}
				if system {
					next = append(next, "--system")
				}
				if pid := beside(cmd.Context(), a, services(a, system), system); pid != 0 {
					a.Sayf(a.Err, "A gateway runs here already (pid %d), and not as this service: \"ogp stop\" stops it.\n", pid)
				}
				fmt.Fprintln(a.Err, "Next:", a.Command(next...))
				if runtime.GOOS == "linux" && !system {
					fmt.Fprintln(a.Err, `"loginctl enable-linger" lets it run while you are not logged in.`)
				}
			})
		},
	}
	systemFlag(cmd, &system)
	cmd.Flags().StringVar(&runAs, "run-as", "", "with --system: the user that it runs as")
	cmd.Flags().BoolVar(&show, "print", false, "only show what would be installed")
	config.Flags(cmd.Flags())
	return cmd
}

// canListen says what is wrong with the settings that flags give, before any is saved: a
// port that another program has, above all. Where our own daemon runs, the port is its own.
func canListen(cmd *cobra.Command, a *cli.App) error {
	if len(config.GivenFlags(cmd.Flags())) == 0 {
		return nil
	}
	cfg, _, _, err := a.Load(cmd)
	if err != nil || !cmd.Flags().Changed("daemon-port") && !cmd.Flags().Changed("listen") || a.Answers(cmd.Context()) {
		return err
	}
	l, err := net.Listen("tcp", cfg.ListenAddress())
	if errors.Is(err, syscall.EADDRINUSE) {
		return core.Refusef(core.Unavailable, "cannot listen on %s: another program does", cfg.ListenAddress()).WithHint("--daemon-port picks another port")
	}
	if err != nil { // the service may have the rights that we lack
		return nil
	}
	return l.Close()
}

// specOf is what the flags say, in full.
func specOf(a *cli.App, system bool, runAs string) (spec, error) {
	s := spec{System: system, RunAs: runAs}
	if runAs != "" && !system {
		return s, cli.Usagef("--run-as is for --system")
	}
	var err error
	if s.Home, err = a.StateDir(); err != nil {
		return s, err
	}
	if runAs != "" {
		u, err := user.Lookup(runAs)
		if err != nil {
			return s, cli.Usagef("--run-as %q: %v", runAs, err)
		}
		if a.Home == "" {
			s.Home = filepath.Join(u.HomeDir, ".ogp")
		}
	}
	if s.ownUser() {
		if a.Home != "" && a.Home != systemHome {
			return s, cli.Usagef("--home %s needs --run-as, the user that owns it", a.Home)
		}
		s.Home = systemHome
	}
	if a.File != "" {
		if s.Config, err = filepath.Abs(a.File); err != nil {
			return s, err
		}
	}
	if s.Program, err = os.Executable(); err != nil {
		return s, err
	}
	if cfg, _, _, err := a.Load(nil); err == nil { // a bad one is the start's to tell
		s.LowPort = cfg.DaemonPort > 0 && cfg.DaemonPort < 1024
	}
	for _, text := range []string{s.Program, s.Home, s.Config, s.RunAs} {
		if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return s, cli.Usagef("%q: a service cannot have this in its command line", text)
		}
	}
	return s, nil
}

func uninstallCommand(a *cli.App) *cobra.Command {
	var system bool
	cmd := &cobra.Command{
		Use: "uninstall", Short: "Stop the service and remove it", Args: cobra.NoArgs,
		Long: "Stop the service and remove it. The state directory stays.\n\n  ogp service uninstall",
		RunE: func(*cobra.Command, []string) error {
			if err := services(a, system).uninstall(); err != nil {
				if e, ok := errors.AsType[*core.Error](err); ok && e.Kind == core.NotFound {
					e.Hint = "there is nothing to uninstall; --system means the service of the whole machine"
				}
				return err
			}
			return a.Done(map[string]bool{"uninstalled": true}, "Uninstalled; the state directory is as it was")
		},
	}
	systemFlag(cmd, &system)
	return cmd
}

// beside is the process of a gateway that has the state directory of a service and is not
// that service; 0: there is none, or it is not known which directory the service has.
func beside(ctx context.Context, a *cli.App, m manager, system bool) int {
	if system && a.Home == "" {
		return 0
	}
	s, err := api.Status.Call(ctx, a, api.None{})
	if err != nil {
		return 0
	}
	if v, err := m.status(); err != nil || !v.Installed || v.State == "active" || v.State == "activating" {
		return 0
	}
	return s.PID
}

func actionCommand(a *cli.App, name, short, done string, act func(manager) error) *cobra.Command {
	var system bool
	cmd := &cobra.Command{
		Use: name, Short: short, Args: cobra.NoArgs,
		Long: short + ", which must be installed.\n\n  ogp service " + name,
		RunE: func(cmd *cobra.Command, _ []string) error {
			m := services(a, system)
			if pid := beside(cmd.Context(), a, m, system); pid != 0 && name == "start" {
				return core.Refusef(core.Conflict, "a gateway runs here already (pid %d), and not as this service", pid).WithHint(`"ogp stop" stops it`)
			}
			err := act(m)
			var e *core.Error
			if name == "stop" && errors.As(err, &e) && e.Kind == core.NotFound {
				e.Hint = `"ogp stop" stops a gateway that is no service`
			}
			if err != nil {
				return err
			}
			return a.Done(map[string]bool{strings.ToLower(done): true}, "%s the service", done)
		},
	}
	systemFlag(cmd, &system)
	return cmd
}

func statusCommand(a *cli.App) *cobra.Command {
	var system bool
	cmd := &cobra.Command{
		Use: "status", Short: "Show whether the service is installed and running", Args: cobra.NoArgs,
		Long: "Show whether the service is installed and running. The exit status is 5 when it does not run.\n\n  ogp service status",
		RunE: func(*cobra.Command, []string) error {
			v, err := services(a, system).status()
			if err != nil {
				return err
			}
			switch {
			case a.JSON:
				a.WriteJSON(v)
			case !v.Installed:
				fmt.Fprintln(a.Out, "Not installed")
			default:
				fmt.Fprintf(a.Out, "%s%s  %s, %s\n", v.State, term.Optional(", pid ", map[bool]string{true: fmt.Sprint(v.PID)}[v.PID > 0]), v.File,
					map[bool]string{true: "starts by itself", false: "does not start by itself"}[v.Enabled])
			}
			if v.State != "active" {
				return cli.ErrPrinted(cli.NoDaemon)
			}
			return nil
		},
	}
	systemFlag(cmd, &system)
	return cmd
}

// notInstalled is the error of what needs a service.
func notInstalled() error {
	return core.Refuse(core.NotFound, "the service is not installed").WithHint(`"ogp service install" installs it`)
}

// textFor is what is installed on a system.
func textFor(goos string, s spec) string {
	switch goos {
	case "linux":
		return systemdUnit(s)
	case "darwin":
		return launchdPlist(s)
	}
	words := []string{`"` + s.Program + `"`}
	for _, arg := range s.args("--" + cli.ToFileFlag) {
		words = append(words, `"`+arg+`"`)
	}
	return strings.Join(words, " ") + "\n"
}
