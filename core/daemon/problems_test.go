package daemon

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/delivery"
)

// A test call that failed as events did is over with their next success; what only a test
// finds, a model that does not work, stands until a test goes well.
func TestWhatATestFoundEnds(t *testing.T) {
	at := time.Now()
	later, before := delivery.Health{LastSuccess: at.Add(time.Second)}, delivery.Health{LastSuccess: at.Add(-time.Second)}
	for _, x := range []struct {
		result testResult
		health delivery.Health
		want   bool
	}{
		{testResult{at: at, detail: "401", failed: true}, later, false},
		{testResult{at: at, detail: "401", failed: true}, before, true},
		{testResult{at: at, detail: "its model did not run it"}, later, true},
		{testResult{at: at, failed: true}, before, false},
	} {
		if got := x.result.stands(x.health); got != x.want {
			t.Errorf("%+v with the last success %v after it stands: %t, want %t", x.result, x.health.LastSuccess.Sub(at), got, x.want)
		}
	}
}

// A secret that nobody has named stops no notifier, and its URL that is not granted does.
func TestWhatANotifierLacks(t *testing.T) {
	const url = "http://localhost:1/x"
	for _, x := range []struct {
		missing         []string
		powers, secrets int
	}{
		{nil, 0, 0},
		{[]string{"secret webhook_secret for " + url}, 0, 1},
		{[]string{"http " + url, "http " + url + " at private addresses", "secret webhook_secret for " + url}, 2, 0},
		{[]string{"http " + url + " at private addresses", "secret webhook_secret for " + url}, 1, 1},
		{[]string{"kv.get"}, 1, 0},
	} {
		if powers, secrets := lacking(x.missing); len(powers) != x.powers || len(secrets) != x.secrets {
			t.Errorf("%q: powers %q, secrets %q", x.missing, powers, secrets)
		}
	}
}

// With a URL that is granted by hand go the secrets that the plugin may be given, also one
// that the operator has named elsewhere, as OpenClaw's.
func TestGrantsByHandLackNoSecret(t *testing.T) {
	dir := t.TempDir()
	config := config.Options{Home: dir, Env: []string{"HOME=" + dir}}
	text := "[plugins.openclaw.grants]\nhttp = [\"http://localhost:18789/hooks/\"]\nprivate = true\n"
	if err := os.WriteFile(filepath.Join(dir, "config.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := configured(Options{Dir: dir, Shipped: shippedOpenClaw(t), Config: config})
	if err != nil {
		t.Fatal(err)
	}
	w, err := d.configured(openclawPlugin, d.config().Plugins[openclawPlugin], nil)
	if err != nil {
		t.Fatal(err)
	}
	if missing := w.Spec.Grants.Missing(w.Spec.Manifest.Asks()); len(missing) > 0 {
		t.Errorf("it lacks %q", missing)
	}
}
