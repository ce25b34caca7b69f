package scaffold_test

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/core/store/memory"
	"github.com/opengatewayprotocol/ogp/sdk/scaffold"
)

// snippet is a plugin that a page or a comment shows.
type snippet struct{ from, lang, text string }

// fence finds the code blocks of a Markdown page.
var fence = regexp.MustCompile("(?ms)^( *)```(go|c|rust|ts)\n(.*?)^ *```$")

// snippets takes every plugin that documents and the SDKs' own comments show.
func snippets(t *testing.T) []snippet {
	t.Helper()
	const root = "../../"
	var all []snippet
	pages := []string{root + "docs/plugins.md", root + "sdk/README.md", root + "sdk/ABI.md"}
	for _, pattern := range []string{root + "sdk/*/README.md", root + "examples/plugins/*/README.md", root + "plugins/*/README.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, found...)
	}
	langs := map[string]string{"go": "go", "c": "c", "rust": "rust", "ts": "assemblyscript"}
	for _, page := range pages {
		for _, m := range fence.FindAllStringSubmatch(read(t, page), -1) {
			all = append(all, snippet{page, langs[m[2]], strings.ReplaceAll("\n"+m[3], "\n"+m[1], "\n")})
		}
	}
	// What a comment shows is set off from its words: by a tab, by four blanks, or by a fence.
	for _, c := range []struct{ file, lang, prefix, from, to string }{
		{root + "sdk/doc.go", "go", "//\t", "package main", "// Build it"},
		{root + "sdk/c/ogp.h", "c", " *     ", `#include "ogp.h"`, " * Build it"},
		{root + "sdk/rust/src/lib.rs", "rust", "//! ", "ogp::on_message!", "//! ```\n"},
		{root + "sdk/assemblyscript/assembly/index.ts", "assemblyscript", "//     ", "import {", "// The input"},
	} {
		text := read(t, c.file)
		begin := strings.Index(text, c.from)
		if begin < 0 {
			t.Fatalf("%s shows no plugin", c.file)
		}
		body, _, ok := strings.Cut(text[begin:], c.to)
		if !ok {
			t.Fatalf("%s: the plugin that it shows has no end", c.file)
		}
		bare := strings.TrimRight(c.prefix, " \t")
		body = strings.ReplaceAll(strings.ReplaceAll("\n"+body, "\n"+c.prefix, "\n"), "\n"+bare+"\n", "\n\n")
		all = append(all, snippet{c.file, c.lang, strings.TrimSuffix(strings.TrimRight(body, "\n"), "\n"+bare) + "\n"})
	}
	// What "ogp plugin new" begins with, but for what has no policy.
	for _, lang := range scaffold.Langs {
		for _, hook := range []string{"message", "request"} {
			all = append(all, snippet{"ogp plugin new --hook " + hook, lang, read(t, "templates/"+lang+"/"+hook+".txt")})
		}
	}
	return all
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Every plugin that is shown builds, refuses or passes a message with an answer that the
// gateway takes, and approves no stranger, whatever the stranger can prove.
func TestSnippetsBuildAndApproveNobody(t *testing.T) {
	sources := map[string]string{"go": "main.go", "rust": "src/lib.rs", "assemblyscript": "assembly/index.ts", "c": "plugin.c", "stdio-go": "main.go",
		"rego": "policy.rego", "extism-go": "main.go"}
	counted := map[string]int{}
	cache := filepath.Join(t.TempDir(), "cache")
	seen := map[string]bool{}
	for _, s := range snippets(t) {
		counted[s.lang]++
		if seen[s.lang+s.text] {
			continue
		}
		seen[s.lang+s.text] = true
		t.Run(s.lang+" "+strings.TrimPrefix(s.from, "../../"), func(t *testing.T) {
			if s.lang != "go" && s.lang != "stdio-go" && os.Getenv("OGP_TOOLCHAINS") != "1" {
				t.Skip("needs its compiler: set OGP_TOOLCHAINS=1 where they are")
			}
			dir := filepath.Join(t.TempDir(), "new")
			hook := "message"
			if strings.Contains(s.from, "--hook request") {
				hook = "request"
			}
			if err := scaffold.Write(dir, "my-plugin", s.lang, hook); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, sources[s.lang]), []byte(strings.ReplaceAll(s.text, "@NAME@", "my-plugin")), 0o644); err != nil {
				t.Fatal(err)
			}
			if s.lang == "go" || s.lang == "stdio-go" {
				build(t, dir, s.lang)
			} else {
				run(t, dir, os.Environ(), "make")
			}
			asked(t, cache, dir, s.lang)
		})
	}
	for lang, least := range map[string]int{"go": 5, "rust": 4, "assemblyscript": 4, "c": 4, "stdio-go": 2, "rego": 2, "extism-go": 2} {
		if counted[lang] < least {
			t.Errorf("%d plugins in %s, want at least the %d that are shown", counted[lang], lang, least)
		}
	}
}

