package daemon

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/brake"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/daemon/openclaw"
	"github.com/opengatewayprotocol/ogp/core/daemon/service"
	"github.com/opengatewayprotocol/ogp/core/delivery"
	"github.com/opengatewayprotocol/ogp/core/dial"
	"github.com/opengatewayprotocol/ogp/core/ours"
	"github.com/opengatewayprotocol/ogp/core/record"
)

// changeView is a setting that a reload has changed.
type changeView struct {
	Key     string `json:"key"`
	From    string `json:"from,omitempty"`
	To      string `json:"to,omitempty"`
	Restart bool   `json:"restart"` // counts from the next start on
}

// forces is all of a configuration that a reload puts in force. What is not in it
// counts from the next start on, and a reload says so: config.Difference compares
// these.
type forces struct {
	gateway   ours.Settings
	delivery  delivery.Settings
	dial      dial.Options
	push      dial.Options // to A2A clients
	logLevel  slog.Level
	notifiers []string
	plugins   pluginForces
	brake     brake.Settings // read at each message
	agent     brake.Use      // what the agent may send; read at each act
	rules     ruleForces
	record    record.Settings
	publicURL string // that the rendezvous is told; read at each registration
	console   config.Console
}

// ruleForces is what the rules are made of.
type ruleForces struct {
	list   []config.Rule
	zone   string
	policy config.PolicyRules
}

// pluginForces is what plugins are made of.
type pluginForces struct {
	tables                      map[string]config.PluginConfig
	agents                      []config.Agent
	names                       core.Names // of which the one agent is made, where none is configured
	agentID, openClawURL        string
	notifiers, openClawAnswers  []string
	openClawToken, openClawHook config.Secret
}

// inForce is what a configuration puts in force in a daemon that listens on port.
func (d *Daemon) inForce(c *config.Config, port int) forces {
	return forces{
		gateway:   settings(c, port),
		delivery:  c.Delivery.Settings,
		dial:      dial.Options{Allow: c.Network.AllowPrivate, UserAgent: "ogp/" + d.o.Version},
		push:      dial.Options{Allow: slices.Concat(c.Network.AllowPrivate, c.A2A.AllowPrivate), UserAgent: "ogp/" + d.o.Version},
		logLevel:  levelOf(c.Log.Level),
		notifiers: c.Delivery.Notifiers,
		plugins: pluginForces{tables: c.Plugins, agents: c.Agents, names: c.Names(), agentID: c.AgentID, openClawURL: c.OpenClawURL,
			notifiers: c.Delivery.Notifiers, openClawAnswers: c.OpenClawAnswers, openClawToken: c.OpenClawToken, openClawHook: c.OpenClawHooksToken},
		agent:     perDay(c),
		record:    c.Policy.Settings,
		rules:     ruleForces{c.Rules, c.Policy.TimeZone, c.Policy.Rules},
		brake:     c.Agent.Settings,
		publicURL: c.Rendezvous.PublicURL, console: c.Console,
	}
}

// reload reads the configuration again and puts what has changed in force. A bad
// configuration changes nothing.
func (d *Daemon) reload(ctx context.Context) ([]changeView, error) {
	d.reloading.Lock()
	defer d.reloading.Unlock()
	cfg, origins, warnings, err := config.Load(d.o.Config)
	if err != nil {
		return nil, err
	}
	old := d.config()
	was, now := d.inForce(old, d.port()), d.inForce(cfg, d.port())
	differences := config.Difference(old, cfg, func(c *config.Config) any { return d.inForce(c, d.port()) })
	chosen := d.notifiersChosen()
	previous := d.current.Swap(&loadedConfig{cfg, origins})
	if chosen != d.notifiersChosen() && reflect.DeepEqual(was.notifiers, now.notifiers) {
		// What was the default is now what the operator says, or the other way round.
		differences = append(differences, config.Change{Key: "delivery.notifiers", From: notifiersText(chosen, was.notifiers), To: notifiersText(!chosen, now.notifiers)})
	}
	views := []changeView{}
	if len(differences) == 0 {
		return views, nil
	}
	d.gateway.SetSettings(now.gateway) // plugins are told of its personas
	if !reflect.DeepEqual(was.plugins, now.plugins) || chosen != d.notifiersChosen() {
		wanted, err := d.wantedPlugins(ctx)
		if err == nil {
			err = d.hooks.Apply(wanted)
		}
		if err != nil {
			d.current.Store(previous)
			d.gateway.SetSettings(was.gateway)
			return nil, err
		}
	}
	if !reflect.DeepEqual(was.rules, now.rules) {
		d.hooks.SetRules(ctx, d.rules())
	}
	for _, w := range warnings {
		d.log.Warn(fmt.Sprint(w))
	}
	d.record.Set(now.record)
	d.logLevel.Set(now.logLevel)
	d.dispatcher.SetSettings(now.delivery)
	d.wire.set(now)
	d.setNotifiers()
	for _, c := range differences {
		views = append(views, changeView{c.Key, c.From, c.To, c.Restart})
		text := "setting changed"
		if c.Restart {
			text = "setting changed; it takes effect at the next start"
		}
		d.log.Info(text, "key", c.Key, "from", c.From, "to", c.To)
	}
	return views, nil
}

