package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/core/config"
)

// openclaw_answers gives the a2a notifier its URL, its intents and the power to answer, and
// the webhooks leave to it what it takes; what OpenClaw's own file lacks for it is said with
// the command that sets it.
func TestOpenClawAnswers(t *testing.T) {
	for _, c := range []struct {
		openclaw, answers, intents, token, lacks string
	}{
		{`{gateway: {port: 7}, channels: {a2a: {enabled: true, peers: {ogp: {token: "${A2A}"}}}}}`, "all", "", "sekrit", ""},
		{`{channels: {a2a: {enabled: true, peers: {ogp: {token: "x"}}}}}`, "agent-comms,task-request", "agent-comms,task-request", "x", ""},
		{`{channels: {a2a: {enabled: true, peers: {hermes: {token: "x"}}}}}`, "all", "", "", "channels.a2a.peers.ogp.token"},
		{`{channels: {a2a: {peers: {ogp: {token: "x"}}}}}`, "all", "", "x", "channels.a2a.enabled true"},
		{`{}`, "", "", "", ""},
	} {
		dir := t.TempDir()
		file := filepath.Join(dir, "openclaw.json")
		if err := os.WriteFile(file, []byte(c.openclaw), 0o600); err != nil {
			t.Fatal(err)
		}
		env := []string{"HOME=" + dir, "OPENCLAW_CONFIG_PATH=" + file, "A2A=sekrit", "OGP_OPENCLAW_ANSWERS=" + c.answers, "OGP_DELIVERY_NOTIFIERS=log,openclaw"}
		d, err := configured(Options{Dir: dir, Shipped: shippedOpenClaw(t), Config: config.Options{Home: dir, Env: env}})
		if err != nil {
			t.Fatal(err)
		}
		var fixes []string
		for _, p := range d.a2aOff() {
			fixes = append(fixes, p.Fix)
		}
		if got := strings.Join(fixes, " "); !strings.Contains(got, c.lacks) || (got == "") != (c.lacks == "") {
			t.Errorf("%s lacks %q, want %q", c.openclaw, got, c.lacks)
		}
		wanted, err := d.wantedWith(nil)
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, w := range wanted {
			conf := string(w.Spec.Config)
			if w.Spec.Name == openclawPlugin && strings.Contains(conf, `"elsewhere"`) != (c.answers != "") {
				t.Errorf("%q: the webhooks have %s", c.answers, conf)
			}
			if w.Spec.Name != a2aPlugin {
				continue
			}
			found = true
			url := "http://localhost:18789/a2a/v1"
			if strings.Contains(c.openclaw, "port: 7") {
				url = "http://localhost:7/a2a/v1"
			}
			token, _ := w.Spec.Secrets("a2a_token")
			if g := w.Spec.Grants; !g.Replies || len(g.HTTP) != 1 || g.HTTP[0].URL != url || !g.HTTP[0].Private || len(g.KV) == 0 || token != c.token {
				t.Errorf("%s: grants %+v, token %q; want %s, the power to answer and %q", c.openclaw, g, token, url, c.token)
			}
			if want := `"intents":["` + strings.ReplaceAll(c.intents, ",", `","`) + `"]`; strings.Contains(conf, `"intents"`) != (c.intents != "") || c.intents != "" && !strings.Contains(conf, want) {
				t.Errorf("%q: its configuration is %s", c.answers, conf)
			}
		}
		if found != (c.answers != "") {
			t.Errorf("%q: the a2a notifier is wanted: %v", c.answers, found)
		}
	}
}
