package config

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/spf13/pflag"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/scope"
)

// home makes a state directory with the files given as name, text, name, text.
func home(t testing.TB, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		if err := os.WriteFile(filepath.Join(dir, files[i]), []byte(files[i+1]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func flagSet(t testing.TB, args ...string) *pflag.FlagSet {
	t.Helper()
	set := pflag.NewFlagSet("start", pflag.ContinueOnError)
	Flags(set)
	set.Bool("background", false, "a flag of the command's own")
	if err := set.Parse(args); err != nil {
		t.Fatal(err)
	}
	return set
}

func mustLoad(t testing.TB, o Options) (*Config, Origins, []Warning) {
	t.Helper()
	if o.Env == nil {
		o.Env = []string{}
	}
	c, origins, warnings, err := Load(o)
	if err != nil {
		t.Fatal(err)
	}
	return c, origins, warnings
}

// problemsOf loads and returns the mistakes that it must bring.
func problemsOf(t testing.TB, o Options) Problems {
	t.Helper()
	if o.Env == nil {
		o.Env = []string{}
	}
	_, _, _, err := Load(o)
	var p Problems
	if !errors.As(err, &p) {
		t.Fatalf("Load = %v, want Problems", err)
	}
	return p
}

func TestLoadWithoutAnythingGivesTheDefaults(t *testing.T) {
	c, origins, warnings := mustLoad(t, Options{Home: t.TempDir()})
	if c.DisplayName == "" {
		t.Error("no display name, want user@host")
	}
	want := Default()
	want.DisplayName = c.DisplayName
	if !reflect.DeepEqual(*c, want) {
		t.Errorf("Load = %+v\nwant %+v", *c, want)
	}
	if len(origins) != 0 || len(warnings) != 0 {
		t.Errorf("origins %v, warnings %v, want none", origins, warnings)
	}
	if c.ListenAddress() != "127.0.0.1:18790" || c.OwnURL(18790) != "http://localhost:18790" {
		t.Errorf("listen on %q as %q", c.ListenAddress(), c.OwnURL(18790))
	}
}

func TestDefaultsHoldTheirOwnChecks(t *testing.T) {
	l := &loader{cfg: Default(), origins: Origins{}}
	l.validate()
	if len(l.problems) > 0 {
		t.Error(l.problems)
	}
	for _, s := range Settings() {
		if s.Doc == "" || s.Unit == "" {
			t.Errorf("%s has no doc or unit", s.Key)
		}
		if form := s.field.Tag.Get("check"); form != "" && !strings.HasSuffix(form, "..") && checks[form] == nil {
			t.Errorf("%s: no check %q", s.Key, form)
		}
	}
	for _, typ := range []reflect.Type{reflect.TypeFor[Agent](), reflect.TypeFor[PluginConfig](), reflect.TypeFor[PluginGrants]()} {
		for i := range typ.NumField() {
			f := typ.Field(i)
			if form := f.Tag.Get("check"); f.Tag.Get("koanf") == "" || f.Tag.Get("doc") == "" ||
				form != "" && !strings.HasSuffix(form, "..") && checks[form] == nil {
				t.Errorf("%s.%s: tag %q", typ.Name(), f.Name, f.Tag)
			}
		}
	}
}

func TestNamesOfSettingsAreDistinct(t *testing.T) {
	seen := map[string]string{}
	for _, s := range Settings() {
		for _, name := range []string{s.Env, s.Flag} {
			if name == "" {
				continue
			}
			if notSettings[name] || strings.HasPrefix(name, testPrefix) {
				t.Errorf("%s: the variable %s is read elsewhere", s.Key, name)
			}
			if other, ok := seen[name]; ok {
				t.Errorf("%s and %s share the name %s", s.Key, other, name)
			}
			seen[name] = s.Key
		}
	}
	for key := range everyday {
		if schema().byKey[key] == nil {
			t.Errorf("everyday names %q, which is no setting", key)
		}
	}
	for theirs, ours := range typescriptKeys {
		if schema().byKey[ours] == nil {
			t.Errorf("config.json's %s maps to %q, which is no setting", theirs, ours)
		}
	}
}

func TestLayersOverrideInOrder(t *testing.T) {
	dir := home(t, "config.toml", "daemon_port = 1111\n\n[log]\nlevel = \"warn\"\nformat = \"json\"\n[freshness]\nwindow = \"2m\"\n")
	env := []string{"OGP_DAEMON_PORT=2222", "OGP_LOG_LEVEL=error", "PATH=/bin", "OGP_HOME=/elsewhere", "OGP_KEY_PASSPHRASE=x", "OGP_KEYPAIR_SECRET=y", "OGP_E2E_ANY=1"}
	c, origins, _ := mustLoad(t, Options{Home: dir, Env: env, Flags: flagSet(t, "--daemon-port", "3333", "--background")})
	if c.DaemonPort != 3333 || c.Log.Level != "error" || c.Log.Format != "json" || c.Freshness.Window != 2*time.Minute || c.Health.Failures != 3 {
		t.Errorf("got port %d, log %+v, window %s, failures %d", c.DaemonPort, c.Log, c.Freshness.Window, c.Health.Failures)
	}
	path := filepath.Join(dir, "config.toml")
	for key, want := range map[string]Origin{
		"daemon_port":      {LayerFlag, "--daemon-port"},
		"log.level":        {LayerEnv, "OGP_LOG_LEVEL"},
		"log.format":       {LayerFile, path + ":5"},
		"freshness.window": {LayerFile, path + ":7"},
		"health.failures":  {LayerDefault, ""},
	} {
		if got := origins.Of(key); got != want {
			t.Errorf("origin of %s = %+v, want %+v", key, got, want)
		}
	}
}

func TestAListOrTableReplacesTheDefault(t *testing.T) {
	dir := home(t, "config.toml", "[agent_comms]\ntopics = { \"project.x\" = \"full\" }\n[grants.default]\nintents = []\n[delivery]\nnotifiers = [\"openclaw\", \"log\"]")
	c, _, _ := mustLoad(t, Options{Home: dir})
	if want := map[string]string{"project.x": "full"}; !reflect.DeepEqual(c.AgentComms.Topics, want) {
		t.Errorf("topics = %v, want %v", c.AgentComms.Topics, want)
	}
	if len(c.Grants.Default.Intents) != 0 || !slices.Equal(c.Delivery.Notifiers, []string{"openclaw", "log"}) {
		t.Errorf("intents %v, notifiers %v", c.Grants.Default.Intents, c.Delivery.Notifiers)
	}
}

func TestListForms(t *testing.T) {
	for value, want := range map[string][]string{
		"message,agent-comms":        {"message", "agent-comms"},
		` message , agent-comms,`:    {"message", "agent-comms"},
		`["message", "agent-comms"]`: {"message", "agent-comms"}, // as the file has it
		`['message']`:                {"message"},
		`[""]`:                       {},
		"":                           {},
	} {
		if got := splitList(value); !slices.Equal(got, want) {
			t.Errorf("splitList(%q) = %q, want %q", value, got, want)
		}
	}
}

func TestEnvironmentForms(t *testing.T) {
	c, origins, _ := mustLoad(t, Options{Home: t.TempDir(), Env: []string{
		"OGP_NETWORK_ALLOW_PRIVATE=127.0.0.0/8, fd00::/8,10.1.2.3",
		"OGP_PUBLIC_URL=https://me.example",
		"OGP_RENDEZVOUS_ENABLED=1",
		"OGP_RENDEZVOUS_URL=https://rendezvous.example",
		"OGP_GRANTS_DEFAULT_RATE=5/60",
		"OGP_AGENT_COMMS_TOPICS=a=full, b = deny",
		"OGP_INTENTS=",
		"OGP_INBOX_KEEP=1d12h",
		"OGP_OPENCLAW_TOKEN=${OGP_MY_TOKEN}",
		"OGP_MY_TOKEN=hunter2",
	}})
	want := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("10.1.2.3/32")}
	if !slices.Equal(c.Network.AllowPrivate, want) {
		t.Errorf("allow_private = %v, want %v", c.Network.AllowPrivate, want)
	}
	if c.Rendezvous.PublicURL != "https://me.example" || origins.Of("rendezvous.public_url").Where != "OGP_PUBLIC_URL" || !c.Rendezvous.Enabled {
		t.Errorf("rendezvous = %+v from %v", c.Rendezvous, origins.Of("rendezvous.public_url"))
	}
	if c.Grants.Default.Rate != (core.RateLimit{Requests: 5, WindowSeconds: 60}) || c.Inbox.Keep != 36*time.Hour || len(c.Intents) != 0 {
		t.Errorf("rate %v, keep %v, intents %v", c.Grants.Default.Rate, c.Inbox.Keep, c.Intents)
	}
	if !reflect.DeepEqual(c.AgentComms.Topics, map[string]string{"a": "full", "b": "deny"}) {
		t.Errorf("topics = %v", c.AgentComms.Topics)
	}
}

func TestPublicURLAliasMustAgree(t *testing.T) {
	p := problemsOf(t, Options{Home: t.TempDir(), Env: []string{"OGP_PUBLIC_URL=https://a.example", "OGP_RENDEZVOUS_PUBLIC_URL=https://b.example"}})
	if p[0].Key != "rendezvous.public_url" {
		t.Error(p)
	}
	mustLoad(t, Options{Home: t.TempDir(), Env: []string{"OGP_PUBLIC_URL=https://a.example", "OGP_RENDEZVOUS_PUBLIC_URL=https://a.example"}})
}

func TestUnknownNamesComeWithPlaceAndNearest(t *testing.T) {
	for _, tt := range []struct{ toml, env, key, line, hint string }{
		{toml: "\n\ndaemonport = 1", key: "daemonport", line: ":3", hint: `"daemon_port"`},
		{toml: "daemonPort = 1", key: "daemonPort", line: ":1", hint: `"daemon_port"`},
		{toml: "rendezvous_url = \"\"", key: "rendezvous_url", line: ":1", hint: `"rendezvous.url"`},
		{toml: "[log]\nlevel=\"info\"\n[network]\n# a comment\nallow_privat = []", key: "network.allow_privat", line: ":5", hint: `"network.allow_private"`},
		{toml: "network = { allow_privat = [] }", key: "network.allow_privat", line: ":1", hint: `"network.allow_private"`},
		{toml: "network.allow_privat = []", key: "network.allow_privat", line: ":1", hint: `"network.allow_private"`},
		{toml: "[rendevous]\nenabled=true", key: "rendevous", line: ":1", hint: `"rendezvous"`},
		{toml: "[log]\nfreshness = 1", key: "log.freshness", line: ":2", hint: ""},
		{toml: "[[agents]]\nid=\"a\"\nrole=\"primary\"\n[[agents]]\nid=\"b\"\nrole=\"specialist\"\nskils=[]", key: "agents[1].skils", line: ":7", hint: `"agents[1].skills"`},
		{toml: "[plugins.x]\npath=\"p\"\n[plugins.x.grants]\nhtp=[]", key: "plugins.x.grants.htp", line: ":4", hint: `"plugins.x.grants.http"`},
		{toml: "\"\\u0000\" = 1", key: "\x00", line: ":1", hint: ""},
		{env: "OGP_DAEMON_PROT=1", key: "OGP_DAEMON_PROT", hint: "OGP_DAEMON_PORT"},
		{env: "OGP_ALLOW_PRIVATE=1", key: "OGP_ALLOW_PRIVATE", hint: ""},
		{env: "OGP_QQQQQQ=1", key: "OGP_QQQQQQ", hint: "unset"},
		{env: "OGP_AGENTS=1", key: "OGP_AGENTS", hint: "config.toml"},
		{env: "OGP_PLUGINS_X_PATH=1", key: "OGP_PLUGINS_X_PATH", hint: "config.toml"},
	} {
		o := Options{Home: home(t, "config.toml", tt.toml), Strict: true}
		if tt.env != "" {
			o.Env = []string{tt.env}
		}
		p := problemsOf(t, o)
		if len(p) != 1 || p[0].Key != tt.key {
			t.Errorf("%q%s: problems %q, want one with key %q", tt.toml, tt.env, p, tt.key)
			continue
		}
		if !strings.HasSuffix(p[0].Where, tt.line) || !strings.Contains(p.Hint(), tt.hint) {
			t.Errorf("%q%s: at %q, hint %q; want line %q, hint %s", tt.toml, tt.env, p[0].Where, p.Hint(), tt.line, tt.hint)
		}
		if !strings.Contains(p.Error(), p[0].Where) {
			t.Errorf("%q%s: %q does not say where", tt.toml, tt.env, p)
		}
	}
}

func TestUnknownFlagComesWithNearest(t *testing.T) {
	set := pflag.NewFlagSet("start", pflag.ContinueOnError)
	Flags(set)
	var e *core.Error
	err := FlagError(set, set.Parse([]string{"--daemon-prot", "1"}))
	if !errors.As(err, &e) || e.Hint != "did you mean --daemon-port?" || e.Public != "unknown flag --daemon-prot" {
		t.Errorf("err = %#v, want the nearest flag", e)
	}
	for _, args := range [][]string{{"-x"}, {"-xy", "1"}} {
		if err = FlagError(set, set.Parse(args)); !errors.As(err, &e) || e.Hint != "" || e.Public != "unknown flag -x" {
			t.Errorf("%v: err = %#v, want the letter", args, e)
		}
	}
	set.Bool("yes", false, "")
	for arg, want := range map[string]string{"-z": "unknown flag -z", "--yes=perhaps": `--yes "perhaps": want true or false`, "--daemon-port": "--daemon-port needs a value: --daemon-port <TCP-port>"} {
		if err := FlagError(set, set.Parse([]string{arg})); !errors.As(err, &e) || e.Public != want {
			t.Errorf("%s: %v, want %s", arg, err, want)
		}
	}
	plain := errors.New("x")
	if FlagError(set, plain) != plain || FlagError(set, nil) != nil {
		t.Error("other errors are changed")
	}
}

func TestWrongValuesNameKeyValueAndWhatIsWanted(t *testing.T) {
	for _, tt := range []struct{ toml, env, key, want string }{
		{toml: `daemon_port = "abc"`, key: "daemon_port", want: `= "abc": want a whole number`},
		{toml: `daemon_port = "18790"`, key: "daemon_port", want: `want a whole number`},
		{toml: `daemon_port = 1.5`, key: "daemon_port", want: `want a whole number`},
		{toml: `daemon_port = 70000`, key: "daemon_port", want: `= 70000: want a port`},
		{toml: `daemon_port = -1`, key: "daemon_port", want: `want a port`},
		{toml: `daemon_port = 2024-01-01`, key: "daemon_port", want: `want a whole number`},
		{toml: `listen = "1.2.3.4:80"`, key: "listen", want: `without a port`},
		{toml: `gateway_url = "ftp://x"`, key: "gateway_url", want: `http or https`},
		{toml: `gateway_url = "localhost:80"`, key: "gateway_url", want: `http or https`},
		{toml: `gateway_url = "http://u:hunter2@x/"`, key: "gateway_url", want: `without user name`},
		{toml: `gateway_url = "http://x/?token=1"`, key: "gateway_url", want: `query`},
		{toml: `email = true`, key: "email", want: `= true: want text`},
		{toml: `display_name = "a\u001b[31m"`, key: "display_name", want: `control characters`},
		{toml: `intents = "a"`, key: "intents", want: `want a list, each text`},
		{toml: `intents = ["a b"]`, key: "intents", want: `an intent`},
		{toml: `intents = [1]`, key: "intents", want: `a list, each text`},
		{toml: `log = 1`, key: "log", want: `want a table`},
		{toml: `plugins = []`, key: "plugins", want: `want a table`},
		{toml: `plugins.x = 1`, key: "plugins.x", want: `want a table`},
		{toml: `agents = 1`, key: "agents", want: `[[agents]]`},
		{toml: `agents = [1]`, key: "agents", want: `[[agents]]`},
		{toml: `network.allow_private = ["10.0.0.0/33"]`, key: "network.allow_private", want: `a range such as`},
		{toml: `network.allow_private = ["fe80::1%eth0"]`, key: "network.allow_private", want: `a range such as`},
		{toml: `freshness.window = 5`, key: "freshness.window", want: `a duration such as`},
		{toml: `freshness.window = "5 minutes"`, key: "freshness.window", want: `a duration such as`},
		{toml: `freshness.window = "-5m"`, key: "freshness.window", want: `a duration such as`},
		{toml: `freshness.window = "0s"`, key: "freshness.window", want: `at least 1s`},
		{toml: `freshness.remember = "23h"`, key: "freshness.remember", want: `at least 24h`},
		{toml: `freshness.window = "13h"`, key: "freshness.remember", want: `twice freshness.window`},
		{toml: `inbox.keep = "999999999999d"`, key: "inbox.keep", want: `a duration such as`},
		{toml: `grants.default.rate = "100"`, key: "grants.default.rate", want: `requests/seconds`},
		{toml: `grants.default.rate = "0/60"`, key: "grants.default.rate", want: `requests/seconds`},
		{toml: `grants.default.rate = "1/0"`, key: "grants.default.rate", want: `1 second to 31 days`},
		{toml: `agent_comms.default_level = "loud"`, key: "agent_comms.default_level", want: `= "loud": want full, summary`},
		{toml: `agent_comms.topics = { a = "loud" }`, key: "agent_comms.topics", want: `full, summary`},
		{toml: `agent_comms.topics = { a = 1 }`, key: "agent_comms.topics", want: `each value text`},
		{toml: `log.level = "trace"`, key: "log.level", want: `debug, info`},
		{toml: `limits.pending_total = 0`, key: "limits.pending_total", want: `at least 1`},
		{toml: `compat.host_port_ids = ["host"]`, key: "compat.host_port_ids", want: `host:port`},
		{toml: `compat.plain_requests = "yes"`, key: "compat.plain_requests", want: `true or false`},
		{toml: `outbox.first_retry = "1h"`, key: "outbox.first_retry", want: `outbox.max_retry`},
		{toml: `health.timeout = "1h"`, key: "health.timeout", want: `health.interval`},
		{toml: `rendezvous.enabled = true`, key: "rendezvous.enabled", want: `rendezvous.url`},
		{toml: `plugins."A B" = {}`, key: "plugins.A B", want: `a name of`},
		{toml: `plugins.log = {}`, key: "plugins.log", want: `other than log`},
		{toml: `plugins.x.sha256 = "abc"`, key: "plugins.x.sha256", want: `64 hex digits`},
		{toml: `plugins.x.hooks = ["run"]`, key: "plugins.x.hooks", want: `policy, notify, handle`},
		{toml: `plugins.x.grants.http = [""]`, key: "plugins.x.grants.http", want: `http or https`},
		{toml: `plugins.x.config = { at = 2024-01-01 }`, key: "plugins.x.config", want: `lists and tables`},
		{toml: `plugins.x.config = { at = nan }`, key: "plugins.x.config", want: `a finite number`},
		{toml: `openclaw_token = "${not a name}"`, key: "openclaw_token", want: `"${VARIABLE}"`},
		{toml: `openclaw_token = "file:relative"`, key: "openclaw_token", want: `file:/absolute/path`},
		{env: "OGP_DAEMON_PORT=abc", key: "daemon_port", want: `= "abc": want a whole number`},
		{toml: `openclaw_token = "$HOOKS"`, key: "openclaw_token", want: `"${HOOKS}"`},
		{env: "OGP_RENDEZVOUS_ENABLED=perhaps", key: "rendezvous.enabled", want: `true or false`},
		{env: "OGP_NETWORK_ALLOW_PRIVATE=lan", key: "network.allow_private", want: `a comma-separated list`},
		{env: "OGP_AGENT_COMMS_TOPICS=a", key: "agent_comms.topics", want: `name=value`},
		{env: "OGP_DISPLAY_NAME=\xff", key: "display_name", want: `control characters`},
	} {
		o := Options{Home: home(t, "config.toml", tt.toml)}
		if tt.env != "" {
			o.Env = []string{tt.env}
		}
		p := problemsOf(t, o)
		if len(p) != 1 || p[0].Key != tt.key || !strings.Contains(p[0].What, tt.want) || !strings.Contains(p[0].What, tt.key) {
			t.Errorf("%s%s: %q, want key %q and %q", tt.toml, tt.env, p, tt.key, tt.want)
		}
		if strings.Contains(p.Error(), "hunter2") {
			t.Errorf("%s: the error shows a password: %s", tt.toml, p)
		}
		if tt.toml != "" && !strings.Contains(p[0].Where, "config.toml:1") {
			t.Errorf("%s: at %q, want config.toml:1", tt.toml, p[0].Where)
		}
		if name, _, _ := strings.Cut(tt.env, "="); p[0].Where != name && tt.env != "" {
			t.Errorf("%s: at %q, want %s", tt.env, p[0].Where, name)
		}
	}
}

func TestAllMistakesComeAtOnce(t *testing.T) {
	dir := home(t, "config.toml", "daemon_port = \"x\"\nnope = 1\n[log]\nlevel = 3\n")
	p := problemsOf(t, Options{Home: dir, Strict: true, Env: []string{"OGP_NOPE=1"}, Flags: flagSet(t, "--freshness-window", "soon")})
	var keys []string
	for _, one := range p {
		keys = append(keys, one.Key)
	}
	if want := []string{"daemon_port", "log.level", "nope", "freshness.window", "OGP_NOPE"}; !slices.Equal(keys, want) {
		t.Errorf("mistakes %q, want %q", keys, want)
	}
	if n := strings.Count(p.Error(), "\n"); n != len(p)-1 {
		t.Errorf("%d lines, want one for each mistake", n+1)
	}
}

func TestSyntaxErrorsNameTheLine(t *testing.T) {
	for _, text := range []string{"a = 1\nb =\n", "daemon_port = 1\ndaemon_port = 2\n"} {
		p := problemsOf(t, Options{Home: home(t, "config.toml", text)})
		if len(p) != 1 || !strings.HasSuffix(p[0].Where, "config.toml:2") {
			t.Errorf("%q: %q, want config.toml:2", text, p)
		}
	}
	for name, text := range map[string]string{"config.toml": "a = \"\xff\"", "config.json": `{"daemonPort":1,"daemonPort":2}`} {
		if p := problemsOf(t, Options{Home: home(t, name, text)}); !strings.Contains(p[0].Where, name) {
			t.Errorf("%q: %q", text, p)
		}
	}
}

func TestWhichFileIsRead(t *testing.T) {
	dir := home(t, "config.toml", "daemon_port = 1", "config.json", `{"daemonPort": 2}`, "other.toml", "daemon_port = 3", "other.json", `{"daemonPort": 4}`)
	for file, want := range map[string]int{"": 1, "other.toml": 3, "other.json": 4} {
		o := Options{Home: dir}
		if file != "" {
			o.File = filepath.Join(dir, file)
		}
		if c, _, _ := mustLoad(t, o); c.DaemonPort != want {
			t.Errorf("File %q: port %d, want %d", file, c.DaemonPort, want)
		}
	}
	os.Remove(filepath.Join(dir, "config.toml"))
	if c, _, _ := mustLoad(t, Options{Env: []string{"OGP_HOME=" + dir}}); c.DaemonPort != 2 {
		t.Errorf("port %d, want config.json's 2", c.DaemonPort)
	}
	if _, _, _, err := Load(Options{File: filepath.Join(dir, "gone.toml"), Env: []string{}}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is named and missing: %v, want ErrNotExist", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.toml"), bytes.Repeat([]byte("#"), maxFileBytes+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := Load(Options{Home: dir, Env: []string{}}); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("a file too long: %v, want an error", err)
	}
}

func TestHome(t *testing.T) {
	if dir, err := Home([]string{"OGP_HOME=/x"}); err != nil || dir != "/x" {
		t.Errorf("Home = %q, %v, want /x", dir, err)
	}
	t.Setenv("HOME", "/home/ada")
	t.Setenv("OGP_HOME", "")
	if dir, err := Home(nil); err != nil || dir != filepath.Join("/home/ada", ".ogp") {
		t.Errorf("Home = %q, %v, want /home/ada/.ogp", dir, err)
	}
}

func TestTypeScriptConfig(t *testing.T) {
	text := `{
	  "daemonPort": 18793, "openclawUrl": "http://localhost:18789", "openclawToken": "tok", "openclawHooksToken": "hooks",
	  "gatewayUrl": "https://me.example", "displayName": "Ada 🦞", "email": "ada@example.org", "humanName": "Ada", "agentName": null,
	  "organization": "Engines", "tags": ["x"], "stateDir": "/home/ada/.ogp", "agentId": "ada", "platform": "openclaw",
	  "agents": [
	    {"id": "main", "displayName": "Main", "role": "primary", "skills": ["a"], "hookAgentId": "main", "displayIcon": "🦞", "mood": "good"},
	    {"id": "maths", "displayName": "Maths", "role": "specialist", "description": "counts"}],
	  "agentComms": {"globalPolicy": {"general": {"level": "off", "notes": "n"}, "project.x": {"level": "escalate"}}, "defaultLevel": "off", "activityLog": true},
	  "rendezvous": {"enabled": true, "url": "https://rendezvous.example", "publicUrl": "https://me.example"},
	  "healthCheck": {"intervalMs": 300000, "timeoutMs": 5000, "maxConsecutiveFailures": 4, "recencyMultiplier": 2},
	  "notifyTargets": {"a": "b"}, "delegatedAuthority": {"global": {"defaultRule": "x"}}
	}`
	c, origins, warnings := mustLoad(t, Options{Home: home(t, "config.json", text)})
	want := Default()
	want.DaemonPort, want.GatewayURL, want.DisplayName, want.Email = 18793, "https://me.example", "Ada 🦞", "ada@example.org"
	want.OpenClawToken, want.OpenClawHooksToken = NewSecret("tok"), NewSecret("hooks")
	want.HumanName, want.Organization, want.AgentID = "Ada", "Engines", "ada"
	want.Agents = []Agent{
		{ID: "main", DisplayName: "Main", Role: "primary", Skills: []string{"a"}, HookAgentID: "main", DisplayIcon: "🦞"},
		{ID: "maths", DisplayName: "Maths", Role: "specialist", Description: "counts", Skills: []string{}},
	}
	want.AgentComms = scope.Levels{Default: "off", Topics: map[string]string{"general": "off", "project.x": "escalate"}}
	want.Rendezvous.Enabled, want.Rendezvous.URL, want.Rendezvous.PublicURL = true, "https://rendezvous.example", "https://me.example"
	want.Health.Timeout, want.Health.Failures = 5*time.Second, 4
	if !reflect.DeepEqual(*c, want) {
		t.Errorf("Load = %+v\nwant %+v", *c, want)
	}
	unused := "agentComms.activityLog, delegatedAuthority, healthCheck.recencyMultiplier, notifyTargets, platform, stateDir, tags, agents[0].mood"
	if len(warnings) != 1 || !strings.HasSuffix(string(warnings[0]), unused) && !sameWords(string(warnings[0]), unused) {
		t.Errorf("warnings %q, want one that lists %s", warnings, unused)
	}
	if got := origins.Of("health.timeout").Where; !strings.HasSuffix(got, "config.json: healthCheck.timeoutMs") {
		t.Errorf("origin %q, want config.json: healthCheck.timeoutMs", got)
	}
	if p := c.Personas(); len(p) != 2 || p[0].DisplayIcon != "🦞" || p[1].Role != "specialist" {
		t.Errorf("personas = %+v", p)
	}

	p := problemsOf(t, Options{Home: home(t, "config.json", `{"daemonPort": "x", "rendezvous": {"url": 5}}`)})
	if len(p) != 2 || !strings.HasSuffix(p[1].Where, "config.json: rendezvous.url") {
		t.Errorf("problems %q, want daemonPort's and rendezvous.url's", p)
	}
}

// sameWords reports whether a warning's list has exactly the words of want.
func sameWords(warning, want string) bool {
	_, list, _ := strings.Cut(warning, "gateway: ")
	a, b := strings.Split(list, ", "), strings.Split(want, ", ")
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

func TestAgents(t *testing.T) {
	agent := func(id, role string) string {
		return fmt.Sprintf("[[agents]]\nid = %q\nrole = %q\n", id, role)
	}
	mustLoad(t, Options{Home: home(t, "config.toml", agent("a", "primary")+agent("b_2-x", "specialist"))})
	for text, want := range map[string]string{
		agent("a", "specialist"):                         "exactly one",
		agent("a", "primary") + agent("b", "primary"):    "exactly one",
		agent("a", "primary") + agent("a", "specialist"): "ids that differ",
		agent("A", "primary"):                            "a-z, 0-9",
		agent("a b", "primary"):                          "a-z, 0-9",
		agent("", "primary"):                             "a-z, 0-9",
		agent("a", "boss") + agent("b", "primary"):       "primary, specialist",
	} {
		if p := problemsOf(t, Options{Home: home(t, "config.toml", text)}); len(p) != 1 || !strings.Contains(p.Error(), want) {
			t.Errorf("%s: %q, want %q", text, p, want)
		}
	}
}

func TestPlugins(t *testing.T) {
	t.Setenv("OGP_TEST_HOOKS", "from the environment")
	text := `
[plugins.openclaw]
hooks = ["notify"]
timeout = "30s"
[plugins.openclaw.grants]
http = ["http://localhost:18789/hooks/"]
private = true
kv = ["get", "set"]
kv_max_bytes = 1_048_576
[plugins.openclaw.config]
agent_id = "main"
depth = { list = [1, 2.5, "x", true] }
[plugins.openclaw.secrets]
hooks_token = "${OGP_TEST_HOOKS}"
[plugins.office-hours]
path = "/opt/office.wasm"
sha256 = "` + strings.Repeat("aB", 32) + `"
order = -5
enabled = false
memory_mib = 32
fuel = 50_000_000
instances = 4
`
	c, origins, _ := mustLoad(t, Options{Home: home(t, "config.toml", text), Env: []string{"OGP_TEST_HOOKS=x"}})
	o, h := c.Plugins["openclaw"], c.Plugins["office-hours"]
	if !o.IsEnabled() || h.IsEnabled() || h.Order != -5 || h.MemoryMiB != 32 || h.Fuel != 50_000_000 || h.Instances != 4 || o.Timeout != 30*time.Second {
		t.Errorf("openclaw %+v\noffice-hours %+v", o, h)
	}
	if want := (PluginGrants{HTTP: []string{"http://localhost:18789/hooks/"}, Private: true, KV: []string{"get", "set"}, KVMaxBytes: 1 << 20}); !reflect.DeepEqual(o.Grants, want) {
		t.Errorf("grants = %+v, want %+v", o.Grants, want)
	}
	if want := map[string]any{"agent_id": "main", "depth": map[string]any{"list": []any{int64(1), 2.5, "x", true}}}; !reflect.DeepEqual(o.Config, want) {
		t.Errorf("config = %#v, want %#v", o.Config, want)
	}
	if v, err := o.Secrets["hooks_token"].Reveal(); err != nil || v != "from the environment" {
		t.Errorf("secret = %q, %v", v, err)
	}
	if where := origins.Of("plugins.openclaw.timeout").Where; !strings.HasSuffix(where, ":4") {
		t.Errorf("origin of the timeout %q, want line 4", where)
	}
}

func TestSecretsDoNotShow(t *testing.T) {
	s := NewSecret("hunter2")
	type hidden struct{ inner Secret }
	type holder struct {
		Token Secret
		List  []Secret
		Map   map[string]Secret
		Ptr   *Secret
	}
	h := holder{Token: s, List: []Secret{s}, Map: map[string]Secret{"a": s}, Ptr: &s}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T"} {
		fmt.Fprintf(&out, verb+"\n", s)
		fmt.Fprintf(&out, verb+"\n", h)
		fmt.Fprintf(&out, verb+"\n", hidden{s})
		fmt.Fprintf(&out, verb+"\n", &h)
	}
	text, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(text)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "secret", s, "holder", h)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "secret", s, "holder", h)

	c := Default()
	c.OpenClawToken = s
	c.Plugins["x"] = PluginConfig{Secrets: map[string]Secret{"a": s}}
	fmt.Fprintf(&out, "%+v", c)
	out.WriteString(c.Show(nil, false))
	text, err = c.JSON(nil, true)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(text)
	if strings.Contains(out.String(), "hunter") || strings.Contains(out.String(), "68756e746572") {
		t.Errorf("the secret shows in %s", out.String())
	}
	if strings.Count(out.String(), redacted) < 10 {
		t.Errorf("little is redacted in %s", out.String())
	}

	dir := home(t, "config.toml", "openclaw_token = [\"hunter2\"]\n[plugins.x.secrets]\na = [\"hunter2\"]")
	if p := problemsOf(t, Options{Home: dir}); len(p) != 2 || strings.Contains(p.Error()+p.Hint(), "hunter2") {
		t.Errorf("errors %q", p)
	}
}

