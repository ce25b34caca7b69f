package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/dial"
	"github.com/opengatewayprotocol/ogp/core/federation"
)

// wire is the way out, which a reload can replace: the guard's ranges are part of
// it.
type wire struct {
	now atomic.Pointer[federation.Client]
}

func newWire(c *config.Config) *wire {
	w := &wire{}
	w.set(c)
	return w
}

func (w *wire) set(c *config.Config) {
	w.now.Store(federation.NewClient(dial.New(dial.Options{Allow: c.Network.AllowPrivate, UserAgent: "ogp/" + programVersion()})))
}

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
	differences := config.Difference(old, cfg)
	views := []changeView{}
	if len(differences) == 0 {
		return views, nil
	}
	previous := d.current.Swap(&loadedConfig{cfg, origins})
	if plugins := func(c config.Change) bool { return touchesPlugins(c.Key) }; slices.ContainsFunc(differences, plugins) {
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
	d.logLevel.Set(levelOf(cfg.Log.Level))
	d.gateway.SetSettings(settings(cfg, d.port()))
	d.wire.set(cfg)
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

// touchesPlugins says whether a setting is part of what plugins are made of.
func touchesPlugins(key string) bool {
	return key == "plugins" || key == "agents" || key == "agent_id" || key == "delivery.notifiers" || strings.HasPrefix(key, "openclaw_")
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
		case <-ticker.C:
			now := d.configStamp()
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

type fileStamp struct {
	size int64
	mod  time.Time
}

// configStamp is how the configuration file looks from outside.
func (d *daemon) configStamp() fileStamp {
	path := d.loadOptions.File
	if path == "" {
		path = filepath.Join(d.dir, configFile)
	}
	info, err := os.Stat(path)
	if err != nil {
		return fileStamp{}
	}
	return fileStamp{info.Size(), info.ModTime()}
}
