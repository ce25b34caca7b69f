package config

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core/scope"
)

// What a Hermes user's configuration says is the webhook plugin's.
func TestTypeScriptHermes(t *testing.T) {
	c, origins, warnings := mustLoad(t, Options{Home: home(t, "config.json", `{"platform": "hermes", "hermesWebhookUrl": "http://localhost:8644/webhooks/x",
		"hermesWebhookSecret": "s3cret", "humanDeliveryTarget": "telegram:1", "openclawToken": "unused"}`)})
	p, ok := c.Plugins["webhook"]
	if !ok || len(c.Plugins) != 1 {
		t.Fatalf("plugins %v, want webhook", c.Plugins)
	}
	if want := map[string]any{"url": "http://localhost:8644/webhooks/x", "format": "hermes", "human_delivery_target": "telegram:1"}; !reflect.DeepEqual(p.Config, want) {
		t.Errorf("settings %v, want %v", p.Config, want)
	}
	if !reflect.DeepEqual(p.Grants.HTTP, []string{"http://localhost:8644/webhooks/x"}) || !p.Grants.Private || !p.Secrets["webhook_secret"].Equal(NewSecret("s3cret")) {
		t.Errorf("grants %+v, secrets %v", p.Grants, p.Secrets)
	}
	if !reflect.DeepEqual(c.Delivery.Notifiers, []string{"log", "webhook"}) || len(warnings) != 0 {
		t.Errorf("notifiers %v, warnings %q", c.Delivery.Notifiers, warnings)
	}
	if where := origins.Of("delivery.notifiers").Where; !strings.HasSuffix(where, "config.json: platform") {
		t.Errorf("origin %q", where)
	}

	c, _, _ = mustLoad(t, Options{Home: home(t, "config.json", `{"platform": "hermes", "hermesWebhookUrl": "https://hermes.example/x"}`)})
	if p := c.Plugins["webhook"]; p.Grants.Private || len(p.Secrets) != 0 {
		t.Errorf("a public URL without a secret: %+v", p)
	}
	c, _, warnings = mustLoad(t, Options{Home: home(t, "config.json", `{"platform": "openclaw", "hermesWebhookSecret": "s3cret"}`)})
	if len(c.Plugins) != 0 || len(warnings) != 1 || strings.Contains(string(warnings[0]), "s3cret") {
		t.Errorf("another platform: plugins %v, warnings %q", c.Plugins, warnings)
	}
}

// Times that the TypeScript gateway takes do not stop the start.
func TestTypeScriptHealthTimes(t *testing.T) {
	for text, want := range map[string][2]time.Duration{
		`{"healthCheck": {"intervalMs": 5000}}`:                    {5 * time.Second, 5 * time.Second},
		`{"healthCheck": {"intervalMs": 5000, "timeoutMs": 8000}}`: {5 * time.Second, 5 * time.Second},
		`{"healthCheck": {"intervalMs": 100}}`:                     {time.Second, time.Second},
		`{"healthCheck": {"intervalMs": 0}}`:                       {time.Second, time.Second},
		`{"healthCheck": {"timeoutMs": 600000}}`:                   {5 * time.Minute, 5 * time.Minute},
		`{"healthCheck": {"intervalMs": 60000}}`:                   {time.Minute, 10 * time.Second},
		`{}`:                                                       {5 * time.Minute, 10 * time.Second},
	} {
		c, _, _ := mustLoad(t, Options{Home: home(t, "config.json", text)})
		if got := [2]time.Duration{c.Health.Interval, c.Health.Timeout}; got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
	for _, text := range []string{`{"healthCheck": {"maxConsecutiveFailures": 0}}`, `{"healthCheck": {"maxConsecutiveFailures": -2}}`} {
		if c, _, _ := mustLoad(t, Options{Home: home(t, "config.json", text)}); c.Health.Failures != 1 {
			t.Errorf("%s: %d failures, want 1", text, c.Health.Failures)
		}
	}
	if p := problemsOf(t, Options{Home: home(t, "config.json", `{"healthCheck": {"intervalMs": "soon"}}`)}); len(p) != 1 {
		t.Errorf("problems %q, want the interval's", p)
	}
}

// A topic that nobody has named stays closed, as it is without a word since 0.4.3.
func TestTypeScriptClosedTopics(t *testing.T) {
	usual := map[string]string{"general": "summary", "testing": "full"}
	for text, want := range map[string]scope.Levels{
		`{}`: {Default: "off", Topics: usual},
		`{"agentComms": {"globalPolicy": {"x": {"level": "full"}}}}`: {Default: "off", Topics: map[string]string{"x": "full"}},
		`{"agentComms": {"defaultLevel": "summary"}}`:                {Default: "summary", Topics: usual},
	} {
		c, _, _ := mustLoad(t, Options{Home: home(t, "config.json", text)})
		if c.AgentComms.Default != want.Default || len(c.AgentComms.Topics) != len(want.Topics) || len(want.Topics) > 0 && !reflect.DeepEqual(c.AgentComms.Topics, want.Topics) {
			t.Errorf("%s: %+v, want %+v", text, c.AgentComms, want)
		}
	}
	if c, _, _ := mustLoad(t, Options{Home: home(t, "config.toml", "")}); c.AgentComms.Default != "summary" {
		t.Errorf("config.toml: %q, want our default", c.AgentComms.Default)
	}
}
