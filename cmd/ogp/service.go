package main

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control"
)

// The names of our service.
const (
	unitName     = "ogp"
	launchdLabel = "org.opengatewayprotocol.ogp"
	serviceAbout = "OGP gateway"
)

// systemHome is where the state of a system service is that runs as a user of its
// own: systemd makes it, by StateDirectory.
const systemHome = "/var/lib/ogp"

// serviceSpec is what a service is to run.
type serviceSpec struct {
	Program string // the binary
	Home    string // the state directory
	Config  string // the configuration file; empty: that of the state directory
	System  bool   // for the whole machine; otherwise for this user
	RunAs   string // for System: the user; empty: one that systemd makes up
	LowPort bool   // it listens below port 1024
}

// ownUser says whether systemd makes up the user, and the state directory with it.
func (s serviceSpec) ownUser() bool { return s.System && s.RunAs == "" && runtime.GOOS == "linux" }

// makeHome makes the state directory, as a unit cannot write to one that is not
// there, and gives it to whom the service runs as.
func (s serviceSpec) makeHome() error {
	if _, err := os.Stat(s.Home); err == nil || s.ownUser() {
		return nil
	}
	if err := os.MkdirAll(s.Home, 0o700); err != nil || s.RunAs == "" {
		return err
	}
	return giveTo(s.Home, s.RunAs)
}

// args are the arguments of the program.
func (s serviceSpec) args(more ...string) []string {
	args := []string{"start", "--home", s.Home}
	if s.Config != "" {
		args = append(args, "--config", s.Config)
	}
	return append(args, more...)
}

// serviceView is how a service does.
type serviceView struct {
	Installed bool   `json:"installed"`
	File      string `json:"file,omitempty"`
	State     string `json:"state"` // of the manager: active, failed, inactive, ...
	Enabled   bool   `json:"enabled"`
	PID       int    `json:"pid,omitempty"`
}

// serviceManager is what runs services on this system.
type serviceManager interface {
	install(serviceSpec) (file string, err error)
	uninstall() error
	start() error
	stop() error
	status() (serviceView, error)
}

func serviceCommand(a *app) *cobra.Command {
	return group("service", "Run the gateway as a service of this system", serviceInstallCommand(a), serviceUninstallCommand(a),
		serviceStatusCommand(a), serviceActionCommand(a, "start", "Start the service", "Started", serviceManager.start),
		serviceActionCommand(a, "stop", "Stop the service", "Stopped", serviceManager.stop))
}

func systemFlag(cmd *cobra.Command, system *bool) {
	cmd.Flags().BoolVar(system, "system", false, "for the whole machine; otherwise for this user")
}

func serviceInstallCommand(a *app) *cobra.Command {
	var system, show bool
	var runAs string
	cmd := &cobra.Command{
		Use: "install", Short: "Install the gateway as a service", Args: cobra.NoArgs,
		Long: `Install the gateway as a service of this user, or with --system of the machine: on
Linux a hardened unit of systemd with a watchdog, on macOS an agent of launchd, on
Windows a service. It runs this very program on this state directory. A system
service of systemd runs as a user of its own, with its state in /var/lib/ogp, unless
--run-as names one. --print only shows what would be installed.

  ogp service install --print`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			spec, err := a.serviceSpec(system, runAs)
			if err != nil {
				return err
			}
			if show {
				text := serviceText(runtime.GOOS, spec)
				if a.json {
					a.writeJSON(map[string]string{"text": text})
					return nil
				}
				fmt.Fprint(a.out, text)
				return nil
			}
			if err := spec.makeHome(); err != nil {
				return fmt.Errorf("make the state directory: %w", err)
			}
			file, err := a.services(system).install(spec)
			if err != nil {
				return err
			}
			if a.json {
				a.writeJSON(map[string]string{"installed": file})
				return nil
			}
			fmt.Fprintf(a.out, "Installed %s\n", file)
			flag := map[bool]string{true: " --system"}[system]
			fmt.Fprintf(a.err, "Next: ogp service start%s\n", flag)
			if runtime.GOOS == "linux" && !system {
				fmt.Fprintln(a.err, `"loginctl enable-linger" lets it run while you are not logged in.`)
			}
			return nil
		},
	}
	systemFlag(cmd, &system)
	cmd.Flags().StringVar(&runAs, "run-as", "", "with --system: the user that it runs as")
	cmd.Flags().BoolVar(&show, "print", false, "only show what would be installed")
	return cmd
}

