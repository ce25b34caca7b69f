package plugins_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/plugins"
)

const event = `{"abi":1,"hook":"notify","event":{"id":"01JEVENT","type":"message","at":"2026-11-21T20:47:35.730Z"},` +
	`"peer":{"alias":"bob","fingerprint":"K5QX-3ZVA","id":"302a","state":"approved"},"message":{"id":"n","intent":"message","payload":{"text":"hello there"}},"attempt":1}`

// cacheDir keeps compiled modules for all tests: Go modules take seconds to compile.
var cacheDir string

func TestMain(m *testing.M) {
	plugin.CompileChildMain()
	dir, err := os.MkdirTemp("", "ogp-plugins-")
	if err != nil {
		panic(err)
	}
	cacheDir = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// server answers everything with one status and keeps what came.
type server struct {
	*httptest.Server
	status int
	got    []*http.Request
	bodies []string
}

func serve(t *testing.T, status int, answer string) *server {
	t.Helper()
	s := &server{status: status}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		s.got, s.bodies = append(s.got, r), append(s.bodies, string(body))
		w.Header().Set("Retry-After", "5")
		w.WriteHeader(s.status)
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(s.Close)
	return s
}

func load(t testing.TB, name, config, url string, secrets map[string]string) *plugin.Plugin {
	t.Helper()
	s, ok := plugins.Get(name)
	if !ok {
		t.Fatalf("%s is not shipped", name)
	}
	m, err := plugin.ParseManifest(s.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	h, err := plugin.NewHost(plugin.Options{CacheDir: cacheDir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	var names []string
	for n := range secrets {
		names = append(names, n)
	}
	p, err := h.Load(context.Background(), plugin.Spec{
		Bytes: s.Wasm, Manifest: m, Config: []byte(config),
		Grants:  plugin.Grants{HTTP: []plugin.HTTPGrant{{URL: url + "/", Private: true, Secrets: names}}},
		Secrets: func(n string) (string, bool) { v, ok := secrets[n]; return v, ok },
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func notify(t testing.TB, p *plugin.Plugin, input string) string {
	t.Helper()
	r, err := p.Call(context.Background(), plugin.Notify, []byte(input))
	if err != nil || r.Status != 0 {
		t.Fatalf("notify = %d %s %v", r.Status, r.Output, err)
	}
	return string(r.Output)
}

func TestOpenClawOnTheHost(t *testing.T) {
	s := serve(t, 200, `{"ok":true,"runId":"93088a3e"}`)
	p := load(t, "openclaw", `{"openclaw_url":"`+s.URL+`"}`, s.URL, map[string]string{"hooks_token": "tok"})
	if got := notify(t, p, event); got != `{"status":"delivered"}` {
		t.Fatalf("outcome = %s, want delivered", got)
	}
	r := s.got[0]
	if r.URL.Path != "/hooks/agent" || r.Header.Get("Authorization") != "Bearer tok" || r.Header.Get("Idempotency-Key") != "01JEVENT" {
		t.Errorf("request = %s %v", r.URL, r.Header)
	}
	if !strings.Contains(s.bodies[0], `<<<PEER MESSAGE 01JEVENT>>>\nhello there\n<<<END PEER MESSAGE 01JEVENT>>>`) {
		t.Errorf("body = %s", s.bodies[0])
	}
	if info := p.Info(); !info.Batch {
		t.Error("openclaw does not take batches")
	}

	s.status = 503
	if got := notify(t, p, event); !strings.HasPrefix(got, `{"status":"retry","retryAfterSeconds":5`) {
		t.Errorf("outcome = %s, want retry", got)
	}
	s.Close()
	if got := notify(t, p, event); !strings.HasPrefix(got, `{"status":"retry","detail":"OpenClaw at http://`) {
		t.Errorf("outcome = %s, want retry", got)
	}

	p = load(t, "openclaw", `{"openclaw_url":"http://127.0.0.1:1"}`, s.URL, map[string]string{"hooks_token": "tok"})
	if got := notify(t, p, event); !strings.Contains(got, `"status":"setup"`) || !strings.Contains(got, "not granted") {
		t.Errorf("outcome = %s, want setup for want of a grant", got)
	}
	p = load(t, "openclaw", `{"openclaw_url":"`+s.URL+`"}`, s.URL, map[string]string{"hooks_token": ""})
	if got := notify(t, p, event); !strings.Contains(got, `"status":"setup"`) || !strings.Contains(got, "cannot be read") || !strings.Contains(got, " - ") || strings.Contains(got, "grant") && !strings.Contains(got, "not granted:") {
		t.Errorf("outcome = %s, want setup that names the secret and what to do about it", got)
	}
	p = load(t, "openclaw", `{}`, "http://localhost:18789", nil)
	if got := notify(t, p, event); !strings.Contains(got, "set openclaw_hooks_token") {
		t.Errorf("outcome = %s, want the missing token named", got)
	}
}

// The largest batch that the host would send stays within the plugin's fuel and memory.
func TestOpenClawTakesALargeBatch(t *testing.T) {
	s := serve(t, 200, `{"ok":true}`)
	p := load(t, "openclaw", `{"openclaw_url":"`+s.URL+`"}`, s.URL, map[string]string{"hooks_token": "tok"})
	one := strings.Replace(strings.TrimSuffix(event, "}"), "hello there", strings.Repeat("ab", 28<<10), 1) + "}"
	all := make([]string, 50)
	for i := range all {
		all[i] = one
	}
	r, err := p.Call(context.Background(), plugin.Notify, []byte(`{"events":[`+strings.Join(all, ",")+`],"attempt":1}`))
	if err != nil || string(r.Output) != `{"status":"delivered"}` {
		t.Fatalf("notify = %s %v", r.Output, err)
	}
	t.Logf("fuel %d, memory %d MiB, %d requests", r.FuelUsed, r.MemoryBytes>>20, len(s.got))
}

func TestWebhookOnTheHost(t *testing.T) {
	s := serve(t, 204, "")
	unreadable := load(t, "webhook", `{"url":"`+s.URL+`/x"}`, s.URL, map[string]string{"webhook_secret": ""})
	if got := notify(t, unreadable, event); !strings.Contains(got, `"status":"setup"`) || !strings.Contains(got, "cannot be read, or is empty - ") || strings.Contains(got, "grant this") || len(s.got) != 0 {
		t.Errorf("outcome = %s, want setup for a secret that cannot be read, and nothing posted", got)
	}
	p := load(t, "webhook", `{"url":"`+s.URL+`/x"}`, s.URL, map[string]string{"webhook_secret": "hush"})
	if got := notify(t, p, event); got != `{"status":"delivered"}` {
		t.Fatalf("outcome = %s, want delivered", got)
	}
	if sig := s.got[0].Header.Get("X-Hub-Signature-256"); len(sig) != len("sha256=")+64 {
		t.Errorf("signature = %q: the host did not sign", sig)
	}
	if strings.Contains(s.bodies[0], "hush") {
		t.Error("the secret came into the body")
	}
}

func TestNtfyOnTheHost(t *testing.T) {
	captive := serve(t, 200, "<html><title>Log in \xfcber WLAN</title>") // which is no UTF-8
	for _, name := range []string{"ntfy", "webhook"} {
		p := load(t, name, `{"url":"`+captive.URL+`","topic":"t"}`, captive.URL, nil)
		if got := notify(t, p, event); !strings.Contains(got, `"status":"retry"`) || !strings.Contains(got, "a captive page") {
			t.Errorf("%s: outcome = %s, want retry after a captive page", name, got)
		}
	}
	s := serve(t, 200, `{"id":"sPs71M8A2T","event":"message"}`)
	p := load(t, "ntfy", `{"url":"`+s.URL+`","topic":"t"}`, s.URL, nil)
	if got := notify(t, p, event); got != `{"status":"delivered"}` {
		t.Fatalf("outcome = %s, want delivered", got)
	}
	if !strings.Contains(s.bodies[0], `"topic":"t"`) || strings.Contains(s.bodies[0], "hello there") || s.got[0].Header.Get("Authorization") != "" {
		t.Errorf("body = %s, headers %v", s.bodies[0], s.got[0].Header)
	}
}

func TestAllAreNamedAndComplete(t *testing.T) {
	all := plugins.All()
	if len(all) != 4 || all[0].Name != "openclaw" {
		t.Fatalf("%d shipped, the first %s", len(all), all[0].Name)
	}
	for _, s := range all {
		m, err := plugin.ParseManifest(s.Manifest)
		if err != nil || m.Name != s.Name {
			t.Errorf("%s: manifest %v", s.Name, err)
		}
		if !bytes.HasPrefix(s.Wasm, []byte("\x00asm\x01\x00\x00\x00")) || len(s.Wasm) > 9<<18 {
			t.Errorf("%s: %d bytes, want a module of at most 2.25 MiB", s.Name, len(s.Wasm))
		}
	}
	if _, ok := plugins.Get("nonesuch"); ok {
		t.Error("nonesuch is shipped")
	}
}

func BenchmarkOpenClaw(b *testing.B) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"ok":true}`) }))
	defer s.Close()
	p := load(b, "openclaw", `{"openclaw_url":"`+s.URL+`"}`, s.URL, map[string]string{"hooks_token": "tok"})
	for b.Loop() {
		notify(b, p, event)
	}
}

// What the gateway writes, the shipped notifier reads: one event, and a batch.
func TestOpenClawReadsWhatTheGatewayWrites(t *testing.T) {
	s := serve(t, 200, `{"ok":true}`)
	p := load(t, "openclaw", `{"openclaw_url":"`+s.URL+`"}`, s.URL, map[string]string{"hooks_token": "tok"})
	at := time.Date(2026, 11, 21, 20, 47, 35, 0, time.UTC)
	bob := &core.Peer{Alias: "bob", Trust: core.Approved, URL: "https://bob.example", Names: core.Names{DisplayName: "Bobby"}}
	kept := &core.InboxMessage{ID: "01INBOX", Level: "summary", Message: core.Message{
		Intent: core.IntentAgentComms, Nonce: "n1", ToAgent: "scribe", Payload: core.Raw(`{"topic":"deals","message":"buy now","priority":"high"}`),
	}}
	notices := []core.Notice{
		{Event: core.Event{ID: "01A", Type: core.EventMessage, At: at, Message: kept}, Peer: bob, Attempt: 1},
		{Event: core.Event{ID: "01B", Type: core.EventReply, At: at, Data: core.Raw(`{"success":true,"data":{"text":"yes"},"error":""}`)}, Peer: bob, Attempt: 1},
		{Event: core.Event{ID: "01C", Type: core.EventRequestDigest, At: at, Data: core.Raw(`{"requests":3,"pending":9}`)}, Attempt: 1},
	}
	tell := func(n []core.Notice) {
		t.Helper()
		input, err := hooks.NotifyInput(n, func(to string) string { return map[string]string{"scribe": "writer"}[to] }, "")
		if err != nil {
			t.Fatal(err)
		}
		if got := notify(t, p, string(input)); got != `{"status":"delivered"}` {
			t.Fatalf("outcome = %s, want delivered", got)
		}
	}
	tell(notices[:1])
	for _, want := range []string{`"agentId":"writer"`, `[OGP Agent-Comms] [HIGH] bob (approved peer`, `-> topic deals [SUMMARY]`, `\nbuy now\n`, `ogp inbox reply 01INBOX`} {
		if !strings.Contains(s.bodies[0], want) {
			t.Errorf("body lacks %s:\n%s", want, s.bodies[0])
		}
	}
	tell(notices)
	if len(s.bodies) != 3 { // the message alone, then one run for the writer and one for the main agent
		t.Fatalf("%d requests, want 3", len(s.bodies))
	}
	for _, want := range []string{`"agentId":"main"`, `2 federation events`, `[OGP Reply] bob`, `\nyes\n`, `3 more gateways`, `9 wait in all`} {
		if !strings.Contains(s.bodies[2], want) {
			t.Errorf("body lacks %s:\n%s", want, s.bodies[2])
		}
	}
}
