package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mdp/qrterminal/v3"
	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/atomicfile"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/federation"
	"github.com/opengatewayprotocol/ogp/core/keys"
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
	Import        string // a directory, or none
	TestCall      bool
	Start         bool
}

// initView is what came of it.
type initView struct {
	StateDir    string          `json:"stateDir"`
	ConfigFile  string          `json:"configFile"`
	Changed     []string        `json:"changed"` // keys that were written
	Imported    *importResult   `json:"imported,omitempty"`
	Notes       []string        `json:"notes,omitempty"`
	Checks      []api.Check     `json:"checks"`
	Running     bool            `json:"running"`
	CardURL     string          `json:"cardUrl"`
	Fingerprint string          `json:"fingerprint"`
	Invite      *api.InviteView `json:"invite,omitempty"`
	Next        []string        `json:"next"`
}

func initCommand(a *app) *cobra.Command {
	var p initPlan
	var yes, noImport, noCall bool
	cmd := &cobra.Command{
		Use: "init", Short: "Set up this gateway, by questions or by flags", Args: cobra.NoArgs,
		Long: `Set up this gateway: its name, where others reach it, who tells its agent. On a
terminal it asks; every question is also a flag, and what is not asked and not given
stays as it is. It changes single lines of config.toml and leaves the rest of the
file alone. OpenClaw's hooks token is never copied: without --openclaw-token it is
read from OpenClaw's own configuration at each use.

  ogp init --yes --display-name Ada --gateway-url https://ogp.example.org`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p.TestCall = !noCall
			i := &initializer{app: a, cmd: cmd, plan: p, given: func(name string) bool { return cmd.Flags().Changed(name) },
				wizard: !yes && !a.json && isTerminal(a.err) && a.inTerminal(), noImport: noImport}
			return i.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&yes, "yes", "y", false, "ask nothing: take the flags, and leave the rest as it is")
	f.StringVar(&p.DisplayName, "display-name", "", "the name on our card")
	f.StringVar(&p.Email, "email", "", "the e-mail address on our card")
	f.StringVar(&p.GatewayURL, "gateway-url", "", "where others reach this gateway")
	f.BoolVar(&p.Rendezvous, "rendezvous", false, "register with a rendezvous")
	f.StringVar(&p.RendezvousURL, "rendezvous-url", "", "the rendezvous server; turns it on")
	f.StringVar(&p.Token, "openclaw-token", "", `where OpenClaw's hooks token is: auto, '${VARIABLE}' or file:/path`)
	f.StringVar(&p.OpenClawURL, "openclaw-url", "", "where OpenClaw listens")
	f.StringVar(&p.Import, "import", "", "take over this directory of a TypeScript gateway (default: one that is found, for a new gateway)")
	f.BoolVar(&noImport, "no-import", false, "take over nothing")
	f.BoolVar(&noCall, "no-test-call", false, "do not call OpenClaw once, which makes its agent run")
	f.BoolVar(&p.Start, "start", false, "start the gateway in the background")
	cmd.MarkFlagsMutuallyExclusive("import", "no-import")
	return cmd
}

// inTerminal reports whether a person types.
func (a *app) inTerminal() bool {
	f, ok := a.in.(*os.File)
	return ok && isTerminal(f)
}

// initializer is one run of init.
type initializer struct {
	app      *app
	cmd      *cobra.Command
	dir      string
	plan     initPlan
	given    func(flag string) bool
	wizard   bool
	reach    string // the wizard's answer
	noImport bool

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
	File  struct {
		Gateway struct {
			Port int `json:"port"`
		} `json:"gateway"`
		Hooks struct {
			Enabled bool   `json:"enabled"`
			Token   string `json:"token"`
			Path    string `json:"path"`
		} `json:"hooks"`
	}
}

func (a *app) findOpenClaw() foundOpenClaw {
	f := foundOpenClaw{Path: a.openclawFile()}
	own, err := a.readOpenclaw()
	if err != nil {
		f.Err = err
		return f
	}
	f.Token = a.expand(own.Hooks.Token) != ""
	text, err := os.ReadFile(f.Path)
	if err == nil {
		err = parseOpenclaw(f.Path, text, &f.File)
	}
	f.Err = err
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
	if err := i.key(); err != nil {
		return err
	}
	if err := i.test(ctx); err != nil {
		return err
	}
	if i.plan.Start && !i.view.Running {
		if err := i.start(ctx); err != nil {
			return err
		}
	}
	if i.view.Running {
		i.outside(ctx)
	}
	i.next()
	if i.app.json {
		i.app.writeJSON(i.view)
		return nil
	}
	i.show()
	return nil
}

