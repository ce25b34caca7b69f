// Package examples_test loads every committed example on the real host and runs its cases.
package examples_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/core/store/memory"
	"github.com/opengatewayprotocol/ogp/sdk"
	"github.com/opengatewayprotocol/ogp/sdk/sdktest"
)

// names are the examples, and how many cases each must have at least.
var names = map[string]int{
	"approve-by-domain": 10, "office-hours": 5, "secret-scrubber": 10, "topic-allowlist": 9, "free-busy": 5, "audit-line": 1, "rego-house-rules": 16, "extism-links": 8,
}

func load(t testing.TB, h *plugin.Host, name, config string, kv plugin.KV) *plugin.Plugin {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(name, "plugin.toml"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := plugin.ParseManifest(text)
	if err != nil {
		t.Fatal(err)
	}
	p, err := h.Load(context.Background(), plugin.Spec{
		Path: filepath.Join(name, name+".wasm"), Config: []byte(config), Grants: m.Asks(), KV: kv, Answer: hooks.Answer,
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// cacheDir keeps compiled modules for all tests: Go modules take seconds to compile.
var cacheDir string

func TestMain(m *testing.M) {
	plugin.CompileChildMain()
	dir, err := os.MkdirTemp("", "ogp-examples-")
	if err != nil {
		panic(err)
	}
	cacheDir = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func newHost(t testing.TB) *plugin.Host {
	t.Helper()
	h, err := plugin.NewHost(plugin.Options{CacheDir: cacheDir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

func TestEveryExampleOnTheHost(t *testing.T) {
	folders, err := filepath.Glob("*/plugin.toml")
	if err != nil || len(folders) != len(names) {
		t.Fatalf("%d examples, want %d", len(folders), len(names))
	}
	h := newHost(t)
	for name, least := range names {
		t.Run(name, func(t *testing.T) {
			files, err := filepath.Glob(filepath.Join(name, "cases", "*.json"))
			if err != nil || len(files) < least {
				t.Fatalf("%d cases, want at least %d", len(files), least)
			}
			for _, file := range files {
				t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) { runCase(t, h, name, file) })
			}
		})
	}
}

func runCase(t *testing.T, h *plugin.Host, name, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c, err := sdk.Parse(string(text))
	if err != nil {
		t.Fatal(err)
	}
	kv := &plugin.MemoryKV{}
	c.Get("kv").Each(func(key string, v sdk.Value) bool {
		if err := kv.Set(context.Background(), key, []byte(v.Text()), 1<<20); err != nil {
			t.Fatal(err)
		}
		return true
	})
	p := load(t, h, name, c.Get("config").JSON(), kv)
	defer p.Close()
	hook, err := p.Manifest().HookOf("", []byte(c.Get("input").JSON()))
	if err != nil {
		t.Fatal(err)
	}
	r, err := p.Call(context.Background(), hook, []byte(c.Get("input").JSON()))
	if err != nil {
		t.Fatal(err)
	}
	out := string(r.Output)
	if r.NotMine() {
		out = `{"status":"not mine"}`
	}
	got, err := sdk.Parse(out)
	if err != nil {
		t.Fatalf("the answer is no JSON: %v: %s", err, out)
	}
	if !sdktest.Contains(got, c.Get("expect")) {
		t.Errorf("answer = %s\nwant     %s", out, c.Get("expect").JSON())
	}
}

// A module that is told nonsense fails that call or answers, and goes on to answer the next.
func TestExamplesSurviveNonsense(t *testing.T) {
	h := newHost(t)
	for name := range names {
		p := load(t, h, name, "", &plugin.MemoryKV{})
		hook := p.Info().Hooks[0]
		for _, input := range []string{
			`{}`, `{"kind":7,"message":[]}`, `{"kind":"message","now":{},"message":{"intent":null,"topic":["a"],"payload":"\\","textBytes":1e99}}`,
			`{"kind":"request","peer":{"gatewayUrl":["x"]},"request":true}`, `{"message":{"intent":"calendar.freebusy","payload":{"days":[1,null]}}}`,
			`{"kind":"message","message":{"payload":"` + strings.Repeat("4", 60_000) + `"}}`,
		} {
			if _, err := p.Call(context.Background(), hook, []byte(input)); err != nil && name != "audit-line" {
				t.Errorf("%s: %.60s: %v", name, input, err)
			}
		}
		p.Close()
	}
}

// A Go plugin is under 2 MiB, and the others are small.
func TestSizes(t *testing.T) {
	for name, most := range map[string]int64{
		"approve-by-domain": 2 << 20, "free-busy": 2 << 20, "office-hours": 64 << 10, "secret-scrubber": 32 << 10, "topic-allowlist": 4 << 10,
	} {
		st, err := os.Stat(filepath.Join(name, name+".wasm"))
		if err != nil {
			t.Fatal(err)
		}
		if st.Size() > most {
			t.Errorf("%s has %d bytes, want at most %d", name, st.Size(), most)
		}
	}
}

// BenchmarkCall is one call of each example with a message of 600 bytes: the whole way
// through the host.
func BenchmarkCall(b *testing.B) {
	h := newHost(b)
	input := []byte(`{"abi":1,"hook":"message","kind":"message","now":"2026-11-20T12:00:35.730Z","gateway":{"id":"302a300506032b6570032100aaaaaaaa"},` +
		`"peer":{"alias":"bob","fingerprint":"K5QX-3ZVA-77MC","id":"302a300506032b65700321009b691d31","state":"approved","gatewayUrl":"https://bob.example",` +
		`"names":{"displayName":"Bob","email":"bob@example.org"},"grants":[{"intent":"agent-comms","enabled":true}]},` +
		`"message":{"id":"5f6705e8-5829-4a41-8561-d0a6b75f8014","intent":"agent-comms","topic":"general","priority":"normal","timestamp":"2026-11-21T20:47:35.700Z","textBytes":120,` +
		`"payload":{"topic":"general","message":"The quick brown fox jumps over the lazy dog. \u00c9t\u00e9, na\u00efve."}}}`)
	for _, name := range []string{"topic-allowlist", "office-hours", "secret-scrubber", "approve-by-domain", "free-busy", "audit-line"} {
		b.Run(name, func(b *testing.B) {
			p := load(b, h, name, "", &plugin.MemoryKV{})
			defer p.Close()
			hook := p.Info().Hooks[0]
			b.ReportAllocs()
			var r plugin.Result
			for b.Loop() {
				var err error
				if r, err = p.Call(context.Background(), hook, input); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(r.FuelUsed), "fuel/op")
			b.ReportMetric(float64(r.MemoryBytes)/(1<<20), "MiB")
		})
	}
}

// A plugin that is called again and again does not grow. Go's collector lets a heap of 4 MiB
// come about before it first runs, and settles at 7 to 8 MiB of memory: measured to 10^6 calls.
func TestExamplesDoNotGrow(t *testing.T) {
	h := newHost(t)
	input := []byte(`{"kind":"message","now":"2026-11-20T12:00:35.730Z","message":{"intent":"agent-comms","topic":"general","textBytes":120,"payload":{"text":"hello \u00e9"}}}`)
	calls := 6_000
	if testing.Short() {
		calls = 2_000
	}
	for name, most := range map[string]int64{
		"topic-allowlist": 128 << 10, "secret-scrubber": 128 << 10, "office-hours": 1280 << 10,
		"approve-by-domain": 9 << 20, "free-busy": 9 << 20, "audit-line": 9 << 20,
	} {
		p := load(t, h, name, "", &plugin.MemoryKV{})
		hook := p.Info().Hooks[0]
		for i := range calls {
			r, err := p.Call(context.Background(), hook, input)
			if err != nil {
				t.Fatalf("%s: call %d: %v", name, i, err)
			}
			if r.MemoryBytes > most {
				t.Fatalf("%s: %d bytes of memory after %d calls, want at most %d", name, r.MemoryBytes, i+1, most)
			}
		}
		p.Close()
	}
}

// policy is an example as the gateway asks it, with all that it asks for granted.
func policy(t *testing.T, name string, hook core.Hook) core.Policy {
	t.Helper()
	m, err := hooks.New(hooks.Options{Store: memory.New(), CacheDir: cacheDir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	spec := plugin.Spec{Name: name, Path: filepath.Join(name, name+".wasm"), Grants: plugin.Grants{KV: []string{"kv.*"}, Approves: true}}
	if err := m.Apply([]hooks.Wanted{{Source: hooks.FromConfig, Spec: spec}}); err != nil {
		t.Fatal(err)
	}
	if err := m.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	p, err := m.Plugins()
	if err != nil || len(p.Policies[hook]) != 1 {
		t.Fatalf("Plugins = %v, %v; want one policy about a %s", p.Policies, err, hook)
	}
	return p.Policies[hook][0]
}

// What the gateway writes, a policy reads, and its answer is one that the gateway reads.
func TestPoliciesReadWhatTheGatewayWrites(t *testing.T) {
	ask := func(p core.Policy, q core.Question) core.Verdict {
		t.Helper()
		v, err := p.Decide(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	night := time.Date(2026, 11, 20, 23, 0, 0, 0, time.UTC)
	peer := &core.Peer{Trust: core.Pending, URL: "https://gw.example.org/", Names: core.Names{DisplayName: "New"}}
	request := core.Question{Kind: core.HookRequest, Now: night, Peer: peer, Request: &core.Request{}, URLVerified: true}
	domain := policy(t, "approve-by-domain", core.HookRequest)
	v := ask(domain, request)
	if v.Decision != core.Allow || len(v.Grants) != 2 || v.Grants[0].Intent != "message" || v.Grants[0].RateLimit.Requests != 10 || len(v.Grants[1].Topics) != 1 {
		t.Errorf("verdict = %+v, want allow with two grants", v)
	}
	request.URLVerified = false
	if v := ask(domain, request); v.Decision != core.Hold || v.Code != "unverified_url" {
		t.Errorf("verdict = %+v, want hold for a mere claim", v)
	}
	message := core.Question{Kind: core.HookMessage, Now: night, Peer: peer, Bytes: 40, Message: &core.Message{
		Intent: core.IntentAgentComms, Payload: core.Raw(`{"topic":"deals","message":"my key is AKIAIOSFODNN7EXAMPLE"}`),
	}}
	for name, want := range map[string]core.Verdict{
		"office-hours":    {Decision: core.Hold, Code: "office_closed"},
		"secret-scrubber": {Decision: core.Deny, Code: "looks_secret"},
		"topic-allowlist": {Decision: core.Deny, Code: "topic_not_allowed"},
		"audit-line":      {Decision: core.Abstain},
	} {
		if v := ask(policy(t, name, core.HookMessage), message); v.Decision != want.Decision || v.Code != want.Code {
			t.Errorf("%s: verdict = %+v, want %s %s", name, v, want.Decision, want.Code)
		}
	}
}
