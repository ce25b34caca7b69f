package daemon

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/ours"
	"github.com/opengatewayprotocol/ogp/core/rules"
)

// probes look at running parts for what each setting does that a reload puts in
// force.
var probes = map[string]func(t *testing.T, d *Daemon) any{
	"gateway_url":  func(_ *testing.T, d *Daemon) any { return d.gateway.Card("", "", "").GatewayURL },
	"display_name": func(_ *testing.T, d *Daemon) any { return d.gateway.Card("", "", "").DisplayName },
	"email":        func(_ *testing.T, d *Daemon) any { return d.gateway.Card("", "", "").Email },
	"human_name":   func(_ *testing.T, d *Daemon) any { return d.gateway.Settings().Names.HumanName },
	"agent_name":   func(_ *testing.T, d *Daemon) any { return d.gateway.Settings().Names.AgentName },
	"organization": func(_ *testing.T, d *Daemon) any { return d.gateway.Settings().Names.Organization },
	"intents":      func(_ *testing.T, d *Daemon) any { return d.gateway.Card("", "", "").Capabilities.Intents },
	"agents":       func(_ *testing.T, d *Daemon) any { return d.gateway.Card("", "", "") },

	"openclaw_url":         openClawSpec,
	"agent_id":             openClawSpec,
	"openclaw_token":       openClawSpec,
	"openclaw_hooks_token": openClawSpec,
	"openclaw_answers":     openClawSpec,
	"plugins":              func(_ *testing.T, d *Daemon) any { return d.hooks.List()[0].Order },
	"delivery.notifiers":   func(_ *testing.T, d *Daemon) any { return len(d.dispatcher.Names()) },

	"rendezvous.public_url": func(_ *testing.T, d *Daemon) any { return d.publicURL() },
	"network.allow_private": func(t *testing.T, d *Daemon) any {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{}`) }))
		defer s.Close()
		_, err := d.wire.Post(t.Context(), s.URL, "/", nil)
		return err == nil
	},
	"a2a.allow_private": func(t *testing.T, d *Daemon) any {
		return d.wire.Permits(&url.URL{Scheme: "http", Host: "127.0.0.1:1"}) == nil
	},
	"console.listen": func(_ *testing.T, d *Daemon) any { return d.config().Console.Listen }, // read when it is opened
	"console.cert":   func(_ *testing.T, d *Daemon) any { return d.config().Console.Cert },
	"console.key":    func(_ *testing.T, d *Daemon) any { return d.config().Console.Key },

	"log.level": func(_ *testing.T, d *Daemon) any { return d.log.Enabled(context.Background(), -4) },

	"delivery.give_up":     func(_ *testing.T, d *Daemon) any { return d.dispatcher.Settings().GiveUp },
	"delivery.first_retry": func(_ *testing.T, d *Daemon) any { return d.dispatcher.Settings().First },
	"delivery.max_retry":   func(_ *testing.T, d *Daemon) any { return d.dispatcher.Settings().Most },

	"freshness.window":                    ofGateway(func(s ours.Settings) any { return s.Freshness.Window }),
	"freshness.remember":                  ofGateway(func(s ours.Settings) any { return s.Freshness.Remember }),
	"grants.default.intents":              ofGateway(func(s ours.Settings) any { return s.Grants }),
	"grants.default.rate":                 ofGateway(func(s ours.Settings) any { return *s.Grants[0].RateLimit }),
	"grants.default.bytes":                ofGateway(func(s ours.Settings) any { return s.Grants[0].ByteLimit }),
	"grants.default.topics":               ofGateway(func(s ours.Settings) any { return s.Grants }),
	"agent_comms.default_level":           ofGateway(func(s ours.Settings) any { return s.Levels }),
	"agent_comms.topics":                  ofGateway(func(s ours.Settings) any { return s.Levels }),
	"compat.plain_requests":               ofGateway(func(s ours.Settings) any { return s.Compat.PlainRequests }),
	"compat.host_port_ids":                ofGateway(func(s ours.Settings) any { return s.Compat.HostPortIDs }),
	"limits.pending_total":                ofGateway(func(s ours.Settings) any { return s.Limits.PendingTotal }),
	"limits.pending_per_network_per_hour": ofGateway(func(s ours.Settings) any { return s.Limits.PendingPerNetworkPerHour }),
	"limits.pending_life":                 ofGateway(func(s ours.Settings) any { return s.Limits.PendingLife }),
	"outbox.give_up":                      ofGateway(func(s ours.Settings) any { return s.Outbox.GiveUp }),
	"outbox.first_retry":                  ofGateway(func(s ours.Settings) any { return s.Outbox.First }),
	"outbox.max_retry":                    ofGateway(func(s ours.Settings) any { return s.Outbox.Most }),
	"agent.messages_per_day":              func(_ *testing.T, d *Daemon) any { return perDay(d.config()) },
	"agent.max_turns":                     ofBrake, "agent.breaker_rate": ofBrake, "agent.breaker_repeats": ofBrake,
	"agent.budget.messages": ofBrake, "agent.budget.bytes": ofBrake, "agent.budget.runs": ofBrake, "agent.budget.tokens": ofBrake,
	"agent.bytes_per_day":          func(_ *testing.T, d *Daemon) any { return perDay(d.config()) },
	"inbox.keep":                   ofGateway(func(s ours.Settings) any { return s.Inbox.Keep }),
	"replies.life":                 ofGateway(func(s ours.Settings) any { return s.Replies.Life }),
	"health.interval":              ofGateway(func(s ours.Settings) any { return s.Health.Interval }),
	"health.timeout":               ofGateway(func(s ours.Settings) any { return s.Health.Timeout }),
	"rules":                        ofRules(func(v hooks.View) any { return v.Rules }),
	"policy.rules.order":           ofRules(func(v hooks.View) any { return v.Order }),
	"policy.rules.approves":        ofRules(func(v hooks.View) any { return v.Approves }),
	"policy.rules.at_most.intents": ofRules(func(v hooks.View) any { return v.AtMost }),
	"policy.rules.at_most.rate":    ofRules(func(v hooks.View) any { return v.AtMost }),
	"policy.rules.at_most.bytes":   ofRules(func(v hooks.View) any { return v.AtMost }),
	"policy.rules.at_most.topics":  ofRules(func(v hooks.View) any { return v.AtMost }),
	"policy.time_zone":             noonThere,
	"policy.record":                recorded,
	"policy.record_payloads":       recorded,
	"health.failures":              ofGateway(func(s ours.Settings) any { return s.Health.Failures }),
}

func ofBrake(_ *testing.T, d *Daemon) any { return d.config().Agent.Settings }

// ofRules reads what plugin list shows of the rules in force.
func ofRules(f func(hooks.View) any) func(*testing.T, *Daemon) any {
	return func(_ *testing.T, d *Daemon) any {
		for _, v := range d.hooks.List() {
			if v.Name == rules.Name {
				return fmt.Sprintf("%+v", f(v))
			}
		}
		return "none"
	}
}

// noonThere is what someRules decide about a message that comes at noon, UTC.
func noonThere(t *testing.T, d *Daemon) any {
	v, _, err := d.hooks.Judge(t.Context(), someQuestion(), false)
	if err != nil {
		t.Fatal(err)
	}
	return v.Decision
}

// recorded is what is kept of a decision.
func recorded(_ *testing.T, d *Daemon) any {
	var c core.Change
	d.record.Decided(&c, someQuestion(), core.Verdict{Decision: core.Deny}, "")
	return fmt.Sprint(len(c.KV), len(c.KV) > 0 && bytes.Contains(c.KV[0].Value, []byte("the payload")))
}

func someQuestion() core.Question {
	return core.Question{Kind: core.HookMessage, Now: time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC), Peer: &core.Peer{},
		Message: &core.Message{Intent: "message", Payload: core.Raw(`{"text":"the payload"}`)}}
}

// someRules stand at the end of config.toml where a setting is about rules.
const someRules = "\n[[rules]]\nname = \"noon\"\nwhen = 'kind == \"message\" && hours(\"12:00-13:00\")'\nthen = \"deny\"\n"

func ofGateway(f func(ours.Settings) any) func(*testing.T, *Daemon) any {
	return func(_ *testing.T, d *Daemon) any { return f(d.gateway.Settings()) }
}

// openClawSpec is what the default notifier is loaded with.
func openClawSpec(t *testing.T, d *Daemon) any {
	wanted, err := d.wantedPlugins(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range wanted {
		if w.Spec.Name == openclawPlugin {
			token, _ := w.Spec.Secrets("hooks_token")
			return string(w.Spec.Config) + token
		}
	}
	return "none"
}

// other is a value that a setting can have and does not have by default, as in
// config.toml.
func other(s config.Setting) string {
	special := map[string]string{
		"daemon_port": "1", "listen": `"127.0.0.2"`, "freshness.window": `"4m"`, "freshness.remember": `"48h"`,
		"network.allow_private": `["127.0.0.0/8"]`, "network.trusted_proxies": `["10.0.0.0/8"]`, "grants.default.rate": `"7/60"`, "grants.default.bytes": `"64KiB/1h"`,
		"grants.default.intents": `["message", "agent-comms"]`, "compat.host_port_ids": `["a.example:1"]`, "agent_comms.topics": `{ general = "off" }`,
		"delivery.notifiers": `["log"]`, "metrics.listen": `"127.0.0.1:9999"`, "a2a.listen": `"127.0.0.1:9998"`, "a2a.allow_private": `["127.0.0.0/8"]`, "console.listen": `"127.0.0.1:9997"`, "tls.cert": `"x.pem"`, "tls.key": `"x.pem"`, "tls.domain": `"a.example"`,
		"key.passphrase_file": `"/nowhere"`, "signer": `"unix:/nowhere/signer.sock"`, "log.level": `"debug"`, "log.format": `"json"`, "agent_comms.default_level": `"off"`,
		"rendezvous.enabled": "true", "health.timeout": `"9s"`, "health.interval": `"6m"`, "agents": "", "plugins": "",
		"agent.budget.tokens": "5", "policy.record": `"0s"`, "policy.time_zone": `"Asia/Tokyo"`, "policy.rules.order": "7", "policy.rules.at_most.rate": `"7/60"`,
		"policy.rules.at_most.bytes": `"64KiB/1h"`, "policy.rules.at_most.intents": `["message"]`,
	}
	if v, ok := special[s.Key]; ok {
		return v
	}
	switch {
	case s.Unit == "URL":
		return `"https://changed.example"`
	case s.Unit == "list of URLs":
		return `["https://changed.example"]`
	case s.Unit == "duration":
		d := strings.Trim(s.Default, `"`)
		return `"` + d + `1s"` // 24h1s, 5m1s
	case s.Default == "true":
		return "false"
	case s.Default == "false":
		return "true"
	case strings.HasPrefix(s.Default, "["):
		return `["changed"]`
	case strings.HasPrefix(s.Default, `"`):
		return `"changed"`
	}
	return s.Default + "0" // a number
}

