package notify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/daemon"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/core/settings"
	"github.com/opengatewayprotocol/ogp/plugins"
)

// openclaw has settings of its own: openclaw_url and openclaw_hooks_token.
const openclaw = "openclaw"

// using are the flags of "ogp notify use".
type using struct {
	url, secretEnv, secretFile, topic, shipped string
	set                                        []string
	add, noTest                                bool
}

type used struct {
	Notifier  string   `json:"notifier"`
	Notifiers []string `json:"notifiers"` // that hear of events now
	File      string   `json:"file"`
	Set       []string `json:"set"` // keys that the file says otherwise now
	Private   bool     `json:"private"`
	Replies   bool     `json:"replies"` // it may answer peers' messages
	Tested    bool     `json:"tested"`
	Running   bool     `json:"running"`
}

func useCommand(a *cli.App) *cobra.Command {
	var u using
	cmd := &cobra.Command{
		Use: "use <name>", Short: "Switch to a notifier", Args: cobra.ExactArgs(1),
		Long: `Switch to a notifier that ships (openclaw, a2a, webhook, ntfy) or one that you installed. It gets one test call. If that succeeds, its settings are saved in the configuration file: the URL it may reach (also on a private network), the right to answer messages if it asks for that, and delivery.notifiers. A notifier that answers is notified of messages only, and is added to those in use. With --shipped, run a second copy of one that ships, under a name of your own.

  ogp notify use webhook --url https://hooks.example.org/ogp --secret-env OGP_WEBHOOK_SECRET`,
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, name := range []string{"url", "topic", "secret-env", "secret-file", "shipped"} {
				if f := cmd.Flags().Lookup(name); f.Changed && f.Value.String() == "" {
					return cli.Usagef("--%s is empty: give it a value, or leave it out for what is set", name)
				}
			}
			v, err := use(cmd.Context(), a, args[0], u)
			if err != nil {
				return err
			}
			return a.Print(v, func() {
				if len(v.Set) > 0 {
					fmt.Fprintf(a.Out, "Set %s in %s\n", strings.Join(v.Set, ", "), v.File)
				} else {
					fmt.Fprintf(a.Out, "%s has these settings already\n", v.File)
				}
				if v.Private {
					fmt.Fprintf(a.Out, "%s may reach that server although it is at a private address\n", v.Notifier)
				}
				if v.Replies {
					fmt.Fprintf(a.Out, "%s may answer peers' messages, in this gateway's name\n", v.Notifier)
				}
				if v.Tested {
					fmt.Fprintln(a.Out, "The test call succeeded")
				}
				fmt.Fprintf(a.Out, "%s\n", term.SafeText(strings.ToUpper(inWords(v.Notifiers)[:1])+inWords(v.Notifiers)[1:]))
				if !v.Running {
					a.Sayf(a.Err, "No daemon is running; \"ogp start\" will use it.\n")
				}
			})
		},
	}
	cmd.Flags().StringVar(&u.url, "url", "", "the URL it posts to")
	cmd.Flags().StringVar(&u.shipped, "shipped", "", "the shipped notifier to run under this name")
	cmd.Flags().StringVar(&u.topic, "topic", "", "for ntfy: the topic that it publishes to")
	cmd.Flags().StringVar(&u.secretEnv, "secret-env", "", "the variable that holds its secret, which signs or authorizes its posts")
	cmd.Flags().StringVar(&u.secretFile, "secret-file", "", "the file that holds its secret")
	cmd.Flags().StringArrayVar(&u.set, "set", nil, "set another of its settings: name=value (repeatable)")
	cmd.Flags().BoolVar(&u.add, "add", false, "add it to the notifiers in use")
	cmd.Flags().BoolVar(&u.noTest, "no-test", false, "make no test call")
	return cmd
}

func use(ctx context.Context, a *cli.App, name string, u using) (v used, err error) {
	s, err := look(ctx, a, true)
	if err != nil {
		return v, err
	}
	if name == logNotifier {
		return s.useLog(ctx, u)
	}
	if u.shipped = cmp.Or(u.shipped, s.cfg.Plugins[name].Shipped); u.shipped == name {
		u.shipped = ""
	}
	manifest, installed, err := s.find(ctx, name, u.shipped)
	if err != nil {
		return v, err
	}
	changes, private, err := changesFor(ctx, name, manifest, u)
	if err != nil {
		return v, err
	}
	names := s.with(name, u.add || manifest.Replies)
	changes = append(changes, chooses(names))
	v = used{Notifier: name, Notifiers: names, File: s.path, Private: private, Replies: manifest.Replies, Running: s.running, Tested: !u.noTest}
	v.Set = settings.Differing(s.path, changes)
	unread := ""
	err = s.write(ctx, changes, names, func(file string) (err error) {
		unread, err = s.try(ctx, file, name, installed, !u.noTest)
		return withFlag(err, name, manifest, true)
	})
	if err != nil || unread == "" {
		return v, err
	}
	return v, core.Refuse(core.Unavailable, "the settings are written, but the gateway cannot use them: "+unread).WithHint(daemon.FixSecret)
}

