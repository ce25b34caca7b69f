package plugin_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core/plugin"
)

const fullManifest = `
name = "openclaw"
version = "1.0.0"
description = "tells OpenClaw"
abi = "ogp_v1"
hooks = ["notify"]
intents = ["a", "b"]
batch = true

[limits]
timeout = "10s"
memory_mib = 64
fuel = 50_000_000
instances = 2
max_calls = 1000

[[http]]
url = "http://localhost:18789/hooks/"
private = true
secrets = ["hooks_token"]
reason = "deliver events to the agent"

[kv]
max_bytes = 1_048_576

[config]
agent_id = "main"

[[selftest]]
input = { a = 1 }
expect = { }
`

func TestParseManifest(t *testing.T) {
	m, err := plugin.ParseManifest([]byte(fullManifest))
	if err != nil {
		t.Fatal(err)
	}
	if m.Name != "openclaw" || len(m.Hooks) != 1 || !m.Batch || time.Duration(m.Limits.Timeout) != 10*time.Second || m.Limits.Fuel != 50_000_000 ||
		m.Limits.MaxCalls != 1000 || len(m.HTTP) != 1 || !m.HTTP[0].Private || m.KV.MaxBytes != 1<<20 || m.Config["agent_id"] != "main" || len(m.SelfTests) != 1 {
		t.Errorf("%+v", m)
	}
	m, err = plugin.ParseManifest([]byte(`name = "x"`))
	if err != nil || m.Limits != (plugin.Limits{Timeout: plugin.Duration(10 * time.Second), MemoryMiB: 64, Fuel: 50_000_000, Instances: 2, MaxCalls: 1_000_000}) {
		t.Errorf("defaults: %+v, %v", m, err)
	}
}

func TestParseManifestRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"nam = \"x\"":                                        `line 1: unknown key "nam", did you mean "name"?`,
		"name = \"x\"\n[limits]\nmemory = 3":                 `line 3: unknown key "limits.memory", did you mean "memory_mib"?`,
		"name = \"x\"\n[[http]]\nulr = \"http://a\"":         `unknown key "http.ulr", did you mean "url"?`,
		"name = \"x\"\n[kv]\nbytes = 3":                      `did you mean "max_bytes"?`,
		"name = \"x\"\nname = \"y\"":                         "already defined",
		"name = ":                                            "line 1",
		"":                                                   `name ""`,
		"name = \"X\"":                                       `name "X"`,
		"name = \"../x\"":                                    `name "../x"`,
		"name = 3":                                           "line 1",
		"name = \"x\"\nabi = \"ogp_v2\"":                     `abi "ogp_v2"`,
		"name = \"x\"\nstdio = \"twice\"":                    `stdio "twice"`,
		"name = \"x\"\nreads = [\"peer..tags\"]":             `reads "peer..tags": no policy is asked with such a member, did you mean "peer.tags"?`,
		"name = \"x\"\nreads = ['a\"b']":                     `reads "a\"b"`,
		"name = \"x\"\nreads = ['']":                         `reads ""`,
		"name = \"x\"\nreads = ['message.Intent']":           `did you mean "message.intent"?`,
		"name = \"x\"\nreads = ['message.payload.text']":     `what is below "message.payload" cannot be named apart: name "message.payload"`,
		"name = \"x\"\nreads = ['peer.grants.intent']":       `name "peer.grants"`,
		"name = \"x\"\nreads = ['peer.name']":                `want one such as "message.textBytes" or "peer"`,
		"name = \"x\"\nreads = ['event.text']":               `no policy is asked with such a member`,
		"name = \"x\"\nabi=\"ogp_v1\"\nstdio=\"lines\"":      `stdio "lines" is for programs`,
		"name = \"x\"\nhooks = [\"polici\"]":                 `hook "polici"`,
		"name = \"x\"\nreplies = true\nbatch = true":         "an answer is to one message",
		"name = \"x\"\n[limits]\ntimeout = \"1h\"":           "timeout 1h0m0s: want up to 5m",
		"name = \"x\"\n[limits]\ntimeout = \"soon\"":         "duration",
		"name = \"x\"\n[limits]\nmemory_mib = 5000":          "memory_mib 5000",
		"name = \"x\"\n[limits]\nfuel = -1":                  "fuel -1",
		"name = \"x\"\n[limits]\ninstances = 100":            "instances 100",
		"name = \"x\"\n[[http]]\nurl = \"ftp://a/\"":         "want http or https",
		"name = \"x\"\n[[http]]\nurl = \"https://u@a/\"":     `"https://...@a/": it holds user information`,
		"name = \"x\"\n[[http]]\nurl = \"https://a/b/../c\"": "its path has",
		"name = \"x\"\n[[http]]\nurl = \"https://a/?b\"":     "no query",
		"name = \"x\"\n[[http]]\nurl = \"/hooks\"":           "want http or https",
		"name = \"x\"\n[[selftest]]\nhook = \"x\"":           `selftest 1: hook "x"`,
	} {
		_, err := plugin.ParseManifest([]byte(text))
		wantKind(t, err, plugin.BadManifest)
		if err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %q, want it to say %q", text, err, want)
		}
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(fullManifest))
	f.Add([]byte("[[http]]\n[[http]]\nurl='x'\n"))
	f.Add([]byte("limits.timeout = 1"))
	f.Add([]byte("config = {a = " + strings.Repeat("[", 60) + strings.Repeat("]", 60) + "}"))
	f.Add([]byte("config = {a = " + strings.Repeat("[", 70)))
	f.Add([]byte("a.b.c = {d = [1, {e = 2}]}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := plugin.ParseManifest(text)
		if (m == nil) == (err == nil) {
			t.Errorf("%v, %v", m, err)
		}
		if err != nil {
			wantKind(t, err, plugin.BadManifest)
		}
	})
}

