package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/hooks"
)

// What is wanted as it was is the same text, so that a reload leaves it alone and cuts no
// running call of it.
func TestWantedAgainIsTheSame(t *testing.T) {
	d := &Daemon{}
	d.current.Store(&loadedConfig{Config: &config.Config{}})
	c := config.PluginConfig{Path: "/x.wasm", Config: map[string]any{"url": "https://a.example", "topic": "t", "click": "c", "more": map[string]any{"x": 1, "y": 2, "z": 3}}}
	first := ""
	for range 50 {
		w, err := d.configured("x", c, nil)
		if err != nil {
			t.Fatal(err)
		}
		if first == "" {
			first = string(w.Spec.Config)
		}
		if got := string(w.Spec.Config); got != first {
			t.Fatalf("the same settings are %s and then %s", first, got)
		}
	}
}

// The default notifier leaves to each a2a notifier what that takes, whatever they are called
// and wherever their module is from; one that nobody is notified through takes nothing.
func TestSeveralA2A(t *testing.T) {
	dir := t.TempDir()
	own := filepath.Join(dir, "own")
	if err := os.Mkdir(own, 0o700); err != nil {
		t.Fatal(err)
	}
	shipped := shippedOpenClaw(t)
	wasm, manifest, _ := shipped(a2aPlugin)
	for name, text := range map[string][]byte{"own/a2a.wasm": wasm, "own/plugin.toml": manifest, "config.toml": []byte(`
[delivery]
notifiers = ["openclaw", "a2a", "hermes", "own"]
[plugins.a2a.config]
url = "https://one.example/a2a"
intents = ["agent-comms"]
[plugins.hermes]
shipped = "a2a"
[plugins.hermes.config]
url = "https://two.example/a2a"
peers = ["carol"]
[plugins.own]
path = "own/a2a.wasm"
[plugins.own.grants]
replies = true
[plugins.own.config]
intents = ["task-request"]
[plugins.unheard]
shipped = "a2a"
`)} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d, err := configured(Options{Dir: dir, Shipped: shipped, Config: config.Options{Home: dir, Env: []string{"HOME=" + dir}}})
	if err != nil {
		t.Fatal(err)
	}
	wanted, err := d.wantedWith(nil)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, w := range wanted {
		conf := string(w.Spec.Config)
		switch w.Spec.Name {
		case openclawPlugin:
			found++
			for _, want := range []string{`{"intents":["agent-comms"],"peers":null}`, `{"intents":null,"peers":["carol"]}`, `{"intents":["task-request"],"peers":null}`} {
				if !strings.Contains(conf, want) {
					t.Errorf("the webhooks have %s; want in it %s", conf, want)
				}
			}
			if n := strings.Count(conf, `"intents":`); n != 3 {
				t.Errorf("the webhooks leave messages to %d others, want 3: %s", n, conf)
			}
		case "hermes":
			found++
			if g := w.Spec.Grants.HTTP; len(g) != 1 || g[0].URL != "https://two.example/a2a" || len(w.Spec.Bytes) == 0 || w.Source != hooks.FromBinary {
				t.Errorf("hermes is from %s with grants %+v, want the shipped module at its own URL", w.Source, g)
			}
		}
	}
	if found != 2 {
		t.Errorf("%d of openclaw and hermes are wanted, want both", found)
	}
}

// What shipped says is there, and is said once.
func TestShippedIsSaidOnce(t *testing.T) {
	for name, c := range map[string]config.PluginConfig{
		"hermes": {Shipped: "nothing"},
		"own":    {Shipped: a2aPlugin, Path: "/x.wasm"},
		"a2a":    {Shipped: openclawPlugin},
	} {
		d, err := configured(Options{Dir: t.TempDir(), Shipped: shippedOpenClaw(t), Config: config.Options{Env: []string{"HOME=/nowhere"}}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.configured(name, c, nil); err == nil {
			t.Errorf("%s, %+v is taken", name, c)
		}
	}
}
