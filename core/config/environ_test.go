package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Others set variables that begin with OGP_, too: they are told of and keep nothing
// from starting, unless the name is nearly a setting's.
func TestUnknownVariablesAreWarnings(t *testing.T) {
	c, _, w := mustLoad(t, Options{Home: t.TempDir(), Env: []string{"OGP_QQQQQQ=1", "OGP_WEB_PROXY=x"}})
	if len(w) != 2 || !strings.Contains(string(w[0]), "OGP_QQQQQQ") || c.DaemonPort != Default().DaemonPort {
		t.Errorf("warnings %q, want one for each variable", w)
	}
	for _, env := range []string{"OGP_DAEMON_PROT=1", "OGP_GATEWAY_ULR=x", "OGP_LOG_LEVLE=info", "OGP_EMIAL=x"} {
		if p := problemsOf(t, Options{Home: t.TempDir(), Env: []string{env}}); len(p) != 1 || !strings.HasPrefix(p[0].Hint, "did you mean OGP_") {
			t.Errorf("%s: %q, want a mistake with what was meant", env, p)
		}
	}
	if p := problemsOf(t, Options{Home: t.TempDir(), Strict: true, Env: []string{"OGP_QQQQQQ=1"}}); len(p) != 1 {
		t.Errorf("strict: %q, want one mistake", p)
	}
}

// Kubernetes sets these in every container beside a Service named ogp, ogp-daemon or
// ogp-rendezvous; the second hits a setting.
func TestVariablesOfKubernetesAreIgnored(t *testing.T) {
	for _, service := range []string{"OGP", "OGP_DAEMON", "OGP_RENDEZVOUS", "OGP_METRICS"} {
		env := []string{service + "_SERVICE_HOST=10.96.3.7", service + "_SERVICE_PORT=18790", service + "_SERVICE_PORT_HTTP=18790",
			service + "_PORT=tcp://10.96.3.7:18790", service + "_PORT_18790_TCP=tcp://10.96.3.7:18790", service + "_PORT_18790_TCP_PROTO=tcp",
			service + "_PORT_18790_TCP_PORT=18790", service + "_PORT_18790_TCP_ADDR=10.96.3.7"}
		for _, strict := range []bool{false, true} {
			c, _, w := mustLoad(t, Options{Home: t.TempDir(), Env: env, Strict: strict})
			if c.DaemonPort != Default().DaemonPort || len(w) != 1 || !strings.Contains(string(w[0]), "enableServiceLinks") {
				t.Errorf("%s: port %d, warnings %q; want the default and one note", service, c.DaemonPort, w)
			}
		}
	}
}

// An empty variable is an unset one, whatever its type.
func TestEmptyVariablesAreUnset(t *testing.T) {
	var env []string
	for _, s := range Settings() {
		if s.Env != "" {
			env = append(env, s.Env+"=")
		}
	}
	dir := home(t, "config.toml", "daemon_port = 7\nemail = \"a@example.org\"\n[rendezvous]\nurl = \"https://r.example\"\nenabled = true")
	c, _, w := mustLoad(t, Options{Home: dir, Env: append(env, "OGP_UNKNOWN_ONE=")})
	if c.DaemonPort != 7 || c.Email != "a@example.org" || !c.Rendezvous.Enabled || len(w) != 0 {
		t.Errorf("empty variables change %+v (warnings %q), want what the file says", c, w)
	}
}

func TestYesAndNo(t *testing.T) {
	for text, want := range map[string]bool{"true": true, "TRUE": true, "yes": true, "Yes": true, "on": true, "ON": true, "1": true,
		"false": false, "False": false, "no": false, "NO": false, "off": false, "Off": false, "0": false} {
		c, _, _ := mustLoad(t, Options{Home: t.TempDir(), Env: []string{"OGP_COMPAT_PLAIN_REQUESTS=" + text}})
		if c.Compat.PlainRequests != want {
			t.Errorf("%s reads as %v", text, c.Compat.PlainRequests)
		}
	}
}

