package notify

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/settings"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/daemon"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/plugins"
)

// openclaw has settings of its own: openclaw_url and openclaw_hooks_token.
const openclaw = "openclaw"

// using are the flags of "ogp notify use".
type using struct {
	url, secretEnv, secretFile, topic string
	set                               []string
	add, noTest                       bool
}

type used struct {
	Notifier  string   `json:"notifier"`
	Notifiers []string `json:"notifiers"` // that hear of events now
	File      string   `json:"file"`
	Set       []string `json:"set"` // keys
	Private   bool     `json:"private"`
	Tested    bool     `json:"tested"`
	Running   bool     `json:"running"`
}

func useCommand(a *cli.App) *cobra.Command {
	var u using
	cmd := &cobra.Command{
		Use: "use <name>", Short: "Switch to a notifier", Args: cobra.ExactArgs(1),
		Long: `Notify through a notifier that ships (openclaw, webhook, ntfy) or one that is installed. It is called once with a test. If it takes that, its settings are saved in the configuration file: the URL that it may reach (also on a private network) and delivery.notifiers.

  ogp notify use webhook --url https://hooks.example.org/ogp --secret-env OGP_WEBHOOK_SECRET`,
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := use(cmd.Context(), a, args[0], u)
			if err != nil {
				return err
			}
			if a.JSON {
				a.WriteJSON(v)
				return nil
			}
			fmt.Fprintf(a.Out, "Set %s in %s\n", strings.Join(v.Set, ", "), v.File)
			if v.Private {
				fmt.Fprintf(a.Out, "%s may reach that server although it is at a private address\n", v.Notifier)
			}
			if v.Tested {
				fmt.Fprintln(a.Out, "A test call was taken")
			}
			fmt.Fprintf(a.Out, "%s\n", term.SafeText(strings.ToUpper(inWords(v.Notifiers)[:1])+inWords(v.Notifiers)[1:]))
			if !v.Running {
				fmt.Fprintln(a.Err, `No daemon is running; "ogp start" takes it up.`)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&u.url, "url", "", "where it posts to")
	cmd.Flags().StringVar(&u.topic, "topic", "", "for ntfy: the topic that it publishes to")
	cmd.Flags().StringVar(&u.secretEnv, "secret-env", "", "the variable that holds its secret, which signs or authorizes its posts")
	cmd.Flags().StringVar(&u.secretFile, "secret-file", "", "the file that holds its secret")
	cmd.Flags().StringArrayVar(&u.set, "set", nil, "another setting of it: name=value (repeatable)")
	cmd.Flags().BoolVar(&u.add, "add", false, "beside those that hear of events now")
	cmd.Flags().BoolVar(&u.noTest, "no-test", false, "make no test call")
	return cmd
}

func use(ctx context.Context, a *cli.App, name string, u using) (v used, err error) {
	s, err := look(ctx, a)
	if err != nil {
		return v, err
	}
	if name == logNotifier {
		return v, cli.Usagef("the log is always there to choose; name who hears of events beside it")
	}
	manifest, installed, err := s.find(ctx, name)
	if err != nil {
		return v, err
	}
	changes, private, err := s.changes(ctx, name, manifest, u)
	if err != nil {
		return v, err
	}
	names := []string{logNotifier}
	if u.add {
		names = slices.Clone(s.inUse())
	}
	if !slices.Contains(names, name) {
		names = append(names, name)
	}
	changes = append(changes, chooses(names))
	v = used{Notifier: name, Notifiers: names, File: s.path, Private: private, Running: s.running, Tested: !u.noTest}
	for _, c := range changes {
		v.Set = append(v.Set, c.Key)
	}
	var checks []func(file string) error
	if !u.noTest {
		checks = append(checks, func(file string) error { return s.try(ctx, file, name, installed) })
	}
	if err := settings.Write(a, s.dir, s.path, changes, checks...); err != nil {
		return v, err
	}
	if !s.running {
		return v, nil
	}
	if err := s.await(ctx, names); err != nil {
		return v, err
	}
	return v, s.reads(ctx, name)
}

// readsWithin is how long a running gateway may take to see another secret.
const readsWithin = 4 * time.Second

// reads says what secret of a notifier the running gateway cannot read, whose
// environment is not ours.
func (s *state) reads(ctx context.Context, name string) error {
	key := secretsOf(name)
	for deadline := time.Now().Add(readsWithin); ; time.Sleep(100 * time.Millisecond) {
		v, err := api.Status.Call(ctx, s.app, api.None{})
		if err != nil {
			return err
		}
		i := slices.IndexFunc(v.Warnings, func(w string) bool { return strings.HasPrefix(w, key) })
		if i < 0 {
			return nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			e := core.Refusef(core.Unavailable, "the settings are written, but the running gateway cannot use them: %s", v.Warnings[i])
			e.Hint = "set the variable where the gateway is started, and start it again; or --secret-file, which it reads at each use"
			return e
		}
	}
}

// secretsOf is how the keys of a notifier's secrets begin.
func secretsOf(name string) string {
	if name == openclaw {
		return "openclaw_hooks_token"
	}
	return "plugins." + name + ".secrets."
}

func noSecret(why string) error {
	e := core.Refuse(core.Malformed, why)
	e.Hint = "it must be there for the test call, and where the gateway runs; --no-test writes the settings all the same"
	return e
}

// find gives the manifest of a notifier, and what is installed.
func (s *state) find(ctx context.Context, name string) (*plugin.Manifest, []hooks.Installed, error) {
	installed, _, err := cli.OnState(ctx, s.app, api.PluginInstalled, api.None{}, false)
	if err != nil {
		return nil, nil, err
	}
	o, err := s.app.DaemonOptions(nil)
	if err != nil {
		return nil, nil, err
	}
	spec, ok, err := daemon.PluginSpec(o, name, installed)
	if err != nil {
		return nil, nil, err
	}
	if !ok {
		e := core.Refusef(core.NotFound, "no notifier %q: it neither ships, nor is it installed or configured", name)
		e.Hint = "\"ogp plugin install\" takes one of yours; \"ogp notify list\" shows those that there are"
		for _, p := range plugins.All() {
			e.Candidates = append(e.Candidates, p.Name)
		}
		return nil, nil, e
	}
	m, err := plugin.Inspect(spec)
	if err != nil {
		return nil, nil, err
	}
	if !slices.Contains(m.Manifest.Hooks, core.HookNotify) {
		return nil, nil, core.Refusef(core.Malformed, "%s is no notifier: it answers %s", name, cli.Joined(m.Manifest.Hooks))
	}
	return m.Manifest, installed, nil
}

// changes are the settings to write for a notifier.
func (s *state) changes(ctx context.Context, name string, m *plugin.Manifest, u using) (out []settings.Setting, private bool, err error) {
	table := "plugins." + name
	put := func(key string, value any) { out = append(out, settings.Setting{Key: key, Value: value}) }
	if u.url != "" {
		target, err := url.Parse(u.url)
		if err != nil || target.Host == "" || target.Scheme != "http" && target.Scheme != "https" {
			return nil, false, cli.Usagef("--url %q: want an http or https URL", u.url)
		}
		private = isPrivate(ctx, target.Hostname())
		if name == openclaw {
			put("openclaw_url", strings.TrimRight(u.url, "/"))
		} else {
			put(table+".config.url", u.url)
		}
		if _, ships := plugins.Get(name); !ships { // one's own has what it was installed with
			prefix, _, _ := strings.Cut(u.url, "?")
			put(table+".grants.http", []any{prefix})
		}
		if private && name != openclaw {
			put(table+".grants.private", true)
		}
	}
	if u.topic != "" {
		put(table+".config.topic", u.topic)
	}
	for _, set := range u.set {
		key, value, ok := strings.Cut(set, "=")
		if !ok || key == "" || strings.ContainsAny(key, ". \"'") {
			return nil, false, cli.Usagef("--set %q: want name=value", set)
		}
		c, err := settings.Parse(table+".config."+key, value)
		if err != nil {
			return nil, false, err
		}
		out = append(out, c)
	}
	secret, err := u.secret()
	if err == nil && secret == "" && !u.noTest { // the one that it has already
		if i := slices.IndexFunc(s.cfg.CheckSecrets(nil), func(p config.Problem) bool { return strings.HasPrefix(p.Key, secretsOf(name)) }); i >= 0 {
			return nil, false, noSecret(strings.TrimPrefix(s.cfg.CheckSecrets(nil)[i].What, "config: "))
		}
	}
	if err != nil || secret == "" {
		return out, private, err
	}
	if _, err := config.NewSecret(secret).Reveal(); err != nil && !u.noTest {
		return nil, false, noSecret("the secret: " + strings.TrimPrefix(err.Error(), "config: secret: "))
	}
	if name == openclaw {
		put("openclaw_hooks_token", secret)
		return out, private, nil
	}
	for _, ask := range m.HTTP {
		if len(ask.Secrets) > 0 {
			put(table+".secrets."+ask.Secrets[0], secret)
			return out, private, nil
		}
	}
	return nil, false, cli.Usagef("%s asks for no secret", name)
}

// secret is what the configuration says of the secret: where it is, never itself.
func (u using) secret() (string, error) {
	switch {
	case u.secretEnv != "" && u.secretFile != "":
		return "", cli.Usagef("--secret-env and --secret-file: want one of them")
	case u.secretFile != "":
		path, err := filepath.Abs(u.secretFile)
		return "file:" + path, err
	case u.secretEnv == "":
		return "", nil
	case strings.ContainsFunc(u.secretEnv, func(c rune) bool { return c != '_' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') }):
		return "", cli.Usagef("--secret-env %q: want the name of a variable; the secret itself does not belong on a command line", u.secretEnv)
	}
	return "${" + u.secretEnv + "}", nil
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

// try calls a notifier once, as a gateway with this configuration would.
func (s *state) try(ctx context.Context, file, name string, installed []hooks.Installed) error {
	stop := s.app.Spin("calling " + name)
	defer stop()
	o, err := s.app.DaemonOptions(nil)
	if err != nil {
		return err
	}
	o.Config = config.Options{Home: s.dir, File: file, Env: s.app.Env}
	spec, ok, err := daemon.PluginSpec(o, name, installed)
	if err != nil || !ok {
		return err
	}
	return call(ctx, s.dir, spec)
}

// test calls a notifier once with the settings in force: from the running gateway where
// that has it.
func (s *state) test(ctx context.Context, name string, installed []hooks.Installed) error {
	if !s.running || !slices.ContainsFunc(s.plugins, func(v api.PluginView) bool { return v.Name == name }) {
		return s.try(ctx, s.app.File, name, installed)
	}
	stop := s.app.Spin("calling " + name)
	defer stop()
	p, err := api.NotifierTest.Call(ctx, s.app, api.PluginRef{Name: name})
	if err != nil || p.State == api.CheckOK {
		return err
	}
	return notTaken(core.Unreachable, name, p.Text, p.Fix)
}

// call loads a notifier and tells it of a test. Its error says what to change.
func call(ctx context.Context, dir string, spec plugin.Spec) error {
	var options plugin.Options
	if exists(dir) {
		options.CacheDir = filepath.Join(dir, daemon.CompileCache)
	}
	host, err := plugin.NewHost(options)
	if err != nil {
		return err
	}
	defer host.Close()
	spec.Answer, spec.KV = hooks.Answer, &plugin.MemoryKV{}
	p, err := host.Load(ctx, spec)
	if err != nil {
		return notTaken(core.Malformed, spec.Name, err.Error(), "its README says which settings it needs: ogp notify use "+spec.Name+" --set name=value")
	}
	defer p.Close()
	input, err := hooks.NotifyInput([]core.Notice{{Event: core.Event{ID: ulid.Make().String(), Type: daemon.EventTest, At: time.Now(), Text: testLine}, Attempt: 1}}, nil)
	if err != nil {
		return err
	}
	r, err := p.Call(ctx, core.HookNotify, input)
	if err != nil {
		return notTaken(core.Unreachable, spec.Name, err.Error(), "")
	}
	outcome, _ := r.Answer.(core.Outcome)
	if outcome.Status != core.OutcomeDelivered && !r.NotMine() {
		text, fix, _ := strings.Cut(outcome.Detail, " - ")
		return notTaken(core.Unreachable, spec.Name, text, fix)
	}
	return nil
}

const testLine = `This is a test call of "ogp notify". Nothing has happened, and there is nothing to do.`

func notTaken(kind core.Kind, name, why, fix string) error {
	e := core.Refusef(kind, "%s did not take a test call: %s", name, why)
	e.Hint = fix
	if e.Hint == "" {
		e.Hint = "is its server there? --no-test writes the settings all the same"
	}
	return e
}

func testCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use: "test [name]", Short: "Send a test notice", Args: cobra.MaximumNArgs(1),
		Long: "Make a test call to every notifier that is in use, or to one. The running gateway makes it; where none runs, or the notifier is not in use, this command does. Once it is taken, the gateway sends what waits.\n\n  ogp notify test",
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			s, err := look(ctx, a)
			if err != nil {
				return err
			}
			names := args
			if len(args) == 0 {
				names = slices.DeleteFunc(slices.Clone(s.inUse()), func(n string) bool { return n == logNotifier })
			}
			if len(names) == 0 {
				e := core.Refuse(core.NotFound, "nobody is notified of events")
				e.Hint = "ogp notify use webhook --url <URL>, or \"ogp init\", which finds OpenClaw"
				return e
			}
			var failed error
			for _, name := range names {
				_, installed, err := s.find(ctx, name)
				if err == nil {
					err = s.test(ctx, name, installed)
				}
				if err != nil && failed == nil {
					failed = err
				}
				if err == nil && !a.JSON {
					fmt.Fprintf(a.Out, "%s took a test call\n", name)
				}
			}
			if failed == nil && a.JSON {
				a.WriteJSON(map[string]any{"tested": names})
			}
			return failed
		},
	}
}
