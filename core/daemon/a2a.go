package daemon

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"slices"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/a2a"
	"github.com/opengatewayprotocol/ogp/core/daemon/openclaw"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/core/web"
)

// A2AToken is the token that A2A clients show to the gateway of a state directory. It is
// made where there is none, or where a new one is wanted; the old one then counts no more,
// also for a gateway that runs.
func A2AToken(dir string, renew bool) (string, error) {
	return a2a.Token(filepath.Join(dir, A2ATokenFile), renew)
}

// listenA2A opens the listener for A2A clients, if one is configured.
func (d *Daemon) listenA2A() error {
	return listenAt(&d.agents, "a2a.listen", d.config().A2A.Listen)
}

// listenAt opens the listener of a setting, if it names an address.
func listenAt(ln *net.Listener, key, address string) (err error) {
	if address == "" {
		return nil
	}
	if *ln, err = net.Listen("tcp", address); err != nil {
		return &core.Error{Kind: core.Unavailable, Public: key + ": cannot listen on " + address, Err: err, Hint: "set " + key + " to another port, or to nothing"}
	}
	return nil
}

// serveA2A answers A2A clients.
func (d *Daemon) serveA2A(ctx context.Context) error {
	if d.agents == nil {
		return nil
	}
	d.log.Info("peers are A2A agents", "listen", d.agents.Addr().String())
	server := a2a.New(a2a.Options{Role: d.role, Store: d.store, Posting: d.wire,
		Token:   func() (string, error) { return a2a.ReadToken(filepath.Join(d.dir, A2ATokenFile)) },
		OwnHost: web.OwnHost(d.config().A2A.Listen), Version: d.o.Version, Logger: d.log})
	return server.Serve(ctx, d.agents)
}

// a2aPlugin is the notifier that brings answers back.
const a2aPlugin = "a2a"

// configureA2A gives the a2a notifier what openclaw_answers says: that OpenClaw is asked,
// which messages, and the power to answer. Without that it asks whom its table names.
func (d *Daemon) configureA2A(spec *plugin.Spec, settings map[string]any) {
	url := d.openClawURL() + "/a2a/v1"
	if answers := d.config().OpenClawAnswers; len(answers) > 0 && spec.Name == a2aPlugin {
		spec.Grants.Replies = true
		if settings["intents"] == nil && !slices.Contains(answers, "all") {
			settings["intents"] = answers
		}
	}
	if settings["url"] == nil {
		settings["url"] = url
	}
	if settings["url"] != url {
		return
	}
	configured := spec.Secrets
	spec.Secrets = func(name string) (string, bool) {
		if v, ok := configured(name); ok || name != "a2a_token" {
			return v, ok
		}
		token, err := openclaw.A2AToken(d.o.env())
		if err != nil {
			d.log.Error("the token for OpenClaw's A2A channel is not readable", "err", err)
		}
		return token, err == nil && token != ""
	}
}

// module is the name that the manifest of a plugin says, whatever it is called here; empty
// where it cannot be read.
func module(spec plugin.Spec) string {
	if spec.Manifest != nil {
		return spec.Manifest.Name
	}
	m, err := plugin.Inspect(spec)
	if err != nil {
		return ""
	}
	return m.Manifest.Name
}

// leaveToA2A has the default notifier leave to the a2a notifiers in force, of whatever name,
// the messages that each takes.
func (d *Daemon) leaveToA2A(list []hooks.Wanted) error {
	chosen := []map[string]any{}
	for i := range list {
		var c struct {
			Intents core.Raw `json:"intents,omitempty"`
			Peers   core.Raw `json:"peers,omitempty"`
		}
		if spec := &list[i].Spec; (spec.Manifest != nil || spec.Grants.Replies) && d.notifies(spec.Name) && module(*spec) == a2aPlugin {
			if err := json.Unmarshal(spec.Config, &c); err != nil {
				return fmt.Errorf("plugins.%s: config: %w", spec.Name, err)
			}
			chosen = append(chosen, map[string]any{"intents": c.Intents, "peers": c.Peers})
		}
	}
	for i := range list {
		spec := &list[i].Spec
		if spec.Manifest == nil || spec.Manifest.Name != openclawPlugin || len(chosen) == 0 {
			continue
		}
		settings := map[string]any{}
		if err := json.Unmarshal(spec.Config, &settings); err != nil {
			return err
		}
		if _, set := settings["elsewhere"]; set {
			continue
		}
		settings["elsewhere"] = chosen
		text, err := json.Marshal(settings, json.Deterministic(true))
		if err != nil {
			return err
		}
		spec.Config = text
	}
	return nil
}