// look finds what is here already.
func (i *initializer) look(ctx context.Context) error {
	a := i.app
	var err error
	if i.dir, err = a.stateDir(); err != nil {
		return err
	}
	if i.cfg, i.origins, _, err = a.load(nil); err != nil {
		return err
	}
	i.view = initView{StateDir: i.dir, Changed: []string{}, Checks: []api.Check{}}
	i.view.Running = a.answers(ctx)
	_, err = os.Stat(filepath.Join(i.dir, keyFile))
	i.fresh = errors.Is(err, os.ErrNotExist)
	i.openclaw = a.findOpenClaw()
	if home := a.getenv("HOME"); home != "" && i.fresh && !i.noImport {
		i.legacy = legacy.Find(home)
	}
	if i.plan.Import == "" && len(i.legacy) == 1 {
		i.plan.Import = i.legacy[0].Dir
	}
	return nil
}

// takeOver imports what the plan says.
func (i *initializer) takeOver() error {
	if i.plan.Import == "" {
		if len(i.legacy) > 1 {
			var dirs []string
			for _, f := range i.legacy {
				dirs = append(dirs, f.Dir)
			}
			e := core.Refusef(core.Ambiguous, "there are %d TypeScript gateways here", len(dirs))
			e.Hint, e.Candidates = "--import names the one to take over; --no-import begins anew", dirs
			return e
		}
		return nil
	}
	r, err := i.app.importFrom(i.cmd, i.plan.Import)
	if err != nil {
		return err
	}
	i.view.Imported = &r
	i.cfg, i.origins, _, err = i.app.load(nil) // its configuration may have come along
	return err
}

// changes are the settings that differ from what is in force.
func (i *initializer) changes() ([]setting, error) {
	p, c := i.plan, i.cfg
	var out []setting
	text := func(flag, key, want, now string) {
		asked := i.wizard && flag != "openclaw-url"
		if (want != "" || i.given(flag) || asked) && want != now {
			out = append(out, setting{key, want})
		}
	}
	text("display-name", "display_name", p.DisplayName, c.DisplayName)
	text("email", "email", p.Email, c.Email)
	text("gateway-url", "gateway_url", strings.TrimRight(p.GatewayURL, "/"), c.GatewayURL)
	text("openclaw-url", "openclaw_url", p.OpenClawURL, c.OpenClawURL)
	text("rendezvous-url", "rendezvous.url", p.RendezvousURL, c.Rendezvous.URL)
	if (i.given("rendezvous") || i.given("rendezvous-url") || i.wizard) && p.Rendezvous != c.Rendezvous.Enabled {
		out = append(out, setting{"rendezvous.enabled", p.Rendezvous})
	}
	if p.Rendezvous && p.RendezvousURL == "" && len(c.Rendezvous.Servers()) == 0 {
		return nil, usagef("a rendezvous needs its URL: --rendezvous-url https://rendezvous.example.org")
	}
	switch token := p.Token; {
	case token == tokenKeep:
	case token == tokenAuto:
		if c.OpenClawHooksToken.IsSet() {
			out = append(out, setting{"openclaw_hooks_token", ""})
		}
	case strings.HasPrefix(token, "${") || strings.HasPrefix(token, "file:"):
		if !c.OpenClawHooksToken.Equal(config.NewSecret(token)) {
			out = append(out, setting{"openclaw_hooks_token", token})
		}
	default:
		return nil, usagef("--openclaw-token: want auto, '${VARIABLE}' or file:/path; a token itself does not belong on a command line")
	}
	if port := i.openclaw.File.Gateway.Port; port != 0 && p.OpenClawURL == "" && i.origins.Of("openclaw_url").Layer == config.LayerDefault {
		text("openclaw-url", "openclaw_url", fmt.Sprintf("http://localhost:%d", port), c.OpenClawURL)
	}
	return out, nil
}