func TestSecretReferences(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("A_TOKEN", "from env")
	t.Setenv("EMPTY", "")
	for name, text := range map[string]string{"token": "from file\n", "empty": "\n", "long": strings.Repeat("x", maxSecretBytes+1)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for ref, want := range map[string]string{
		"":                       "",
		"plain":                  "plain",
		"$plain":                 "$plain",
		"${A_TOKEN}":             "from env",
		"file:" + dir + "/token": "from file",
		"file:~/token":           "from file",
	} {
		if got, err := NewSecret(ref).Reveal(); err != nil || got != want {
			t.Errorf("Reveal(%q) = %q, %v, want %q", ref, got, err, want)
		}
	}
	for _, ref := range []string{"${NO_SUCH_TOKEN}", "${EMPTY}", "${}", "${A B}", "${A_TOKEN", "file:", "file:token", "file:" + dir + "/gone", "file:" + dir + "/empty", "file:" + dir + "/long", "file:" + dir} {
		if got, err := NewSecret(ref).Reveal(); err == nil {
			t.Errorf("Reveal(%q) = %q, want an error", ref, got)
		}
	}
	if s := NewSecret("${A_TOKEN}").String(); s != "${A_TOKEN}" {
		t.Errorf("a reference shows as %q, want itself", s)
	}
	if !NewSecret("a").Equal(NewSecret("a")) || NewSecret("a").Equal(Secret{}) || NewSecret("").IsSet() {
		t.Error("Equal or IsSet is wrong")
	}
}

func TestFileWithASecretThatOthersCanRead(t *testing.T) {
	for text, want := range map[string]int{
		"openclaw_token = \"tok\"":           1,
		"openclaw_token = \"${TOK}\"":        0,
		"openclaw_token = \"file:/run/tok\"": 0,
		"[plugins.x.secrets]\na = \"tok\"":   1,
		"daemon_port = 1":                    0,
	} {
		dir := home(t, "config.toml", text)
		if _, _, w := mustLoad(t, Options{Home: dir}); len(w) != 0 {
			t.Errorf("%s: mode 0600 warns %q", text, w)
		}
		if err := os.Chmod(filepath.Join(dir, "config.toml"), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, _, w := mustLoad(t, Options{Home: dir}); len(w) != want {
			t.Errorf("%s: mode 0644 warns %q, want %d", text, w, want)
		}
	}
}

func TestShowSaysWhereEachValueComesFrom(t *testing.T) {
	dir := home(t, "config.toml", "daemon_port = 1\nopenclaw_token = \"hunter2\"\n[[agents]]\nid = \"a\"\nrole = \"primary\"\n[plugins.x]\norder = 3")
	c, origins, _ := mustLoad(t, Options{Home: dir, Env: []string{"OGP_LOG_LEVEL=debug"}, Flags: flagSet(t, "--email", "a@example.org")})
	text := c.Show(origins, true)
	path := filepath.Join(dir, "config.toml")
	for _, line := range []string{
		"daemon_port = 1  # " + path + ":1",
		`openclaw_token = "[redacted]"  # ` + path + ":2",
		`level = "debug"  # OGP_LOG_LEVEL`,
		`email = "a@example.org"  # --email`,
		`format = "text"  # default`,
		`id = "a"  # ` + path + ":4",
		"order = 3  # " + path + ":7",
		"[grants.default]", "[[agents]]", "[plugins.x]", "[plugins.x.grants]",
	} {
		if !strings.Contains("\n"+text, "\n"+line+"\n") {
			t.Errorf("no line %q in\n%s", line, text)
		}
	}
	out, err := c.JSON(origins, true)
	if err != nil {
		t.Fatal(err)
	}
	var back struct {
		Config struct {
			Port      int    `json:"daemon_port"`
			Token     string `json:"openclaw_token"`
			Freshness struct {
				Window string `json:"window"`
			} `json:"freshness"`
		} `json:"config"`
		Origins map[string]string `json:"origins"`
	}
	if err := json.Unmarshal(out, &back); err != nil {
		t.Fatal(err)
	}
	if back.Config.Port != 1 || back.Config.Token != redacted || back.Config.Freshness.Window != "5m" || back.Origins["log.level"] != "OGP_LOG_LEVEL" || back.Origins["log.format"] != "default" {
		t.Errorf("JSON = %s", out)
	}
}

func TestFlagsInHelp(t *testing.T) {
	set := pflag.NewFlagSet("start", pflag.ContinueOnError)
	Flags(set)
	usage := set.FlagUsages()
	for _, want := range []string{"--daemon-port", "(default 18790)", "--network-allow-private", "--display-name", "--rendezvous-enabled"} {
		if !strings.Contains(usage, want) {
			t.Errorf("no %q in\n%s", want, usage)
		}
	}
	for _, none := range []string{"token", "--freshness-window"} {
		if strings.Contains(usage, none) {
			t.Errorf("%q shows in\n%s", none, usage)
		}
	}
	if set.Lookup("openclaw-token") != nil || set.Lookup("agents") != nil {
		t.Error("a flag for a secret or a table")
	}
	c, _, _ := mustLoad(t, Options{Home: t.TempDir(), Flags: flagSet(t, "--rendezvous-enabled", "--rendezvous-url=https://r.example",
		"--network-allow-private", "127.0.0.0/8", "--network-allow-private", "10.0.0.0/8", "--compat-plain-requests=false")})
	if !c.Rendezvous.Enabled || len(c.Network.AllowPrivate) != 2 || c.Compat.PlainRequests {
		t.Errorf("rendezvous %+v, network %+v, compat %+v", c.Rendezvous, c.Network, c.Compat)
	}
}

func TestHelpers(t *testing.T) {
	c := Default()
	c.Listen, c.DaemonPort, c.GatewayURL = "::1", 80, "https://me.example"
	if c.ListenAddress() != "[::1]:80" || c.OwnURL(80) != "https://me.example" {
		t.Errorf("listen on %q as %q", c.ListenAddress(), c.OwnURL(80))
	}
	r := Rendezvous{URL: "https://a", URLs: []string{"https://b", "https://a", "https://b"}}
	if got := r.Servers(); !slices.Equal(got, []string{"https://a", "https://b"}) {
		t.Errorf("Servers = %v", got)
	}
	g := DefaultGrant{Intents: []string{"message", "agent-comms"}, Rate: core.RateLimit{Requests: 1, WindowSeconds: 2}, Topics: []string{"t"}}
	scopes := g.Scopes()
	if len(scopes) != 2 || len(scopes[0].Topics) != 0 || !slices.Equal(scopes[1].Topics, []string{"t"}) || scopes[0].RateLimit.Requests != 1 || !scopes[0].Enabled {
		t.Errorf("Scopes = %+v", scopes)
	}
	g.Bytes = core.ByteLimit{Bytes: 1 << 20, WindowSeconds: 60}
	if got := g.Scopes()[0].ByteLimit; got == nil || *got != g.Bytes {
		t.Errorf("the size of the default grants is %v, want %v", got, g.Bytes)
	}
	if got := (AtMost{Intents: []string{"message"}, Bytes: "64KiB/1h"}).Grants()[0].ByteLimit; got == nil || *got != (core.ByteLimit{Bytes: 64 << 10, WindowSeconds: 3600}) {
		t.Errorf("the size of at_most is %v, want 64KiB/1h", got)
	}
	if c.DisplayName = "Ada"; c.Names().DisplayName != "Ada" {
		t.Error("Names misses the display name")
	}
}

// A Default that shares its lists would let one caller change another's.
func TestDefaultsAreNotShared(t *testing.T) {
	a := Default()
	a.Grants.Default.Intents[0] = "changed"
	a.AgentComms.Topics["general"] = "off"
	if b := Default(); b.Grants.Default.Intents[0] == "changed" || b.AgentComms.Topics["general"] == "off" || core.BuiltinIntents[0] == "changed" {
		t.Error("a change of one Default shows in another")
	}
}

func BenchmarkLoad(b *testing.B) {
	dir := home(b, "config.toml", uncomment(Example()))
	env := []string{"OGP_DAEMON_PORT=2222", "PATH=/bin"}
	flags := flagSet(b, "--log-level", "warn")
	b.ReportAllocs()
	for b.Loop() {
		if _, _, _, err := Load(Options{Home: dir, Env: env, Flags: flags}); err != nil {
			b.Fatal(err)
		}
	}
}
