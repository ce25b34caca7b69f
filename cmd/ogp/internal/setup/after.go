package setup

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/mdp/qrterminal/v3"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/background"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/doctor"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/daemon/openclaw"
	"github.com/opengatewayprotocol/ogp/core/text"
)

// hookCommands let OpenClaw take webhooks. The token comes first: OpenClaw does not
// start with hooks that have none.
var hookCommands = []string{
	`openclaw config set hooks.token "$(openssl rand -hex 24)"`,
	`openclaw config set hooks.enabled true`,
}

// whyNotRun is why OpenClaw's program has failed, or has not run.
func whyNotRun(err error, out []byte) string {
	if errors.Is(err, exec.ErrNotFound) {
		return "there is no program openclaw on the PATH"
	}
	return strings.TrimSpace(err.Error() + " " + strings.TrimSpace(string(out)))
}

// enableHooks runs the commands, with a token of its own making, if the user has said
// so. OpenClaw puts them in force by itself within some seconds.
func (i *initializer) enableHooks(ctx context.Context) error {
	if !i.plan.EnableHooks {
		return nil
	}
	return i.enable(ctx, "hooks.token", "hooks.enabled", hookCommands)
}

// enable sets a token of our making in OpenClaw's configuration, and then what it is for to
// true. Where that fails, the commands by which the user can do it are in the report.
func (i *initializer) enable(ctx context.Context, tokenKey, key string, commands []string) error {
	token := make([]byte, 24)
	_, _ = rand.Read(token) // never fails
	for _, set := range [][]string{{tokenKey, hex.EncodeToString(token)}, {key, "true"}} {
		c := exec.CommandContext(ctx, cmp.Or(i.program, "openclaw"), "config", "set", set[0], set[1])
		c.Env = i.app.Env
		if out, err := c.CombinedOutput(); err != nil {
			(*api.Report)(&i.view.Checks).Fail("openclaw", strings.Join(commands, "\n"), "openclaw config set %s failed: %s", set[0], whyNotRun(err, out))
			return ctx.Err()
		}
	}
	i.openclaw = findOpenClaw(i.app)
	return nil
}

// answersNone and answersAll say what OpenClaw answers by itself.
const (
	answersNone = "none"
	answersAll  = "all"
)

// a2aCommands let OpenClaw take messages by A2A, of us alone. The token comes first.
var a2aCommands = []string{
	`openclaw config set channels.a2a.peers.` + openclaw.A2AName + `.token "$(openssl rand -hex 24)"`,
	`openclaw config set channels.a2a.enabled true`,
}

// needsA2A reports whether OpenClaw is to answer, and does not take our messages.
func (i *initializer) needsA2A() bool {
	c := i.openclaw.File.Channels.A2A
	return i.openclaw.Err == nil && (!c.Enabled || c.Peers[openclaw.A2AName].Token == "")
}

// enableA2A runs the commands, with a token of its own making, if the user has said so.
func (i *initializer) enableA2A(ctx context.Context) error {
	if len(i.cfg.OpenClawAnswers) == 0 || !i.needsA2A() {
		return nil
	}
	if !i.plan.EnableA2A {
		(*api.Report)(&i.view.Checks).Warn("openclaw", strings.Join(a2aCommands, "\n"), "OpenClaw is to answer messages, but its A2A channel is off")
		return nil
	}
	return i.enable(ctx, "channels.a2a.peers."+openclaw.A2AName+".token", "channels.a2a.enabled", a2aCommands)
}

// test says who tells the agent, and calls OpenClaw once.
func (i *initializer) test(ctx context.Context) error {
	r := (*api.Report)(&i.view.Checks)
	o := i.openclaw
	token, from, err := openclaw.Token(i.app.Env, i.cfg)
	if absent := errors.Is(o.Err, core.NotFound); absent && err == nil && token == "" {
		if !slices.ContainsFunc(i.cfg.Delivery.Notifiers, func(name string) bool { return name != "log" && name != "openclaw" }) {
			i.alone = true
			r.Warn("openclaw", `"ogp notify use webhook --url <URL>" notifies another program; if OpenClaw is elsewhere, OPENCLAW_CONFIG_PATH names its file`,
				"no OpenClaw here: there is no %s. Nobody is notified of messages: they wait in the inbox", o.Path)
		}
		return nil
	}
	switch {
	case errors.Is(o.Err, core.NotFound): // it is elsewhere, and we have a token
	case o.Err != nil:
		r.Warn("openclaw", "correct it: openclaw config validate", "OpenClaw's configuration cannot be read: %v", o.Err)
	case r.Has("openclaw"): // and why it takes none
	case !o.File.Hooks.Enabled:
		r.Warn("openclaw", strings.Join(hookCommands, "\n"), "OpenClaw's webhooks are off")
	case o.File.Hooks.Path != "" && strings.Trim(o.File.Hooks.Path, "/") != "hooks":
		r.Warn("openclaw", "hooks.path = \"/hooks\" in "+o.Path, "OpenClaw's webhooks are at %q", o.File.Hooks.Path)
	}
	switch {
	case err != nil:
		r.Failed("token", "openclaw_hooks_token in "+i.view.ConfigFile, err)
		return nil
	case token == "" && o.Err == nil && !o.File.Hooks.Enabled: // which the commands above give it
		return nil
	case token == "":
		r.Warn("token", "ogp init --openclaw-token '${OPENCLAW_HOOKS_TOKEN}', or file:/path", "there is no token for OpenClaw: messages wait in the inbox")
		return nil
	case from == o.Path:
		r.Ok("token", "read from %s at each use; nothing is copied", from)
	default:
		r.Ok("token", "%s is used", from)
	}
	if !i.plan.TestCall {
		return nil
	}
	stop := i.app.Spin("calling OpenClaw")
	began := time.Now()
	text, fix := openclaw.Test(ctx, i.cfg, token)
	stop()
	if text != "" {
		r.Fail("notifier", fix, "the test call failed: %s", text)
		return ctx.Err()
	}
	r.Ok("notifier", "OpenClaw: the test call succeeded in %v", time.Since(began).Round(time.Millisecond))
	return nil
}

