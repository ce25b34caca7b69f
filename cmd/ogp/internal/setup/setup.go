// Package setup is the wizard "ogp init".
package setup

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/migrate"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/daemon"
	"github.com/opengatewayprotocol/ogp/core/daemon/openclaw"
	"github.com/opengatewayprotocol/ogp/core/legacy"
)

// Where the hooks token is read from, as --openclaw-token says it.
const (
	tokenAuto = "auto" // OpenClaw's own configuration, at each use: nothing is written
	tokenKeep = ""     // as it is
)

// initPlan is what init asks for. Empty fields of the wizard stay as they are.
type initPlan struct {
	DisplayName   string
	Email         string
	GatewayURL    string
	Rendezvous    bool
	RendezvousURL string
	Token         string // auto, ${VARIABLE}, file:/path, or as it is
	OpenClawURL   string
	Answers       string // what OpenClaw answers by itself: none, all, or a comma-separated list of intents
	EnableA2A     bool   // let OpenClaw take messages by A2A, by its own command
	Import        string // a directory, or none
	EnableHooks   bool   // of OpenClaw, which has them off
	TestCall      bool
	Start         bool
}

// initView is what came of it.
type initView struct {
	StateDir    string          `json:"stateDir"`
	ConfigFile  string          `json:"configFile"`
	Changed     []string        `json:"changed"` // keys that were written
	Imported    *migrate.Result `json:"imported,omitempty"`
	Notes       []string        `json:"notes,omitempty"`
	Checks      []api.Check     `json:"checks"`
	Running     bool            `json:"running"`
	CardURL     string          `json:"cardUrl"`
	Fingerprint string          `json:"fingerprint"`
	Invite      *api.InviteView `json:"invite,omitempty"`
	Next        []string        `json:"next"`
}

// Command is "ogp init".
func Command(a *cli.App) *cobra.Command {
	var p initPlan
	var yes, noImport, noCall bool
	cmd := &cobra.Command{
		Use: "init", Short: "Set up this gateway, by questions or by flags", Args: cobra.NoArgs,
		Long: `Set up this gateway: its name, where peers reach it, how its agent is notified. On a
terminal it asks; every question is also a flag. Only the lines of config.toml that
you answer or give change. OpenClaw's hooks token is never copied: without
--openclaw-token it is read from OpenClaw's own configuration at each use.

  ogp init --yes --display-name Ada --gateway-url https://ogp.example.org`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p.TestCall = !noCall
			i := &initializer{app: a, cmd: cmd, plan: p, given: func(name string) bool { return cmd.Flags().Changed(name) },
				wizard: !yes && !a.JSON && term.IsTerminal(a.Err) && a.Interactive(), noImport: noImport}
			return i.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&yes, "yes", "y", false, "ask nothing: use the flags and leave the rest unchanged")
	f.StringVar(&p.DisplayName, "display-name", "", "the name on our card")
	f.StringVar(&p.Email, "email", "", "the e-mail address on our card")
	f.StringVar(&p.GatewayURL, "gateway-url", "", "where others reach this gateway")
	f.BoolVar(&p.Rendezvous, "rendezvous", false, "register with a rendezvous")
	f.StringVar(&p.RendezvousURL, "rendezvous-url", "", "the rendezvous server; turns it on")
	f.StringVar(&p.Token, "openclaw-token", "", `where OpenClaw's hooks token is: auto, '${VARIABLE}' or file:/path`)
	f.StringVar(&p.OpenClawURL, "openclaw-url", "", "where OpenClaw listens")
	f.StringVar(&p.Answers, "openclaw-answers", "", "what OpenClaw's agent answers by itself, over A2A: none, all, or a comma-separated list of intents")
	f.StringVar(&p.Import, "import", "", "take over this directory of a TypeScript gateway (default: one that is found, for a new gateway)")
	f.BoolVar(&noImport, "no-import", false, "import nothing")
	f.BoolVar(&noCall, "no-test-call", false, "do not call OpenClaw once, which makes its agent run")
	f.BoolVar(&p.Start, "start", false, "start the gateway in the background")
	cmd.MarkFlagsMutuallyExclusive("import", "no-import")
	return cmd
}

// initializer is one run of init.
type initializer struct {
	app      *cli.App
	cmd      *cobra.Command
	dir      string
	plan     initPlan
	given    func(flag string) bool
	wizard   bool
	reach    string      // the wizard's answer
	back     atomic.Bool // the last key went back
	started  bool        // by us
	noImport bool
	alone    bool   // there is no OpenClaw, and no other notifier
	program  string // OpenClaw's; empty: openclaw

	cfg      *config.Config
	origins  config.Origins
	openclaw foundOpenClaw
	legacy   []legacy.Framework
	fresh    bool // there is no key yet
	view     initView
}

// foundOpenClaw is what we read of OpenClaw's configuration.
type foundOpenClaw struct {
	Path  string
	Err   error
	Token bool // there is one
	File  openclaw.Config
}

func findOpenClaw(a *cli.App) foundOpenClaw {
	f := foundOpenClaw{Path: openclaw.File(a.Env)}
	f.File, f.Err = openclaw.Read(a.Env)
	token, err := openclaw.Expand(a.Env, f.File.Hooks.Token)
	f.Token = err == nil && token != ""
	return f
}

func (i *initializer) run(ctx context.Context) error {
	if err := i.look(ctx); err != nil {
		return err
	}
	if i.wizard {
		if err := i.ask(ctx); err != nil {
			return err
		}
	}
	if i.plan.RendezvousURL != "" && !i.given("rendezvous") {
		i.plan.Rendezvous = true
	}
	if err := i.takeOver(); err != nil {
		return err
	}
	if err := i.write(); err != nil {
		return err
	}
	if err := i.key(ctx); err != nil {
		return err
	}
	if err := i.enableHooks(ctx); err != nil {
		return err
	}
	if err := i.enableA2A(ctx); err != nil {
		return err
	}
	if err := i.test(ctx); err != nil {
		return err
	}
	var failed error // what was answered is written, and is shown all the same
	if i.plan.Start && !i.view.Running {
		failed = i.start(ctx)
	}
	if i.view.Running {
		i.outside(ctx)
	}
	i.next(ctx)
	if !i.app.JSON {
		i.show(failed == nil)
	} else if failed == nil {
		i.app.WriteJSON(i.view)
	}
	return failed
}

// look finds what is here already.
func (i *initializer) look(ctx context.Context) error {
	a := i.app
	var err error
	if i.dir, err = a.StateDir(); err != nil {
		return err
	}
	if i.cfg, i.origins, _, err = a.Load(nil); err != nil {
		return err
	}
	i.view = initView{StateDir: i.dir, Changed: []string{}, Checks: []api.Check{}}
	i.view.Running = a.Answers(ctx)
	_, err = os.Stat(filepath.Join(i.dir, daemon.KeyFile))
	i.fresh = errors.Is(err, os.ErrNotExist)
	i.openclaw = findOpenClaw(a)
	if home := a.Getenv("HOME"); home != "" && i.fresh && !i.noImport {
		i.legacy = legacy.Find(home)
	}
	if i.plan.Import == "" && len(i.legacy) == 1 {
		i.plan.Import = i.legacy[0].Dir
	}
	return nil
}