func notifiersText(chosen bool, names []string) string {
	if !chosen {
		return "the log and every plugin that notifies"
	}
	return strings.Join(names, ", ")
}

func levelOf(word string) slog.Level {
	var level slog.Level
	_ = level.UnmarshalText([]byte(word)) // config has checked the word
	return level
}

// watchConfigEvery is how often the configuration file is looked at.
const watchConfigEvery = 2 * time.Second

// triesAfterChange are when what waits for notifiers is tried once more after a change
// outside: who reads the same file as we, as OpenClaw does, may take it up after us.
var triesAfterChange = []time.Duration{5 * time.Second, 15 * time.Second, time.Minute}

// outside is what notifiers need that stands in files of others: OpenClaw's own
// configuration, and secrets.
type outside struct {
	openclaw openclaw.Seen
	secrets  [32]byte
}

func (d *Daemon) outside() outside {
	c := d.config()
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(c.Plugins)) {
		for _, secret := range slices.Sorted(maps.Keys(c.Plugins[name].Secrets)) {
			s := c.Plugins[name].Secrets[secret]
			v, err := s.Reveal()
			fmt.Fprintf(sum, "%q %q %q %v\n", name, secret, v, err)
		}
	}
	o := outside{openclaw: openclaw.Look(d.o.env(), c)}
	copy(o.secrets[:], sum.Sum(nil))
	return o
}

// outsideChanged takes up what has changed there: notifiers may be set up otherwise, and
// what waits for them is tried at once.
func (d *Daemon) outsideChanged(ctx context.Context) {
	d.reloading.Lock()
	defer d.reloading.Unlock()
	wanted, err := d.wantedPlugins(ctx)
	if err == nil {
		err = d.hooks.Apply(wanted)
	}
	if err != nil {
		d.log.Error("a change outside of our configuration cannot be used", "err", err)
		return
	}
	d.setNotifiers()
	d.dispatcher.Changed()
	d.log.Info("settings of a notifier have changed; the notices that wait are tried now")
}

// watchConfig reloads on SIGHUP and when the configuration file changes.
func (d *Daemon) watchConfig(ctx context.Context) error {
	hangup, stop := service.Hangups()
	defer stop()
	ticker := time.NewTicker(watchConfigEvery)
	defer ticker.Stop()
	seen, outside := d.read, d.outside()
	var changed time.Time     // when something outside did last
	var tries []time.Duration // after it, that are to come
	for {
		why := "signal"
		select {
		case <-ctx.Done():
			return nil
		case <-hangup:
			seen = d.configFiles()
		case <-ticker.C:
			if now := d.outside(); now != outside {
				outside = now
				d.outsideChanged(ctx)
				changed, tries = time.Now(), triesAfterChange
			} else if len(tries) > 0 && time.Since(changed) > tries[0] {
				tries = tries[1:]
				d.dispatcher.Changed()
			}
			now := d.configFiles()
			if now == seen {
				continue
			}
			seen, why = now, "file changed"
		}
		service.Notify("RELOADING=1\nMONOTONIC_USEC=" + service.MonotonicMicros())
		changes, err := d.reload(ctx)
		service.Notify("READY=1")
		switch {
		case err != nil:
			d.log.Error("configuration not reloaded; the one before stays in force", "why", why, "err", err)
		case len(changes) == 0:
			d.log.Info("configuration reloaded; nothing has changed", "why", why)
		}
	}
}

// configFiles is a digest of what the configuration files hold: their stamp may stay
// the same while that changes, and the other way round. Of a file that cannot be
// read, only that counts.
func (d *Daemon) configFiles() [sha256.Size]byte {
	paths := []string{d.o.Config.File}
	if d.o.Config.File == "" {
		paths = []string{filepath.Join(d.dir, ConfigFile), filepath.Join(d.dir, LegacyConfig)}
	}
	all := sha256.New()
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			text = nil
		}
		fmt.Fprintf(all, "%t %d\n%s", err == nil, len(text), text)
	}
	return [sha256.Size]byte(all.Sum(nil))
}