// serviceSpec is what the flags say, in full.
func (a *app) serviceSpec(system bool, runAs string) (serviceSpec, error) {
	s := serviceSpec{System: system, RunAs: runAs}
	if runAs != "" && !system {
		return s, usagef("--run-as is for --system")
	}
	var err error
	if s.Home, err = a.stateDir(); err != nil {
		return s, err
	}
	if runAs != "" {
		u, err := user.Lookup(runAs)
		if err != nil {
			return s, usagef("--run-as %q: %v", runAs, err)
		}
		if a.home == "" {
			s.Home = filepath.Join(u.HomeDir, ".ogp")
		}
	}
	if s.ownUser() {
		if a.home != "" && a.home != systemHome {
			return s, usagef("--home %s needs --run-as, the user that owns it", a.home)
		}
		s.Home = systemHome
	}
	if a.file != "" {
		if s.Config, err = filepath.Abs(a.file); err != nil {
			return s, err
		}
	}
	if s.Program, err = os.Executable(); err != nil {
		return s, err
	}
	if cfg, _, _, err := a.load(nil); err == nil { // a bad one is the start's to tell
		s.LowPort = cfg.DaemonPort > 0 && cfg.DaemonPort < 1024
	}
	for _, text := range []string{s.Program, s.Home, s.Config, s.RunAs} {
		if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return s, usagef("%q: a service cannot have this in its command line", text)
		}
	}
	return s, nil
}

func serviceUninstallCommand(a *app) *cobra.Command {
	var system bool
	cmd := &cobra.Command{
		Use: "uninstall", Short: "Stop the service and remove it", Args: cobra.NoArgs,
		Long: "Stop the service and remove it. The state directory stays.\n\n  ogp service uninstall",
		RunE: func(*cobra.Command, []string) error {
			if err := a.services(system).uninstall(); err != nil {
				return err
			}
			if a.json {
				a.writeJSON(map[string]bool{"uninstalled": true})
				return nil
			}
			fmt.Fprintln(a.out, "Uninstalled; the state directory is as it was")
			return nil
		},
	}
	systemFlag(cmd, &system)
	return cmd
}

func serviceActionCommand(a *app, name, short, done string, act func(serviceManager) error) *cobra.Command {
	var system bool
	cmd := &cobra.Command{
		Use: name, Short: short, Args: cobra.NoArgs,
		Long: short + ", which must be installed.\n\n  ogp service " + name,
		RunE: func(*cobra.Command, []string) error {
			if err := act(a.services(system)); err != nil {
				return err
			}
			if a.json {
				a.writeJSON(map[string]bool{strings.ToLower(done): true})
				return nil
			}
			fmt.Fprintf(a.out, "%s the service\n", done)
			return nil
		},
	}
	systemFlag(cmd, &system)
	return cmd
}

func serviceStatusCommand(a *app) *cobra.Command {
	var system bool
	cmd := &cobra.Command{
		Use: "status", Short: "Show whether the service is installed and runs", Args: cobra.NoArgs,
		Long: "Show whether the service is installed and runs. Exit status 5 says that it does not run.\n\n  ogp service status",
		RunE: func(*cobra.Command, []string) error {
			v, err := a.services(system).status()
			if err != nil {
				return err
			}
			switch {
			case a.json:
				a.writeJSON(v)
			case !v.Installed:
				fmt.Fprintln(a.out, "Not installed")
			default:
				fmt.Fprintf(a.out, "%s%s  %s, %s\n", v.State, optional(", pid ", map[bool]string{true: fmt.Sprint(v.PID)}[v.PID > 0]), v.File,
					map[bool]string{true: "starts by itself", false: "does not start by itself"}[v.Enabled])
			}
			if v.State != "active" {
				return errPrinted(exitNoDaemon)
			}
			return nil
		},
	}
	systemFlag(cmd, &system)
	return cmd
}

// notInstalled is the error of what needs a service.
func notInstalled() error {
	e := core.Refuse(core.NotFound, "the service is not installed")
	e.Hint = `"ogp service install" installs it`
	return e
}

// serviceText is what is installed on a system.
func serviceText(goos string, s serviceSpec) string {
	switch goos {
	case "linux":
		return systemdUnit(s)
	case "darwin":
		return launchdPlist(s)
	}
	words := []string{`"` + s.Program + `"`}
	for _, arg := range s.args("--" + toFileFlag) {
		words = append(words, `"`+arg+`"`)
	}
	return strings.Join(words, " ") + "\n"
}

// systemdWord quotes a word of a command line in a unit (systemd.service(5)).
func systemdWord(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `%`, `%%`, `$`, `$$`).Replace(s) + `"`
}

