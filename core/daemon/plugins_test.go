package daemon

import (
	"testing"

	"github.com/opengatewayprotocol/ogp/core/config"
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