// configPath is the file in force, or the one to make.
func (i *initializer) configPath() string {
	if i.app.file != "" {
		return i.app.file
	}
	path := filepath.Join(i.dir, configFile)
	if _, err := os.Stat(path); err != nil {
		if old := filepath.Join(i.dir, legacyConfig); exists(old) {
			return old
		}
	}
	return path
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// write changes the lines of the settings that differ. The new text is loaded
// before it takes the place of the old one.
func (i *initializer) write() error {
	path := i.configPath()
	i.view.ConfigFile = path
	changes, err := i.changes()
	if err != nil {
		return err
	}
	for _, c := range changes { // what the environment says wins over the file
		if o := i.origins.Of(c.key); o.Layer == config.LayerEnv {
			i.view.Notes = append(i.view.Notes, fmt.Sprintf("%s is set by %s, which counts more than the file", c.key, o.Where))
		}
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		text, err = []byte(config.Example()), nil
	}
	if err != nil {
		return err
	}
	edit := setTOML
	if strings.EqualFold(filepath.Ext(path), ".json") {
		edit = setJSON
	}
	after := text
	for _, c := range changes {
		if after, err = edit(after, c); err != nil {
			e := core.Refusef(core.Malformed, "%s cannot be edited: %v", path, err)
			e.Hint = fmt.Sprintf("write it there yourself: %s = %s", c.key, c.literal())
			return e
		}
		i.view.Changed = append(i.view.Changed, c.key)
	}
	if exists(path) && len(changes) == 0 {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := i.tryConfig(path, after); err != nil {
		return err
	}
	if err := atomicfile.WriteFile(path, after); err != nil {
		return err
	}
	i.cfg, i.origins, _, err = i.app.load(nil)
	return err
}

// tryConfig loads a text as if it were in the file's place.
func (i *initializer) tryConfig(path string, text []byte) error {
	probe := filepath.Join(filepath.Dir(path), ".init-"+filepath.Base(path))
	if err := os.WriteFile(probe, text, 0o600); err != nil {
		return err
	}
	defer os.Remove(probe)
	_, _, _, err := config.Load(config.Options{Home: i.dir, File: probe, Env: i.app.env})
	var problems config.Problems
	if errors.As(err, &problems) {
		for n := range problems {
			problems[n].Where = flagOf(problems[n].Key)
		}
		return problems
	}
	return err
}

// flagOf is the flag of init that sets a key.
func flagOf(key string) string {
	switch key {
	case "openclaw_hooks_token":
		return "--openclaw-token"
	case "rendezvous.enabled":
		return "--rendezvous"
	}
	return "--" + strings.NewReplacer("_", "-", ".", "-").Replace(key)
}

// key makes the identity, unless there is one.
func (i *initializer) key() error {
	if i.fresh && exists(filepath.Join(i.dir, legacyKeyFile)) && i.view.Imported == nil {
		e := core.Refusef(core.Conflict, "%s holds the identity of a TypeScript gateway, and none of ours", i.dir)
		e.Hint = "--import " + i.dir + " takes it over"
		return e
	}
	key, err := keys.LoadOrCreate(filepath.Join(i.dir, keyFile), passphrase(i.app, i.cfg))
	if err != nil {
		return err
	}
	i.view.Fingerprint = key.Public().Fingerprint()
	i.view.CardURL = strings.TrimRight(i.cfg.OwnURL(i.cfg.DaemonPort), "/") + federation.PathCard
	return nil
}

// test says who tells the agent, and calls OpenClaw once.
func (i *initializer) test(ctx context.Context) error {
	r := (*report)(&i.view.Checks)
	o := i.openclaw
	switch {
	case errors.Is(o.Err, core.NotFound):
		r.warn("openclaw", "OPENCLAW_CONFIG_PATH names another place", "no OpenClaw configuration at %s", o.Path)
	case o.Err != nil:
		r.warn("openclaw", "correct it: openclaw config validate", "OpenClaw's configuration cannot be read: %v", o.Err)
	case !o.File.Hooks.Enabled:
		r.warn("openclaw", "hooks.enabled = true and a hooks.token in "+o.Path, "OpenClaw takes no webhooks")
	case o.File.Hooks.Path != "" && strings.Trim(o.File.Hooks.Path, "/") != "hooks":
		r.warn("openclaw", "hooks.path = \"/hooks\" in "+o.Path, "OpenClaw's webhooks are at %q", o.File.Hooks.Path)
	}
	token, from, err := i.app.openclawToken(i.cfg)
	switch {
	case err != nil:
		r.failed("token", "openclaw_hooks_token in "+i.view.ConfigFile, err)
		return nil
	case token == "":
		r.warn("token", "ogp init --openclaw-token '${OPENCLAW_HOOKS_TOKEN}', or file:/path", "there is no token for OpenClaw: messages wait in \"ogp inbox\"")
		return nil
	case from == o.Path:
		r.ok("token", "read from %s at each use; nothing is copied", from)
	default:
		r.ok("token", "%s is used", from)
	}
	if !i.plan.TestCall {
		return nil
	}
	stop := i.app.spin("calling OpenClaw")
	began := time.Now()
	text, fix := testOpenClaw(ctx, i.cfg, token)
	stop()
	if text != "" {
		r.fail("notifier", fix, "the test call failed: %s", text)
		return ctx.Err()
	}
	r.ok("notifier", "OpenClaw took a test call in %v", time.Since(began).Round(time.Millisecond))
	return nil
}

// start starts the daemon, as "ogp start --background" does.
func (i *initializer) start(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := []string{"start", "--background", "--json", "--home", i.dir}
	if i.app.file != "" {
		args = append(args, "--config", i.app.file)
	}
	child := exec.CommandContext(ctx, self, args...)
	child.Env, child.Stderr = i.app.env, i.app.err
	stop := i.app.spin("starting")
	out, err := child.Output()
	stop()
	if err != nil {
		return fmt.Errorf("the gateway did not start: %s", strings.TrimSpace(string(out)))
	}
	i.view.Running = true
	return nil
}

// reloadWait is how long a running daemon may take to see the new file, and to
// register.
const reloadWait = 8 * time.Second

// outside asks the running daemon what can be told of how others reach it.
func (i *initializer) outside(ctx context.Context) {
	stop := i.app.spin("looking from outside")
	defer stop()
	for deadline := time.Now().Add(reloadWait); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
		who, err := api.Whoami.Call(ctx, i.app, api.None{})
		if err != nil {
			return
		}
		i.view.CardURL = who.CardURL
		if i.cfg.GatewayURL == "" || who.GatewayURL == i.cfg.GatewayURL {
			break
		}
	}
	var checks []api.Check
	for deadline := time.Now().Add(reloadWait); ctx.Err() == nil; time.Sleep(250 * time.Millisecond) {
		var err error
		if checks, err = api.Doctor.Call(ctx, i.app, api.DoctorParams{Only: []string{"url", "tls", "rendezvous"}}); err != nil {
			view, _ := describe(err)
			checks = []api.Check{{Name: "url", State: api.CheckWarn, Text: "not looked at: " + view.Message, Fix: "ogp doctor"}}
			break
		}
		early := slices.ContainsFunc(checks, func(c api.Check) bool { return strings.HasSuffix(c.Text, notYet) })
		if !early || time.Now().After(deadline) {
			break
		}
	}
	i.view.Checks = append(i.view.Checks, checks...)
	if !i.cfg.Rendezvous.Enabled {
		return
	}
	if v, err := api.Invite.Call(ctx, i.app, api.InviteParams{}); err == nil {
		i.view.Invite = &v
	}
}

// next says what to do now.
func (i *initializer) next() {
	home := ""
	if i.app.home != "" {
		home = " --home " + i.dir
	}
	restart := slices.ContainsFunc(i.view.Changed, func(key string) bool { return strings.HasPrefix(key, "rendezvous.") && key != "rendezvous.public_url" })
	switch {
	case !i.view.Running:
		i.view.Next = []string{"ogp start --background" + home}
		if i.cfg.Rendezvous.Enabled {
			i.view.Next = append(i.view.Next, "ogp federation invite --qr"+home)
		}
	case restart && !i.plan.Start:
		i.view.Next = []string{"ogp stop" + home, "ogp start --background" + home}
	case i.view.Invite == nil:
		i.view.Next = []string{"ogp federation request <their gateway URL>" + home}
	default:
		i.view.Next = []string{"ogp federation list --status pending" + home}
	}
}

func (i *initializer) show() {
	a, v := i.app, i.view
	if v.Imported != nil {
		for _, w := range v.Imported.Warnings {
			fmt.Fprintln(a.err, "warning:", w)
		}
		fmt.Fprintf(a.out, "Imported %s: key %s, %d peers, config %s\n", v.Imported.From, v.Imported.Key, v.Imported.Peers, v.Imported.Config)
	}
	if len(v.Changed) > 0 {
		fmt.Fprintf(a.out, "Set %s in %s\n", strings.Join(v.Changed, ", "), v.ConfigFile)
	} else {
		fmt.Fprintf(a.out, "Nothing to change in %s\n", v.ConfigFile)
	}
	for _, n := range v.Notes {
		fmt.Fprintln(a.err, "note:", n)
	}
	for _, c := range v.Checks {
		a.showCheck(c)
	}
	if u, err := url.Parse(i.cfg.GatewayURL); !v.Running && err == nil && u.Host != "" {
		fmt.Fprintln(a.out, "Whether others reach it cannot be seen before it runs; then \"ogp doctor\" looks.")
	}
	fmt.Fprintf(a.out, "\n  Card         %s\n  Fingerprint  %s\n", v.CardURL, v.Fingerprint)
	if v.Invite != nil {
		fmt.Fprintf(a.out, "  Invite       %s (expires in %s)\n\n%s\n", v.Invite.Long, inWords(time.Duration(v.Invite.ExpiresIn)*time.Second), v.Invite.Link)
		if isTerminal(a.out) {
			qrterminal.GenerateHalfBlock(v.Invite.Link, qrterminal.L, a.out)
		}
	}
	fmt.Fprintf(a.out, "\nNext: %s\n", strings.Join(v.Next, "\n      "))
}