// systemdPath quotes a path where no variables are filled in.
func systemdPath(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `%`, `%%`).Replace(s) + `"`
}

// systemdUnit is our unit. What it takes away is what the gateway never needs.
func systemdUnit(s serviceSpec) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	words := []string{systemdWord(s.Program)}
	for _, arg := range s.args() {
		words = append(words, systemdWord(arg))
	}
	line("# Written by \"ogp service install\"; what you put into a drop-in (systemctl edit) stays.")
	line("[Unit]\nDescription=%s\nDocumentation=https://github.com/opengatewayprotocol/ogp", serviceAbout)
	if s.System {
		line("Wants=network-online.target\nAfter=network-online.target")
	}
	line("StartLimitIntervalSec=300\nStartLimitBurst=10\n")
	line("[Service]\nType=notify\nNotifyAccess=main\nExecStart=%s\nExecReload=/bin/kill -HUP $MAINPID", strings.Join(words, " "))
	line("Restart=on-failure\nRestartSec=2\n# The gateway says that it lives as long as its store answers.\nWatchdogSec=60\nTimeoutStartSec=120\nUMask=0077\nLimitNOFILE=131072\n")
	switch {
	case s.System && s.RunAs == "":
		home := "yes"
		if strings.HasPrefix(s.Program, "/home/") {
			home = "read-only" // or it could not be run
		}
		line("DynamicUser=yes\nStateDirectory=ogp\nStateDirectoryMode=0700\nProtectHome=%s", home)
	case s.System:
		line("User=%s\nProtectHome=read-only\nReadWritePaths=%s", strings.ReplaceAll(s.RunAs, "%", "%%"), systemdPath(s.Home))
	default:
		line("ProtectHome=read-only\nReadWritePaths=%s", systemdPath(s.Home))
	}
	line("ProtectSystem=strict\nNoNewPrivileges=yes")
	if filepath.Dir(control.Path(s.Home)) == filepath.Clean(s.Home) {
		line("PrivateTmp=yes")
	} else {
		line("# The state directory's path is too long for a socket, which is in the system's /tmp.\nPrivateTmp=no\nReadWritePaths=%s", systemdPath(filepath.Dir(control.Path(s.Home))))
	}
	line("RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX\nRestrictNamespaces=yes\nRestrictRealtime=yes\nRestrictSUIDSGID=yes\nLockPersonality=yes")
	line("SystemCallArchitectures=native\nSystemCallFilter=@system-service\nSystemCallErrorNumber=EPERM")
	line("# MemoryDenyWriteExecute must stay off: plugins are compiled to machine code.\nMemoryDenyWriteExecute=no")
	if s.System {
		line("PrivateDevices=yes\nProtectClock=yes\nProtectControlGroups=yes\nProtectHostname=yes\nProtectKernelLogs=yes\nProtectKernelModules=yes\nProtectKernelTunables=yes\nProtectProc=invisible")
		capability := ""
		if s.LowPort {
			capability = "CAP_NET_BIND_SERVICE"
			line("AmbientCapabilities=%s", capability)
		}
		line("CapabilityBoundingSet=%s", capability)
	}
	line("\n[Install]\nWantedBy=%s", map[bool]string{true: "multi-user.target", false: "default.target"}[s.System])
	return b.String()
}

// launchdPlist is our agent or daemon of launchd, which has no journal: the log is
// in the state directory.
func launchdPlist(s serviceSpec) string {
	escape := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace
	var b strings.Builder
	b.WriteString(`<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
	<key>Label</key>
	<string>` + launchdLabel + `</string>
	<key>ProgramArguments</key>
	<array>
`)
	for _, word := range append([]string{s.Program}, s.args("--"+toFileFlag)...) {
		b.WriteString("\t\t<string>" + escape(word) + "</string>\n")
	}
	b.WriteString("\t</array>\n")
	if s.RunAs != "" {
		b.WriteString("\t<key>UserName</key>\n\t<string>" + escape(s.RunAs) + "</string>\n")
	}
	b.WriteString(`	<key>RunAtLoad</key>
	<true/>
	<key>KeepAlive</key>
	<dict>
		<key>SuccessfulExit</key>
		<false/>
	</dict>
	<key>ThrottleInterval</key>
	<integer>5</integer>
	<key>Umask</key>
	<integer>63</integer>
	<key>ProcessType</key>
	<string>Background</string>
</dict>
</plist>
`)
	return b.String()
}
