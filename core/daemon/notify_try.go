package daemon

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/plugin"
)

// notifierTry is the method "notifier.try": whether this gateway, as it runs here, would
// take up a text as its configuration, and a notifier take a test call then. Nothing
// changes.
func (d *Daemon) notifierTry(ctx context.Context, p api.TryParams) (api.TryResult, error) {
	end := ".toml"
	if p.JSON {
		end = ".json"
	}
	f, err := os.CreateTemp(d.dir, ".try-*"+end)
	if err != nil {
		return api.TryResult{}, err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(p.Text)
	if err := errors.Join(err, f.Close()); err != nil {
		return api.TryResult{}, err
	}
	installed, err := hooks.ListInstalled(ctx, d.store)
	if err != nil {
		return api.TryResult{}, err
	}
	o := d.o
	o.Config.File = f.Name()
	unread, err := TryNotifier(ctx, o, installed, p.Name, !p.NoCall)
	return api.TryResult{Unread: unread}, err
}

// TryNotifier returns an error unless a gateway with these options would take up its
// configuration and, with call, the notifier of that name takes a test call then. An empty
// name asks for the configuration alone. unread says which of its secrets cannot be read
// here, which fails a test call; empty: none.
func TryNotifier(ctx context.Context, o Options, installed []hooks.Installed, name string, call bool) (unread string, err error) {
	refused := func(err error) (string, error) {
		v := api.ErrorOf(err)
		text := v.Message
		if o.Config.File != "" {
			text = strings.ReplaceAll(text, o.Config.File, "the configuration file")
		}
		return "", core.Refuse(core.Malformed, "the gateway could not use it, nothing has changed: "+text).WithHint(v.Hint)
	}
	o.Log = io.Discard
	d, err := configured(o)
	if err != nil {
		return refused(err)
	}
	wanted, err := d.wantedWith(installed)
	if err == nil {
		err = hooks.Check(wanted)
	}
	if err != nil {
		return refused(err)
	}
	if name == "" || name == "log" {
		return "", nil
	}
	spec, err := d.heard(name, wanted, installed)
	if err != nil {
		return "", err
	}
	unread = d.config().SecretMissing(name)
	switch {
	case !call:
		return unread, nil
	case unread != "":
		return unread, notTaken(core.Malformed, name, unread, FixSecret)
	}
	return "", callOnce(ctx, d.dir, spec)
}

// heard finds what a notifier would be loaded with, or says why it would hear of nothing.
func (d *Daemon) heard(name string, wanted []hooks.Wanted, installed []hooks.Installed) (plugin.Spec, error) {
	no := func(why, fix string) (plugin.Spec, error) {
		return plugin.Spec{}, core.Refusef(core.Conflict, "%s would not be notified of anything: %s", name, why).WithHint(fix)
	}
	table := "[plugins." + name + "]"
	if c, ok := d.config().Plugins[name]; ok && !c.IsEnabled() {
		return no("enabled = false in "+table, "take that line out of config.toml")
	}
	i := slices.IndexFunc(wanted, func(w hooks.Wanted) bool { return w.Spec.Name == name })
	if i < 0 { // a variable sets delivery.notifiers, so that nothing else names it
		spec, ok, err := PluginSpec(d.o, name, installed)
		if err == nil && !ok {
			return no("it is not there where the gateway runs", `"ogp plugin list" shows what is`)
		}
		return spec, err
	}
	if w := wanted[i]; len(w.Hooks) > 0 && !slices.Contains(w.Hooks, core.HookNotify) {
		return no("hooks in "+table+" leaves \"notify\" out", "add \"notify\" there")
	}
	return wanted[i].Spec, nil
}

// FixSecret is what to do about a notifier's secret that cannot be read.
const FixSecret = "set the variable where the gateway is started, and start it again; or --secret-file names a file, which is read at each use"

// callOnce loads a notifier beside the gateway and tells it of a test.
func callOnce(ctx context.Context, dir string, spec plugin.Spec) error {
	var options plugin.Options
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		options.CacheDir = filepath.Join(dir, CompileCache)
	}
	host, err := plugin.NewHost(options)
	if err != nil {
		return err
	}
	defer host.Close()
	spec.Answer, spec.KV = hooks.Answer, &plugin.MemoryKV{}
	p, err := host.Load(ctx, spec)
	if err != nil {
		return notTaken(core.Malformed, spec.Name, hooks.Words(spec.Name, err.Error()), "its README says which settings it needs: \"ogp notify use "+spec.Name+" --set name=value\"")
	}
	defer p.Close()
	input, err := hooks.NotifyInput([]core.Notice{{Event: core.Event{ID: ulid.Make().String(), Type: EventTest, At: time.Now(), Text: testLine}, Attempt: 1}}, nil, "")
	if err != nil {
		return err
	}
	r, err := p.Call(ctx, core.HookNotify, input)
	if err != nil {
		return notTaken(core.Malformed, spec.Name, hooks.Words(spec.Name, err.Error()), "\"ogp plugin run "+spec.Name+"\" shows what it answers to a case")
	}
	outcome, _ := r.Answer.(core.Outcome)
	if outcome.Status == core.OutcomeDelivered || r.NotMine() {
		return nil
	}
	text, fix, _ := strings.Cut(outcome.Detail, " - ")
	if len(spec.Grants.HTTP) == 0 {
		return notTaken(core.Malformed, spec.Name, text, cmp.Or(fix, "it may reach no URL: what it lacks is in its own words above"))
	}
	return notTaken(core.Unreachable, spec.Name, text+" at "+spec.Grants.HTTP[0].URL, cmp.Or(fix, "see whether its server is there; --url names another one"))
}

func notTaken(kind core.Kind, name, why, fix string) error {
	return core.Refusef(kind, "%s did not accept a test call: %s", name, cmp.Or(why, "it does not say why")).WithHint(fix)
}

const testLine = `This is a test call of "ogp notify". Nothing has happened, and there is nothing to do.`