// with are the notifiers with one more: beside those that there are, or in their place. The
// log stays as it was.
func (s *state) with(name string, add bool) []string {
	names := slices.Clone(s.written())
	if !add {
		names = slices.DeleteFunc(names, func(n string) bool { return n != logNotifier })
	}
	if !slices.Contains(names, name) {
		names = append(names, name)
	}
	return names
}

// useLog writes events into the log, too.
func (s *state) useLog(ctx context.Context, u using) (v used, err error) {
	if !u.add || u.url+u.topic+u.secretEnv+u.secretFile != "" || len(u.set) > 0 {
		return v, cli.UsageHint("\"ogp notify use log --add\"; \"ogp notify off\" ends another one", "the log has no settings, and runs beside other notifiers")
	}
	names := s.with(logNotifier, true)
	changes := []settings.Setting{chooses(names)}
	v = used{Notifier: logNotifier, Notifiers: names, File: s.path, Set: settings.Differing(s.path, changes), Running: s.running}
	return v, s.write(ctx, changes, names, s.takes(ctx))
}

// takes checks that the gateway would take up a file.
func (s *state) takes(ctx context.Context) func(file string) error {
	return func(file string) error {
		if !s.running {
			return nil // a start says it, and may stand elsewhere
		}
		_, err := s.try(ctx, file, "", nil, false)
		return err
	}
}

// find gives the manifest of a notifier, and what is installed. shipped is the one that
// ships and is to run under that name; empty: it is there already.
func (s *state) find(ctx context.Context, name, shipped string) (*plugin.Manifest, []hooks.Installed, error) {
	installed, _, err := cli.OnState(ctx, s.app, api.PluginInstalled, api.None{}, false)
	if err != nil {
		return nil, nil, err
	}
	o, err := s.options()
	if err != nil {
		return nil, nil, err
	}
	if shipped != "" {
		if slices.ContainsFunc(installed, func(in hooks.Installed) bool { return in.Name == name }) || s.cfg.Plugins[name].Path != "" {
			return nil, nil, core.Refusef(core.Conflict, "%s is one of your own; --shipped wants a name that is free", name)
		}
		if _, ok := plugins.Get(name); ok {
			return nil, nil, core.Refusef(core.Conflict, "%s ships with ogp itself; --shipped wants a name that is free", name)
		}
		if err := hooks.CheckName(name); err != nil {
			return nil, nil, err
		}
	}
	spec, ok, err := daemon.PluginSpec(o, cmp.Or(shipped, name), installed)
	if err != nil {
		return nil, nil, err
	}
	if _, ships := plugins.Get(shipped); !ok || shipped != "" && !ships {
		e := core.Refusef(core.NotFound, "no notifier is named %q", cmp.Or(shipped, name))
		e.Hint = "\"ogp notify list\" shows the notifiers; \"ogp plugin install\" adds one of your own"
		e.Candidates = plugins.Names()
		return nil, nil, e
	}
	m, err := plugin.Inspect(spec)
	if err != nil {
		return nil, nil, err
	}
	if !slices.Contains(m.Manifest.Hooks, core.HookNotify) {
		return nil, nil, core.Refusef(core.Malformed, "%s is not a notifier: it answers %s", name, cli.Joined(m.Manifest.Hooks))
	}
	return m.Manifest, installed, nil
}