// asked asks a plugin about a message and about strangers, with every power granted.
func asked(t *testing.T, cache, dir, lang string) {
	t.Helper()
	wasm, err := os.ReadFile(filepath.Join(dir, "my-plugin.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	m := &plugin.Manifest{Name: "my-plugin", Config: map[string]any{"max_bytes": 200}}
	switch lang {
	case "stdio-go":
		m.ABI, m.Hooks = "stdio", []plugin.Hook{plugin.Message, plugin.Request}
	case "rego", "extism-go": // their manifest says what they are
		if m, err = plugin.ParseManifest([]byte(read(t, filepath.Join(dir, "plugin.toml")))); err != nil {
			t.Fatal(err)
		}
	}
	spec := plugin.Spec{Name: "my-plugin", Bytes: wasm, Manifest: m, Grants: plugin.Grants{Approves: true}}
	module, err := plugin.Inspect(spec)
	if err != nil {
		t.Fatal(err)
	}
	m.Approves = slices.Contains(module.Manifest.Hooks, plugin.Request) // it asks for the power, where it can
	p := inForce(t, cache, spec)
	if len(p[core.HookMessage]) == 0 && len(p[core.HookRequest]) == 0 {
		t.Error("it is no policy")
	}
	peer := &core.Peer{URL: "https://gw.example.org", Trust: core.Pending, Names: core.Names{DisplayName: "Bob"}, Offered: []string{"message"}}
	for _, verified := range []bool{true, false} {
		if v, ok := decide(t, p, core.Question{Kind: core.HookRequest, Peer: peer, Request: &core.Request{}, URLVerified: verified}); ok && v.Decision == core.Allow {
			t.Errorf("it approves a stranger: %+v", v)
		}
	}
	// The limit is of the text: "hi" is small, however long the envelope is.
	for text, want := range map[string]core.Decision{"hi": core.Allow, strings.Repeat("x", 5000): core.Deny} {
		q := core.Question{Kind: core.HookMessage, Peer: peer, Bytes: len(text) + 450, Message: &core.Message{Intent: "message", Payload: core.Raw(`{"text":"` + text + `"}`)}}
		if v, ok := decide(t, p, q); ok && v.Decision != want && v.Decision != core.Abstain && lang != "stdio-go" {
			t.Errorf("a text of %d bytes: %+v, want %s", len(text), v, want)
		}
	}
}

// inForce is a plugin as the gateway asks it, by what it is asked about.
func inForce(t *testing.T, cache string, spec plugin.Spec) map[core.Hook][]core.Policy {
	t.Helper()
	m, err := hooks.New(hooks.Options{Store: memory.New(), CacheDir: cache})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	if err := m.Apply([]hooks.Wanted{{Source: hooks.FromConfig, Spec: spec}}); err != nil {
		t.Fatal(err)
	}
	if err := m.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	p, err := m.Plugins()
	if err != nil {
		t.Fatal(err)
	}
	return p.Policies
}

// decide asks a plugin, if it answers such questions.
func decide(t *testing.T, p map[core.Hook][]core.Policy, q core.Question) (v core.Verdict, ok bool) {
	t.Helper()
	for _, one := range p[q.Kind] {
		var err error
		if v, err = one.Decide(t.Context(), q); err != nil {
			t.Fatal(err)
		}
		ok = true
	}
	return v, ok
}

// The helpers of ogp.h see all of a long text, and say what they do not.
func TestCHelpersOnLongTexts(t *testing.T) {
	if os.Getenv("OGP_TOOLCHAINS") != "1" {
		t.Skip("needs clang: set OGP_TOOLCHAINS=1 where it is")
	}
	dir := filepath.Join(t.TempDir(), "new")
	if err := scaffold.Write(dir, "my-plugin", "c", "message"); err != nil {
		t.Fatal(err)
	}
	const source = `#include "ogp.h"
static ogp_decision decide(void) {
	char buf[8], *p = buf;
	long long n = 7, m = 7;
	int len = ogp_text("message.payload.text", buf, sizeof buf);
	if (ogp_contains("message.payload.text", "needle")) return ogp_deny("contains", buf);
	if (ogp_same("message.payload.text", "exactly this text, which is longer than the sixty-four bytes of one look")) return ogp_deny("same", 0);
	if (ogp_get_int("message.payload.text", &n)) return ogp_deny("number", n == -42 ? "minus 42" : "another");
	if (ogp_get_int("message.payload.none", &m) || n != 7 || m != 7) return ogp_deny("a number from nowhere", 0);
	while (*p) p++;
	if (len > 7 && p - buf == 7) return ogp_hold("cut", buf);
	return len < 0 ? ogp_abstain() : ogp_allow();
}
OGP_ON_MESSAGE(decide)
`
	if err := os.WriteFile(filepath.Join(dir, "plugin.c"), []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, dir, os.Environ(), "make")
	h, err := plugin.NewHost(plugin.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	p, err := h.Load(context.Background(), plugin.Spec{Path: filepath.Join(dir, "my-plugin.wasm"), Answer: hooks.Answer})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(payload string) string {
		r, err := p.Call(context.Background(), plugin.Message, []byte(`{"message":{"payload":`+payload+`}}`))
		if err != nil {
			t.Fatal(err)
		}
		v := r.Answer.(core.Verdict)
		return string(v.Decision) + " " + v.Code + " " + v.Reason
	}
	for _, at := range []int{0, 1, 250, 506, 507, 508, 511, 512, 513, 767, 768, 1000, 60_000} { // at each border of what one look sees
		text := strings.Repeat("x", at) + "needle" + strings.Repeat("y", 300)
		if got := ask(`{"text":"` + text + `"}`); !strings.HasPrefix(got, "deny contains ") {
			t.Errorf("a needle at %d: %s", at, got)
		}
	}
	for payload, want := range map[string]string{
		`{"text":"short"}`: "allow  ", `{"text":"longer than eight"}`: "hold cut longer ", `{}`: "abstain  ", `{"text":"-42"}`: "deny number minus 42",
		`{"text":"4x"}`: "allow  ", `{"text":"-"}`: "allow  ", `{"text":"99999999999999999999"}`: "hold cut 9999999", `{"text":"a\u0000b"}`: "allow  ",
		`{"text":"exactly this text, which is longer than the sixty-four bytes of one look"}`: "deny same ",
		`{"text":"exactly this text, which is longer than the sixty-four bytes of one lOok"}`: "hold cut exactly",
	} {
		if got := ask(payload); got != want {
			t.Errorf("%s: %q, want %q", payload, got, want)
		}
	}
}
