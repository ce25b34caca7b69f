package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/delivery"
	"github.com/opengatewayprotocol/ogp/core/dial"
	"github.com/opengatewayprotocol/ogp/core/federation"
	"github.com/opengatewayprotocol/ogp/core/gateway"
)

// wire is the way out, which a reload can replace: the guard's ranges are part of
// it.
type wire struct {
	now atomic.Pointer[federation.Client]
}

func newWire(o dial.Options) *wire {
	w := &wire{}
	w.set(o)
	return w
}

func (w *wire) set(o dial.Options) { w.now.Store(federation.NewClient(dial.New(o))) }

func (w *wire) Card(ctx context.Context, url string, headers map[string]string) (core.Card, error) {
	return w.now.Load().Card(ctx, url, headers)
}

func (w *wire) Ping(ctx context.Context, url string) (core.Pong, error) {
	return w.now.Load().Ping(ctx, url)
}

func (w *wire) Post(ctx context.Context, url, path string, body []byte) (core.Answer, error) {
	return w.now.Load().Post(ctx, url, path, body)
}

func (w *wire) PostURL(ctx context.Context, url string, body []byte) (core.Answer, error) {
	return w.now.Load().PostURL(ctx, url, body)
}

func (w *wire) PollReply(ctx context.Context, url string, nonce core.Nonce) (core.Answer, error) {
	return w.now.Load().PollReply(ctx, url, nonce)
}

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
	gateway   gateway.Settings
	delivery  delivery.Settings
	dial      dial.Options
	logLevel  slog.Level
	notifiers []string
	plugins   pluginForces
	publicURL string // that the rendezvous is told; read at each registration
}

// pluginForces is what plugins are made of.
type pluginForces struct {
	tables                      map[string]config.PluginConfig
	agents                      []config.Agent
	agentID, openClawURL        string
	notifiers                   []string
	openClawToken, openClawHook config.Secret
}

// inForce is what a configuration puts in force in a daemon that listens on port.
func inForce(c *config.Config, port int) forces {
	return forces{
		gateway:   settings(c, port),
		delivery:  delivery.Settings{First: c.Delivery.FirstRetry, Most: c.Delivery.MaxRetry, GiveUp: c.Delivery.GiveUp},
		dial:      dial.Options{Allow: c.Network.AllowPrivate, UserAgent: "ogp/" + programVersion()},
		logLevel:  levelOf(c.Log.Level),
		notifiers: c.Delivery.Notifiers,
		plugins: pluginForces{tables: c.Plugins, agents: c.Agents, agentID: c.AgentID, openClawURL: c.OpenClawURL,
			notifiers: c.Delivery.Notifiers, openClawToken: c.OpenClawToken, openClawHook: c.OpenClawHooksToken},
		publicURL: c.Rendezvous.PublicURL,
	}
}

// reload reads the configuration again and puts what has changed in force. A bad
// configuration changes nothing.
func (d *daemon) reload(ctx context.Context) ([]changeView, error) {
	d.reloading.Lock()
	defer d.reloading.Unlock()
	cfg, origins, warnings, err := config.Load(d.loadOptions)
	if err != nil {
		return nil, err
	}
	old := d.config()
	was, now := inForce(old, d.port()), inForce(cfg, d.port())
	differences := config.Difference(old, cfg, func(c *config.Config) any { return inForce(c, d.port()) })
	views := []changeView{}
	if len(differences) == 0 {
		return views, nil
	}
	previous := d.current.Swap(&loadedConfig{cfg, origins})
	if !reflect.DeepEqual(was.plugins, now.plugins) {
		wanted, err := d.wantedPlugins(ctx)
		if err == nil {
			err = d.extensions.Apply(wanted)
		}
		if err != nil {
			d.current.Store(previous)
			return nil, err
		}
	}
	for _, w := range warnings {
		d.log.Warn(fmt.Sprint(w))
	}
	d.logLevel.Set(now.logLevel)
	d.gateway.SetSettings(now.gateway)
	d.dispatcher.SetSettings(now.delivery)
	d.wire.set(now.dial)
	d.setNotifiers()
	for _, c := range differences {
		views = append(views, changeView{c.Key, c.From, c.To, c.Restart})
		text := "setting changed"
		if c.Restart {
			text = "setting changed; it counts from the next start on"
		}
		d.log.Info(text, "key", c.Key, "from", c.From, "to", c.To)
	}
	return views, nil
}

func levelOf(word string) slog.Level {
	var level slog.Level
	_ = level.UnmarshalText([]byte(word)) // config has checked the word
	return level
}

// watchConfigEvery is how often the configuration file is looked at.
const watchConfigEvery = 2 * time.Second

// watchConfig reloads on SIGHUP and when the configuration file changes.
func (d *daemon) watchConfig(ctx context.Context) error {
	hangup, stop := hangups()
	defer stop()
	ticker := time.NewTicker(watchConfigEvery)
	defer ticker.Stop()
	seen := d.read
	for {
		why := "signal"
		select {
		case <-ctx.Done():
			return nil
		case <-hangup:
			seen = d.configFiles()
		case <-ticker.C:
			now := d.configFiles()
			if now == seen {
				continue
			}
			seen, why = now, "file changed"
		}
		notifySystemd("RELOADING=1\nMONOTONIC_USEC=" + monotonicMicros())
		changes, err := d.reload(ctx)
		notifySystemd("READY=1")
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
func (d *daemon) configFiles() [sha256.Size]byte {
	paths := []string{d.loadOptions.File}
	if d.loadOptions.File == "" {
		paths = []string{filepath.Join(d.dir, configFile), filepath.Join(d.dir, legacyConfig)}
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