// isPrivate says whether a host is this machine, or one of its networks.
func isPrivate(ctx context.Context, host string) bool {
	private := func(ip netip.Addr) bool { return ip.Unmap().IsLoopback() || ip.Unmap().IsPrivate() }
	if ip, err := netip.ParseAddr(host); err == nil {
		return private(ip)
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	all, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	return err == nil && slices.ContainsFunc(all, private)
}

// options are those of a daemon that logs nothing: what it has to say is in our errors.
func (s *state) options() (daemon.Options, error) {
	o, err := s.app.DaemonOptions(nil)
	o.Log = io.Discard
	return o, err
}

// try asks whether the gateway would take up what a file says, and a notifier take a test
// call then. The running gateway says so, as its environment, its user and its network are
// what counts; where none runs, this command is in its place. An empty name asks for the
// file alone. unread says which secret cannot be read.
func (s *state) try(ctx context.Context, file, name string, installed []hooks.Installed, call bool) (unread string, err error) {
	stop := s.app.Spin("calling " + cmp.Or(name, "the gateway"))
	defer stop()
	if !s.running {
		o, err := s.options()
		if err != nil {
			return "", err
		}
		o.Config = config.Options{Home: s.dir, File: file, Env: s.app.Env}
		return daemon.TryNotifier(ctx, o, installed, name, call)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	r, err := api.NotifierTry.Call(ctx, s.app, api.TryParams{Name: name, Text: string(text), JSON: strings.EqualFold(filepath.Ext(file), ".json"), NoCall: !call})
	return r.Unread, err
}

// test calls a notifier once with the settings in force: from the running gateway where
// that has it.
func (s *state) test(ctx context.Context, name string, installed []hooks.Installed) error {
	stop := s.app.Spin("calling " + name)
	defer stop()
	if !s.running || !slices.ContainsFunc(s.plugins, func(v api.PluginView) bool { return v.Name == name }) {
		o, err := s.options()
		if err != nil {
			return err
		}
		_, err = daemon.TryNotifier(ctx, o, installed, name, true)
		return err
	}
	p, err := api.NotifierTest.Call(ctx, s.app, api.PluginRef{Name: name})
	if err != nil || p.State == api.CheckOK {
		return err
	}
	return core.Refusef(core.Unreachable, "%s did not accept a test call: %s", name, p.Text).WithHint(p.Fix)
}

// lacks are the words in which a notifier says that it lacks a setting.
var lacks = regexp.MustCompile(`\b([a-z_]+) must be|needs an? ([a-z_]+)|\b(no token)\b|answered (401|403)\b`)

// withFlag puts into the hint of a failed test call which flag gives what is lacking.
func withFlag(err error, name string, m *plugin.Manifest, noTest bool) error {
	var e *core.Error
	if !errors.As(err, &e) || !strings.Contains(e.Public, " test call: ") {
		return err
	}
	use := "ogp notify use " + cli.Quoted(name)
	_, why, _ := strings.Cut(e.Public, " test call: ")
	found := lacks.FindStringSubmatch(why)
	switch {
	case e.Hint == daemon.FixSecret || found == nil:
	case found[3]+found[4] != "" && len(m.HTTP) > 0 && len(m.HTTP[0].Secrets) > 0:
		e.Hint = fmt.Sprintf("\"%s --secret-env <VARIABLE>\", or --secret-file <file>, tells it where its secret is", use)
		if name == openclaw {
			e.Hint += ": the hooks.token of OpenClaw's configuration"
		}
	default:
		key := found[1] + found[2]
		if m.CheckSetting(key) != nil {
			break
		}
		flag := "--set " + key + "=<value>"
		switch key {
		case "url", "openclaw_url":
			flag = "--url <URL>"
		case "topic":
			flag = "--topic <topic>"
		}
		e.Hint = fmt.Sprintf("\"%s %s\" sets it", use, flag)
	}
	if noTest {
		e.Hint += "; --no-test writes the settings all the same"
	}
	return err
}

func testCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use: "test [name]", Short: "Send a test notice", Args: cobra.MaximumNArgs(1),
		Long: "Make a test call to every notifier in use, or to one. The running gateway makes it; if none runs, or the notifier is not in use, this command does. After a test that succeeds, the gateway sends the notices that wait.\n\n  ogp notify test",
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			s, err := look(ctx, a, false)
			if err != nil {
				return err
			}
			names := args
			if len(args) == 0 {
				names = slices.DeleteFunc(slices.Clone(s.inUse()), func(n string) bool { return n == logNotifier })
			}
			if len(names) == 0 {
				return core.Refuse(core.NotFound, "nobody is notified of events").WithHint("ogp notify use webhook --url <URL>, or \"ogp init\", which finds OpenClaw")
			}
			var failed error
			for _, name := range names {
				manifest, installed, err := s.find(ctx, name, "")
				if err == nil {
					err = withFlag(s.test(ctx, name, installed), name, manifest, false)
				}
				if err != nil && failed == nil {
					failed = err
				}
				if err == nil && !a.JSON {
					fmt.Fprintf(a.Out, "%s: the test call succeeded\n", name)
				}
			}
			if failed == nil && a.JSON {
				a.WriteJSON(map[string]any{"tested": names})
			}
			return failed
		},
	}
}