// start starts the daemon, as "ogp start --background" does. What was answered is kept
// where it does not start, and the error says so.
func (i *initializer) start(ctx context.Context) error {
	args := []string{"start"}
	if i.app.Home != "" {
		args = append(args, "--home", i.app.Home)
	}
	if i.app.File != "" {
		args = append(args, "--config", i.app.File)
	}
	if i.app.JSON {
		args = append(args, "--json") // an error comes back whole
	}
	stop := i.app.Spin("starting")
	_, err := background.Start(ctx, i.app, args)
	stop()
	if err != nil {
		view := api.ErrorOf(err)
		hint := "what is set up stays in " + i.dir + "; then \"ogp start --background\""
		return &core.Error{Kind: core.Kind(view.Kind), Public: view.Message, Hint: strings.TrimPrefix(view.Hint+"\n"+hint, "\n")}
	}
	i.view.Running, i.started = true, true
	return nil
}

// reloadWait is how long a running daemon may take to see the new file, and to
// register.
const reloadWait = 8 * time.Second

// outside asks the running daemon what can be told of how others reach it.
func (i *initializer) outside(ctx context.Context) {
	stop := i.app.Spin("looking from outside")
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
		if checks, err = api.Doctor.Call(ctx, i.app, api.DoctorParams{Only: []string{"url", "tls", "rendezvous", "notifier"}}); err != nil {
			view, _ := cli.Describe(err)
			checks = []api.Check{{Name: "url", State: api.CheckWarn, Text: "not checked: " + view.Message, Fix: "ogp doctor"}}
			break
		}
		early := slices.ContainsFunc(checks, func(c api.Check) bool { return strings.HasSuffix(c.Text, api.NotYet) })
		if !early || time.Now().After(deadline) {
			break
		}
	}
	if i.alone { // that nobody is notified has been said, and "ogp init" has looked
		checks = slices.DeleteFunc(checks, func(c api.Check) bool { return c.Name == "notifier" && c.State == api.CheckWarn })
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
func (i *initializer) next(ctx context.Context) {
	here := i.app.Command
	restart := slices.ContainsFunc(i.view.Changed, func(key string) bool {
		return strings.HasPrefix(key, "rendezvous.") && key != "rendezvous.public_url" || key == "gateway_url" && i.cfg.Listen == ""
	})
	switch {
	case !i.view.Running:
		i.view.Next = []string{here("start", "--background")}
		if i.cfg.Rendezvous.Enabled {
			i.view.Next = append(i.view.Next, here("federation", "invite", "--qr"))
		}
	case restart && !i.plan.Start:
		i.view.Next = []string{here("stop"), here("start", "--background")}
		if s, err := api.Status.Call(ctx, i.app, api.None{}); err == nil && s.Restart != "" {
			i.view.Next = []string{i.app.Here(s.Restart)}
		}
	case i.view.Invite == nil:
		i.view.Next = []string{here("federation", "request") + " <their gateway URL>"}
	default:
		i.view.Next = []string{here("federation", "list", "--status", "pending")}
	}
	if i.openclaw.Err == nil { // OpenClaw is here: its agent can have the tools
		i.view.Next = append(i.view.Next, here("agent", "install", "openclaw"))
	}
}

// show shows what came of it, with what to do next unless an error will say that.
func (i *initializer) show(well bool) {
	a, v := i.app, i.view
	if v.Imported != nil {
		for _, w := range v.Imported.Warnings {
			fmt.Fprintln(a.Err, "warning:", a.Here(w))
		}
		fmt.Fprintf(a.Out, "Imported %s: key %s, %s, config %s\n", v.Imported.From, v.Imported.Key, text.Count(v.Imported.Peers, "peer"), v.Imported.Config)
	}
	if len(v.Changed) > 0 {
		fmt.Fprintf(a.Out, "Set %s in %s\n", strings.Join(v.Changed, ", "), v.ConfigFile)
	} else {
		fmt.Fprintf(a.Out, "Nothing to change in %s\n", v.ConfigFile)
	}
	for _, n := range v.Notes {
		fmt.Fprintln(a.Err, "note:", n)
	}
	for _, c := range v.Checks {
		doctor.ShowCheck(a, c)
	}
	if u, err := url.Parse(i.cfg.GatewayURL); well && !v.Running && err == nil && u.Host != "" {
		a.Sayf(a.Out, "When it runs, \"ogp doctor\" checks whether others can reach it.\n")
	}
	fmt.Fprintf(a.Out, "\n  Card         %s\n  Fingerprint  %s\n", v.CardURL, v.Fingerprint)
	if v.Invite != nil {
		fmt.Fprintf(a.Out, "  Invite       %s (expires in %s)\n\n%s\n", v.Invite.Long, text.InWords(time.Duration(v.Invite.ExpiresIn)*time.Second), v.Invite.Link)
		if term.IsTerminal(a.Out) {
			qrterminal.GenerateHalfBlock(v.Invite.Link, qrterminal.L, a.Out)
		}
	}
	if i.started {
		a.Sayf(a.Out, "\nStarted the gateway in the background; \"ogp stop\" stops it.\n")
	}
	if !well {
		return
	}
	fmt.Fprintf(a.Out, "\nNext: %s\n", strings.Join(v.Next, "\n      "))
}