func TestByteOrderMarkIsSkipped(t *testing.T) {
	const bom = "\xEF\xBB\xBF"
	for name, text := range map[string]string{"config.toml": bom + "daemon_port = 7", "config.json": bom + `{"daemonPort": 7}`} {
		if c, _, _ := mustLoad(t, Options{Home: home(t, name, text)}); c.DaemonPort != 7 {
			t.Errorf("%s with a byte order mark: port %d, want 7", name, c.DaemonPort)
		}
	}
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(bom+"hunter2\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := NewSecret("file:" + path).Reveal(); err != nil || got != "hunter2" {
		t.Errorf("Reveal of a file with a byte order mark = %q, %v", got, err)
	}
}

func TestCheckSecrets(t *testing.T) {
	t.Setenv("A_TOKEN_THAT_IS_SET", "x")
	dir := home(t, "config.toml", `openclaw_token = "${A_TOKEN_THAT_IS_NOT_SET}"
openclaw_hooks_token = "${A_TOKEN_THAT_IS_SET}"
[plugins.x.secrets]
a = "file:/nowhere/at/all"
b = "hunter2"
[plugins.off]
enabled = false
secrets = { a = "file:/nowhere/either" }`)
	c, origins, _ := mustLoad(t, Options{Home: dir})
	p := c.CheckSecrets(origins)
	var keys []string
	for _, one := range p {
		keys = append(keys, one.Key)
	}
	if want := []string{"openclaw_token", "plugins.x.secrets.a"}; !slices.Equal(keys, want) {
		t.Fatalf("CheckSecrets names %q, want %q", keys, want)
	}
	if text := p.Error(); !strings.Contains(text, "config.toml:1: openclaw_token: the environment variable A_TOKEN_THAT_IS_NOT_SET is not set") ||
		!strings.Contains(text, "/nowhere/at/all") || strings.Contains(text, "hunter2") {
		t.Errorf("CheckSecrets says %s", text)
	}
}

func TestBrokenTOMLSaysLineAndWhatIsMeant(t *testing.T) {
	for line, want := range map[string]string{
		`gateway_url = https://a.example`:      "quotes",
		`display_name = Ada`:                   "quotes",
		"display_name = \u201CAda\u201D":       "plain quotes",
		`display_name: "Ada"`:                  `"="`,
		`display_name = "Ada`:                  "closing quote",
		`daemon_port =`:                        "a value is missing",
		`[log`:                                 "ends with ]",
		`rendezvous.enabled = yes`:             "true or false",
		`rendezvous.enabled = True`:            "small letters",
		`tls.cert = "C:\Users\x.pem"`:          "single quotes",
		"[log]\n[log]":                         "once",
		"email = \"a@b\"\nemail = \"c@d\"":     "once",
		"[network]\nallow_private = [\"10/8\"": "",
	} {
		p := problemsOf(t, Options{Home: home(t, "config.toml", "# one\n# two\n"+line)})
		if len(p) != 1 || !strings.Contains(p[0].Where, "config.toml:") || strings.Contains(p[0].What, "toml: ") {
			t.Errorf("%q: %q, want one mistake with its line", line, p)
			continue
		}
		if !strings.Contains(p[0].Hint, want) {
			t.Errorf("%q: hint %q, want %q", line, p[0].Hint, want)
		}
	}
}

func TestGoneSettingsAreWarnings(t *testing.T) {
	dir := home(t, "config.toml", "[compat]\nunsigned_approvals = true")
	_, _, w := mustLoad(t, Options{Home: dir, Strict: true, Env: []string{"OGP_COMPAT_UNSIGNED_APPROVALS=1"}})
	if len(w) != 2 || !strings.Contains(string(w[0]), "config.toml:2: compat.unsigned_approvals is gone") {
		t.Errorf("warnings %q, want one for the file and one for the variable", w)
	}
}