// TestEverySettingIsInForceOrWaits changes each setting in a gateway that runs. A
// reload either says that it counts from the next start on, or a running part shows
// it.
func TestEverySettingIsInForceOrWaits(t *testing.T) {
	dir, file := t.TempDir(), ""
	file = filepath.Join(dir, ConfigFile)
	base := "openclaw_token = \"before\"\ngateway_url = \"http://localhost:1\"\n"
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(base)
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	d, err := Open(t.Context(), Options{Dir: dir, Version: "test", Log: io.Discard, Shipped: shippedOpenClaw(t),
		Config: config.Options{Home: dir, Env: []string{"HOME=" + dir, "OGP_DAEMON_PORT=0", "OGP_LISTEN=127.0.0.1"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.openHooks(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d.public, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	d.gateway.SetSettings(settings(d.config(), d.port()))

	setsOneLine(t, d, file)
	inForce, waits := 0, 0
	for _, s := range config.Settings() {
		if s.Key == "daemon_port" || s.Key == "listen" {
			continue // the environment of this test sets them; config has a test of its own
		}
		base, end := base, ""
		if strings.HasPrefix(s.Key, "policy.rules.at_most.") && s.Key != "policy.rules.at_most.intents" {
			base += "policy.rules.at_most.intents = [\"agent-comms\"]\n"
		}
		if strings.HasPrefix(s.Key, "policy.") {
			end = someRules
		}
		write(base + end)
		if _, err := d.reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		probe := probes[s.Key]
		var before string
		if probe != nil {
			before = fmt.Sprintf("%+v", probe(t, d))
		}
		write(changed(base, s) + end)
		views, err := d.reload(t.Context())
		if err != nil {
			t.Errorf("%s: %v", s.Key, err)
			continue
		}
		for _, v := range views {
			if v.Key != s.Key {
				continue
			}
			switch {
			case v.Restart && probe == nil:
				waits++
			case v.Restart:
				t.Errorf("%s: said to wait for the next start, and it has a probe", s.Key)
			case probe == nil:
				t.Errorf("%s: said to be in force, and nothing shows it", s.Key)
			default:
				inForce++
				if after := fmt.Sprintf("%+v", probe(t, d)); after == before {
					t.Errorf("%s: said to be in force, and %s as before", s.Key, after)
				}
			}
		}
		if len(views) == 0 {
			t.Errorf("%s: a change is not seen:\n%s", s.Key, changed(base, s))
		}
	}
	if inForce < 35 || waits < 15 {
		t.Errorf("%d settings in force at once, %d after a restart: the test does not see them any more", inForce, waits)
	}
}

// setsOneLine holds the method "config.set": one line changes, what counts from the next
// start on says so, and a mistake changes nothing.
func setsOneLine(t *testing.T, d *Daemon, file string) {
	set := func(key, value string) (api.SettingResult, error) {
		return d.setConfig(t.Context(), api.SettingParams{Key: key, Value: value, Unset: value == ""})
	}
	if r, err := set("email", "a@b.example"); err != nil || r.File != file || r.Restart != "" || d.config().Email != "a@b.example" {
		t.Errorf("set email: %+v %v", r, err)
	}
	if r, err := set("metrics.listen", "127.0.0.1:9"); err != nil || r.Restart == "" {
		t.Errorf("set metrics.listen: %+v %v", r, err)
	}
	if r, err := set("daemon_port", "5"); err != nil || r.Override != "OGP_DAEMON_PORT" {
		t.Errorf("set daemon_port: %+v %v", r, err)
	}
	kept, _ := os.ReadFile(file)
	for key, value := range map[string]string{"emial": "x", "health.interval": "soon", "openclaw_token": "[redacted]", "console.listen": "0.0.0.0:1"} {
		if _, err := set(key, value); err == nil {
			t.Errorf("set %s to %s: no error", key, value)
		}
	}
	if after, _ := os.ReadFile(file); string(after) != string(kept) || !strings.Contains(string(kept), "gateway_url = \"http://localhost:1\"\n") {
		t.Errorf("a mistake has changed the file:\n%s", after)
	}
	if _, err := set("email", ""); err != nil || d.config().Email != "" {
		t.Errorf("unset email: %v", err)
	}
}

// changed is a configuration in which one setting is another.
func changed(base string, s config.Setting) string {
	switch s.Key {
	case "agents":
		return base + "[[agents]]\nid = \"changed\"\nrole = \"primary\"\n"
	case "plugins":
		return base + "[plugins.openclaw]\norder = 7\n"
	case "rules":
		return base + someRules
	case "openclaw_token":
		return strings.Replace(base, "before", "after", 1)
	case "gateway_url":
		return strings.Replace(base, "localhost:1", "localhost:2", 1)
	case "tls.cert", "tls.key":
		return base + "tls.cert = \"x.pem\"\ntls.key = \"x.pem\"\n"
	case "console.cert", "console.key":
		return base + "console.cert = \"x.pem\"\nconsole.key = \"x.pem\"\n"
	case "rendezvous.enabled":
		return base + "rendezvous.url = \"https://r.example\"\nrendezvous.enabled = true\n"
	}
	return base + s.Key + " = " + other(s) + "\n"
}

func shippedOpenClaw(t *testing.T) Shipped {
	read := func(plugin, name string) []byte {
		b, err := os.ReadFile(filepath.Join("..", "..", "plugins", plugin, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	wasm, manifest := map[string][]byte{}, map[string][]byte{}
	for _, name := range []string{openclawPlugin, a2aPlugin} {
		wasm[name], manifest[name] = read(name, name+".wasm"), read(name, "plugin.toml")
	}
	return func(name string) ([]byte, []byte, bool) {
		return bytes.Clone(wasm[name]), manifest[name], wasm[name] != nil
	}
}