// TestD4ManifestOfBrackets has a manifest refused for its size or depth before a parser that calls itself sees it,
// in a custom section and beside a module. Without the bound the whole program ends.
func TestD4ManifestOfBrackets(t *testing.T) {
	for name, text := range map[string]string{
		"a million brackets":        "a=" + strings.Repeat("[", 1<<20),
		"eight million brackets":    "a=" + strings.Repeat("[", 8<<20),
		"60,000 brackets":           "a=" + strings.Repeat("[", 60_000),
		"100 brackets":              "a=" + strings.Repeat("[", 100),
		"inline tables":             "a=" + strings.Repeat("{a=", 20_000),
		"a key of 30,000 parts":     strings.Repeat("a.", 30_000) + "a=1",
		"a header of 30,000 parts":  "[" + strings.Repeat("a.", 30_000) + "a]",
		"70,000 bytes of a comment": "#" + strings.Repeat(" ", 70_000),
	} {
		m := newGuest()
		m.Memory(1, -1)
		m.Custom("ogp.plugin", text)
		_, err := plugin.Inspect(plugin.Spec{Bytes: finish(m, m.Func(i32s(1), i32s(1), 0, 0))})
		wantKind(t, err, plugin.BadManifest)

		dir := t.TempDir()
		for file, b := range map[string][]byte{"x.wasm": guest(answering), "plugin.toml": []byte(text)} {
			if err := os.WriteFile(filepath.Join(dir, file), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err = plugin.Inspect(plugin.Spec{Path: filepath.Join(dir, "x.wasm")}); err == nil || !strings.Contains(err.Error(), "more than 65536") && !strings.Contains(err.Error(), "more than 64") && !strings.Contains(err.Error(), "deeper than 64") {
			t.Errorf("%s: %v, want it refused for its size or depth", name, err)
		}
		wantKind(t, err, plugin.BadManifest)
	}
}

// TestFindManifest looks in the order given, beside and inside of the module.
func TestFindManifest(t *testing.T) {
	dir := t.TempDir()
	inside := append(bytes.Clone(read(t, guests+"operate.wasm")), 0)
	section := "\x0aogp.pluginname = \"inside\"\n"
	inside = append(append(inside, byte(len(section))), section...)
	file := filepath.Join(dir, "some.wasm")
	if err := os.WriteFile(file, inside, 0o600); err != nil {
		t.Fatal(err)
	}
	name := func(spec plugin.Spec) string {
		t.Helper()
		m, err := plugin.Inspect(spec)
		if err != nil {
			t.Fatal(err)
		}
		if m.Kind != plugin.KindABI || m.Size == 0 || len(m.Imports) != 5 {
			t.Errorf("%+v", m)
		}
		return m.Manifest.Name
	}
	if got := name(plugin.Spec{Path: file}); got != "inside" {
		t.Errorf("name = %s, want inside", got)
	}
	if err := os.WriteFile(filepath.Join(dir, "plugin.toml"), []byte(`name = "beside"`), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := name(plugin.Spec{Path: file}); got != "beside" {
		t.Errorf("name = %s, want beside", got)
	}
	if got := name(plugin.Spec{Path: file, Manifest: &plugin.Manifest{Name: "given"}}); got != "given" {
		t.Errorf("name = %s, want given", got)
	}
	if got := name(plugin.Spec{Path: file, Bytes: inside}); got != "inside" {
		t.Errorf("name = %s, want inside", got)
	}
	if got := name(plugin.Spec{Name: "named", Bytes: read(t, guests+"operate.wasm")}); got != "named" {
		t.Errorf("name = %s, want named", got)
	}
}

func TestHooksMustBeThere(t *testing.T) {
	for _, c := range []struct {
		file string
		m    plugin.Manifest
		want string
	}{
		{"policy.wasm", plugin.Manifest{Hooks: []plugin.Hook{plugin.Notify}}, "does not export ogp_notify"},
		{"policy.wasm", plugin.Manifest{ABI: "stdio", Hooks: []plugin.Hook{plugin.Notify}}, "does not export _start"},
		{"program.wasm", plugin.Manifest{ABI: "ogp_v1", Hooks: []plugin.Hook{plugin.Notify}}, "neither imports ogp_v1"},
		{"program.wasm", plugin.Manifest{}, "it answers no hook"},
	} {
		c.m.Name = "x"
		_, err := newHost(t).Load(t.Context(), plugin.Spec{Bytes: read(t, guests+c.file), Manifest: &c.m})
		wantKind(t, err, plugin.BadModule, plugin.BadManifest)
		if err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %q, want it to say %q", err, c.want)
		}
	}
}

// A default URL that the operator has replaced asks for nothing; the one in its place does.
func TestMissingOfAReplacedURL(t *testing.T) {
	m := &plugin.Manifest{HTTP: []plugin.HTTPAsk{{URL: "http://localhost:1/hooks/", Private: true, Secrets: []string{"tok"}}, {URL: "https://more.example/"}},
		Config: map[string]any{"url": "http://localhost:1/hooks/"}}
	more, hooks := plugin.HTTPGrant{URL: "https://more.example/"}, plugin.HTTPGrant{URL: "https://new.example/x", Secrets: []string{"tok"}}
	for _, c := range []struct {
		config string
		grants []plugin.HTTPGrant
		want   string
	}{
		{`{"url":"https://new.example/x"}`, []plugin.HTTPGrant{more, hooks}, ""},
		{`{"url":"https://new.example/x"}`, []plugin.HTTPGrant{hooks}, "http https://more.example/"},
		{`{"url":"https://new.example/x"}`, []plugin.HTTPGrant{more}, "http https://new.example/x|secret tok for https://new.example/x"},
		{`{"url":"http://localhost:1/hooks/"}`, []plugin.HTTPGrant{more, hooks}, "http http://localhost:1/hooks/|http http://localhost:1/hooks/ at private addresses|secret tok for http://localhost:1/hooks/"},
		{``, []plugin.HTTPGrant{more, hooks}, "http http://localhost:1/hooks/|http http://localhost:1/hooks/ at private addresses|secret tok for http://localhost:1/hooks/"},
		{`{"url":"no URL"}`, []plugin.HTTPGrant{more, hooks}, "http http://localhost:1/hooks/|http http://localhost:1/hooks/ at private addresses|secret tok for http://localhost:1/hooks/"},
	} {
		s := &plugin.Spec{Config: []byte(c.config), Grants: plugin.Grants{HTTP: c.grants}}
		if got := strings.Join(s.Missing(m), "|"); got != c.want {
			t.Errorf("%s, granted %v: %q, want %q", c.config, c.grants, got, c.want)
		}
	}
}

func TestMissing(t *testing.T) {
	m, err := plugin.ParseManifest([]byte(fullManifest))
	if err != nil {
		t.Fatal(err)
	}
	all := m.Asks()
	if got := all.Missing(all); got != nil {
		t.Errorf("missing = %q, want nothing", got)
	}
	url := "http://localhost:18789/hooks/"
	for _, c := range []struct {
		grants plugin.Grants
		want   string
		line   string
	}{
		{plugin.Grants{}, "http " + url + "|http " + url + " at private addresses|secret hooks_token for " + url + "|kv.get|kv.set|kv.delete|kv.list",
			`http = ["` + url + `"] and private = true and kv = ["get", "set", "delete", "list"]`},
		{plugin.Grants{HTTP: []plugin.HTTPGrant{{URL: "http://localhost:18789/"}}, KV: []string{"kv.get"}},
			"http " + url + " at private addresses|secret hooks_token for " + url + "|kv.set|kv.delete|kv.list",
			`private = true and kv = ["get", "set", "delete", "list"]`},
		{plugin.Grants{HTTP: []plugin.HTTPGrant{{URL: "http://localhost:18789/hooks/x", Private: true, Secrets: []string{"hooks_token"}}}, KV: []string{"kv.*"}},
			"http " + url + "|http " + url + " at private addresses|secret hooks_token for " + url, `http = ["` + url + `x", "` + url + `"]`},
	} {
		if got := c.grants.Line(c.grants.Missing(all)); got != c.line {
			t.Errorf("%+v: line %q, want %q", c.grants, got, c.line)
		}
		if got := strings.Join(c.grants.Missing(all), "|"); got != c.want {
			t.Errorf("%+v: missing %q, want %q", c.grants, got, c.want)
		}
	}
}
